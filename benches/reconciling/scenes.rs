//! The scenes: comparing what agrees, comparing under a rate limit, small scans, and moving everybody over.

use std::{fs, io, path::Path};

use serde_json::json;

use super::{
    ends::Ends,
    plan::Plan,
    report::{Line, Told},
    runs::{Ran, command, script, size_of, state_of},
    scans::Daemon,
};

/// Requests that a production instance of Clerk takes in ten seconds.
const CLERK_LIMIT: u64 = 1000;
/// A scan uses four fifths of `clerk.requests_per_10s`; with this it uses all that Clerk allows.
const FULL_LIMIT: (&str, &str) = ("CCS_CLERK__REQUESTS_PER_10S", "1250");
/// Bytes that mutations may write in a second on Convex's S16.
const S16_BYTES: u64 = 4 << 20;
/// Mutations and queries that S16 runs at once.
const S16_CALLS: u64 = 16;
/// What one index range costs in the model of S16, in microseconds.
const S16_LOOKUP_US: u64 = 100;
/// Deletions that nobody was told of.
const MISSED: usize = 10;

/// Bytes in a MiB.
pub const MIB: f64 = 1024.0 * 1024.0;

/// Compares users that agree: few, then many; then many under Clerk's rate limit, and the small scans.
pub fn agreeing(plan: &Plan, say: &dyn Fn(&str)) -> io::Result<Vec<Told>> {
    let mut told = Vec::new();
    let mut sizes = vec![plan.some, plan.many];
    sizes.retain(|users| plan.setup.runs("audit") || *users == plan.many);
    for users in sizes {
        say(&format!("{users} users are made and moved"));
        let ends = Ends::start(
            &plan.setup.binary,
            &plan.setup.work.join("sandbox.log"),
            users,
        )?;
        let state = state_of(plan, &format!("agree-{users}"));
        let moved = command(plan, &ends, "reconcile", &state, &[])?;
        told.push(cost(
            &format!("{users} users moved, to begin with"),
            &[moved],
        ));
        if plan.setup.runs("audit") {
            say(&format!("audit of {users} users that agree"));
            told.push(audit(plan, &ends, &state, users)?);
        }
        if users != plan.many {
            continue;
        }
        if plan.setup.runs("limit") {
            say("the same with 100 ms and the rate limit of Clerk");
            told.push(limited(plan, &ends, &state)?);
        }
        if plan.setup.runs("scans") {
            say("the small scans");
            told.extend(scans(plan, &ends, &state, users)?);
        }
    }
    Ok(told)
}

fn audit(plan: &Plan, ends: &Ends, state: &Path, users: usize) -> io::Result<Told> {
    let mut runs = Vec::new();
    for _ in 0..plan.setup.rounds {
        runs.push(command(plan, ends, "audit", state, &[])?);
    }
    let mut told = cost(&format!("audit of {users} users that agree"), &runs);
    told.lines.push(Line::of(
        "state directory",
        [size_of(state)? as f64 / MIB],
        "MiB",
    ));
    Ok(told)
}

fn limited(plan: &Plan, ends: &Ends, state: &Path) -> io::Result<Told> {
    ends.latency(100, 0)?;
    ends.clerk_order("limits", &json!({ "per_10s": CLERK_LIMIT }))?;
    let ran = command(plan, ends, "audit", state, &[FULL_LIMIT]);
    ends.clerk_order("limits", &json!({ "per_10s": 0 }))?;
    ends.latency(0, 0)?;
    let ran = ran?;
    // So many requests cannot be made sooner: a thousand at once, the next thousand ten seconds later.
    let floor = (ran.counts.clerk.saturating_sub(1) / CLERK_LIMIT * 10) as f64;
    let took = ran.took.as_secs_f64();
    let mut told = cost("audit with 100 ms and 1000 requests in 10 s", &[ran]);
    told.lines
        .push(Line::of("what the limit alone takes", [floor], "s"));
    told.lines
        .push(Line::of("times that", [took / floor.max(1.0)], ""));
    Ok(told)
}

fn scans(plan: &Plan, ends: &Ends, state: &Path, users: usize) -> io::Result<Vec<Told>> {
    let daemon = Daemon::start(plan, ends, state)?;
    let mut told = Vec::new();
    let mut scan = |kind: &str, title: &str| -> io::Result<()> {
        let scanned = daemon.scan(ends, kind)?;
        let counts = scanned.counts;
        let mut lines = vec![
            Line::of("requests to Clerk", [counts.clerk as f64], ""),
            Line::of(
                "calls of Convex",
                [(counts.queries + counts.mutations) as f64],
                "",
            ),
            Line::of("took", [scanned.took.as_secs_f64()], "s"),
        ];
        let repaired = scanned.report["tables"]["users"]["repaired"].as_u64();
        if let Some(repaired) = repaired {
            lines.push(Line::of("repaired", [repaired as f64], ""));
        }
        told.push(Told {
            title: title.to_owned(),
            lines,
        });
        Ok(())
    };
    scan("audit", "full comparison by the daemon")?;
    scan("sweep", "first sweep")?;
    scan("sweep", "sweep of a quiet minute")?;
    scan("census", "census in agreement")?;
    ends.delete_some(MISSED, users)?;
    scan("census", &format!("census after {MISSED} missed deletions"))?;
    scan("census", "census after that")?;
    daemon.end()?;
    Ok(told)
}

