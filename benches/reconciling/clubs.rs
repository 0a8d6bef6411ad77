//! Organizations and memberships, which Clerk lists by offset only: many organizations, then a large one.
//!
//! Beside the requests stands the least that Clerk's listings allow: a page holds 500 records at most and says how
//! many there are in all, so nothing is left to ask beyond the pages themselves.

use std::io;

use super::{
    ends::Ends,
    plan::Plan,
    report::{Line, Told},
    runs::{Ran, compared, state_of, synced},
    scenes::{MIB, cost},
};

/// Records in a page of Clerk's at most.
const PAGE: usize = 500;
/// Members of each of many organizations.
const MEMBERS: usize = 10;
/// A comparison of both tables, and of no others.
const BOTH: [&str; 5] = [
    "audit",
    "--table",
    "organizations",
    "--table",
    "memberships",
];

/// Compares organizations that agree: a tenth, then all of them; then one with very many members.
pub fn organizations(plan: &Plan, say: &dyn Fn(&str)) -> io::Result<Vec<Told>> {
    let mut told = Vec::new();
    let mut peaks = Vec::new();
    for organizations in [plan.many / 500, plan.many / 50] {
        say(&format!(
            "{organizations} organizations of {MEMBERS} members are made and moved"
        ));
        let (told_of, peak) = agreeing(plan, (organizations, MEMBERS), organizations * 5 / 2)?;
        told.push(told_of);
        peaks.push(peak);
    }
    if let (Some(last), [few, many]) = (told.last_mut(), peaks.as_slice()) {
        let times = *many as f64 / *few as f64;
        last.lines
            .push(Line::of("memory, times that of a tenth", [times], ""));
    }
    let members = plan.many / 20;
    say(&format!("one organization of {members} members"));
    told.push(agreeing(plan, (1, members), members)?.0);
    told.push(one(plan, members)?);
    Ok(told)
}

/// Moves all of it, and compares both tables then, and after that everything. Answers the most memory of the
/// former, too.
fn agreeing(
    plan: &Plan,
    (organizations, members): (usize, usize),
    users: usize,
) -> io::Result<(Told, u64)> {
    let ends = Ends::start(
        &plan.setup.binary,
        &plan.setup.work.join("sandbox.log"),
        users,
    )?;
    ends.found(organizations, members)?;
    let state = state_of(plan, &format!("clubs-{organizations}-{members}"));
    compared(plan, &ends, &["reconcile"], &state, &[])?;
    let ran = compared(plan, &ends, &BOTH, &state, &[])?;
    let whole = compared(plan, &ends, &["audit"], &state, &[])?;
    let memberships = organizations * members;
    let title = format!(
        "audit of {organizations} organization(s) and {memberships} memberships that agree"
    );
    let mut told = cost(&title, std::slice::from_ref(&ran));
    told.lines
        .extend(beside_the_least(&ran, organizations, memberships));
    let of_all = [whole.peak_bytes as f64 / MIB];
    told.lines
        .push(Line::of("most memory, users included", of_all, "MiB"));
    Ok((told, ran.peak_bytes))
}

/// `sync organization` of one that has many members and agrees, from a state of its own.
fn one(plan: &Plan, members: usize) -> io::Result<Told> {
    let ends = Ends::start(
        &plan.setup.binary,
        &plan.setup.work.join("sandbox.log"),
        members,
    )?;
    ends.found(1, members)?;
    ends.found(plan.many / 500, MEMBERS)?;
    let state = state_of(plan, "club");
    compared(plan, &ends, &["reconcile"], &state, &[])?;
    let ran = synced(plan, &ends, &ends.largest_organization()?, &state)?;
    let counts = ran.counts;
    let least = members.div_ceil(PAGE) as f64;
    Ok(Told {
        title: format!("sync of one organization of {members} members that agrees, among others"),
        lines: vec![
            Line::of("most memory", [ran.peak_bytes as f64 / MIB], "MiB"),
            Line::of("requests for its members", [counts.pages.1 as f64], ""),
            Line::of("the least for that", [least], ""),
            Line::of("requests to Clerk", [counts.clerk as f64], ""),
            Line::of("queries of Convex", [counts.queries as f64], ""),
            Line::of("mutations in Convex", [counts.mutations as f64], ""),
        ],
    })
}

fn beside_the_least(ran: &Ran, organizations: usize, memberships: usize) -> Vec<Line> {
    let (of_organizations, of_memberships) = ran.counts.pages;
    let asked = (of_organizations + of_memberships) as f64;
    let least = (organizations.div_ceil(PAGE) + memberships.div_ceil(PAGE)) as f64;
    vec![
        Line::of("requests for organizations", [of_organizations as f64], ""),
        Line::of("requests for memberships", [of_memberships as f64], ""),
        Line::of("the least for both", [least], ""),
        Line::of("times that", [asked / least], ""),
    ]
}