/// Moves users into an empty Convex: the script, and `reconcile`.
pub fn moving(plan: &Plan, say: &dyn Fn(&str)) -> io::Result<Vec<Told>> {
    let ends = Ends::start(
        &plan.setup.binary,
        &plan.setup.work.join("sandbox.log"),
        plan.some,
    )?;
    let mut told = Vec::new();
    if plan.setup.runs("move") {
        for ms in [0, 20] {
            told.extend(beside(plan, &ends, ms, say)?);
        }
    }
    if plan.setup.runs("plan") {
        say("moving within the limits of S16");
        told.push(within_plan(plan, &ends)?);
    }
    Ok(told)
}

fn beside(plan: &Plan, ends: &Ends, ms: u64, say: &dyn Fn(&str)) -> io::Result<Vec<Told>> {
    let mut told = Vec::new();
    say(&format!(
        "moving {} users, answers after {ms} ms",
        plan.some
    ));
    let mut own = Vec::new();
    for _ in 0..plan.setup.rounds {
        own.push(fresh(plan, ends, ms, &[])?);
    }
    let wide = fresh(plan, ends, ms, &[("CCS_CONVEX__CONCURRENCY", "16")])?;
    let title = |who: &str| format!("{} users moved by {who}, answers after {ms} ms", plan.some);
    let mut ours = cost(&title("reconcile"), &own);
    let mut ours_wide = cost(
        &title("reconcile with 16 calls"),
        std::slice::from_ref(&wide),
    );
    if !plan.setup.without_node {
        say("the same by the script on Node");
        ends.convex_order("reset", &json!({}))?;
        ends.latency(ms, ms)?;
        let theirs = script(plan, ends, plan.some)?;
        let calls =
            |ran: &Ran| (ran.counts.clerk + ran.counts.queries + ran.counts.mutations) as f64;
        for (told, runs) in [
            (&mut ours, own.as_slice()),
            (&mut ours_wide, std::slice::from_ref(&wide)),
        ] {
            let times = runs
                .iter()
                .map(|ran| theirs.took.as_secs_f64() / ran.took.as_secs_f64());
            told.lines
                .push(Line::of("times as fast as the script", times, ""));
            let share = runs.iter().map(|ran| calls(&theirs) / calls(ran));
            told.lines.push(Line::of(
                "the script made so many times its calls",
                share,
                "",
            ));
        }
        told.push(cost(&title("the script"), &[theirs]));
    }
    told.push(ours);
    told.push(ours_wide);
    Ok(told)
}

fn within_plan(plan: &Plan, ends: &Ends) -> io::Result<Told> {
    ends.convex_order(
        "limits",
        &json!({
            "concurrent_queries": S16_CALLS,
            "concurrent_mutations": S16_CALLS,
            "write_bytes_per_second": S16_BYTES,
            "per_lookup_us": S16_LOOKUP_US,
            "enforce_lookups": true,
        }),
    )?;
    let ran = fresh(plan, ends, 0, &[("CCS_CONVEX__CONCURRENCY", "16")]);
    ends.convex_order("limits", &json!({}))?;
    let ran = ran?;
    let floor = ran.counts.written as f64 / S16_BYTES as f64;
    let took = ran.took.as_secs_f64();
    let mut told = cost(&format!("{} users moved within S16", plan.some), &[ran]);
    told.lines
        .push(Line::of("what its bytes alone take", [floor], "s"));
    told.lines
        .push(Line::of("times that", [took / floor.max(0.001)], ""));
    Ok(told)
}

/// `reconcile` of an empty Convex, from an empty state.
fn fresh(plan: &Plan, ends: &Ends, ms: u64, settings: &[(&str, &str)]) -> io::Result<Ran> {
    let state = state_of(plan, "move");
    if state.exists() {
        fs::remove_dir_all(&state)?;
    }
    ends.convex_order("reset", &json!({}))?;
    ends.latency(ms, ms)?;
    let ran = command(plan, ends, "reconcile", &state, settings);
    ends.latency(0, 0)?;
    let ran = ran?;
    let repaired = ran.said["tables"]["users"]["repaired"].as_u64();
    match repaired == Some(plan.some as u64) {
        true => Ok(ran),
        false => Err(io::Error::other(format!(
            "reconcile moved {repaired:?} of {} users",
            plan.some
        ))),
    }
}

/// What runs of one kind cost.
pub fn cost(title: &str, runs: &[Ran]) -> Told {
    let of = |name: &'static str, unit: &'static str, value: &dyn Fn(&Ran) -> f64| {
        Line::of(name, runs.iter().map(value), unit)
    };
    Told {
        title: title.to_owned(),
        lines: vec![
            of("took", "s", &|ran| ran.took.as_secs_f64()),
            of("most memory", "MiB", &|ran| ran.peak_bytes as f64 / MIB),
            of("requests to Clerk", "", &|ran| ran.counts.clerk as f64),
            of("refused for the rate", "", &|ran| ran.counts.limited as f64),
            of("bytes from Clerk", "MiB", &|ran| {
                ran.counts.clerk_bytes as f64 / MIB
            }),
            of("queries of Convex", "", &|ran| ran.counts.queries as f64),
            of("mutations in Convex", "", &|ran| {
                ran.counts.mutations as f64
            }),
            of("bytes from Convex", "MiB", &|ran| {
                ran.said["bytes"]["convex"].as_f64().unwrap_or(0.0) / MIB
            }),
            of("processor of the command", "s", &|ran| ran.cpu.0),
            of("processor of both services", "s", &|ran| ran.cpu.1),
        ],
    }
}
