//! Organizations and memberships, which can be listed by offset only.

use std::collections::BTreeSet;

use clerk_convex_sync::{
    clerk::{
        ClerkClient,
        walk::{Listed, OffsetWalk, Walk, WalkError},
    },
    model::Key,
    sandbox::clerk::{
        ClerkSim,
        faults::{Fault, Wrong},
    },
};
use serde_json::{Value, json};

use super::{ids, judged, keys, start};

/// Organizations with three members each.
async fn with_organizations(n: usize) -> (ClerkSim, ClerkClient, Vec<String>) {
    let (sim, clerk) = start(3).await;
    let users = sim.user_ids();
    let organizations = (0..n).map(|n| {
        let id = sim.create_organization(json!({"name": format!("Org {n}")}));
        let id = id.expect("an organization");
        for user in &users {
            sim.add_member(&id, user, "org:member").expect("a member");
        }
        id
    });
    let organizations = organizations.collect();
    (sim, clerk, organizations)
}

fn of(all: &[Value]) -> Vec<String> {
    let id = |record: &Value| record["id"].as_str().expect("an id").to_owned();
    all.iter().map(id).collect()
}

#[tokio::test]
async fn all_of_each_kind_come_once_and_oldest_first() {
    let (sim, clerk, organizations) = with_organizations(45).await;
    let first = Key::parse(&organizations[0]).expect("an id");
    let memberships = of(&sim.memberships());
    for (listed, truth) in [
        (Listed::Organizations, of(&sim.organizations())),
        (Listed::AllMemberships, memberships.clone()),
        (Listed::MembershipsOf(first), memberships[..3].to_vec()),
    ] {
        let mut walk = OffsetWalk::new(clerk.clone(), listed, 20);
        assert_eq!(ids(&mut walk).await, truth);
        let total = truth.len() as u64;
        let walked = walk.walked();
        assert_eq!(
            (walked.flaw_count, walked.totals),
            (0, Some((total, total)))
        );
        assert!(judged(walked, walked.totals.expect("totals")).is_ok());
    }
}

#[tokio::test]
async fn a_few_deletions_between_pages_skip_nobody_and_many_are_noticed() {
    for (deleted, flaws) in [(9, 0), (25, 1)] {
        let (sim, clerk, organizations) = with_organizations(80).await;
        let mut walk = OffsetWalk::new(clerk, Listed::Organizations, 30);
        let mut given = keys(&walk.next().await.expect("a page").expect("some"));
        for id in &organizations[..deleted] {
            sim.delete_organization(id).expect("deleted");
        }
        given.extend(ids(&mut walk).await);
        let given: BTreeSet<String> = given.into_iter().collect();
        let skipped = of(&sim.organizations())
            .iter()
            .filter(|id| !given.contains(*id))
            .count();
        assert_eq!(skipped == 0, flaws == 0, "{skipped} skipped");
        assert_eq!(walk.walked().flaw_count, flaws);
        if let Some(flaw) = walk.walked().flaws.first() {
            assert!(
                flaw.to_string()
                    .starts_with("page 2: the page does not join")
            );
        }
    }
}

#[tokio::test]
async fn switched_off_and_gone_are_not_empty() {
    let (sim, clerk, organizations) = with_organizations(2).await;
    let first = Listed::MembershipsOf(Key::parse(&organizations[0]).expect("an id"));
    sim.delete_organization(&organizations[0]).expect("deleted");
    let mut walk = OffsetWalk::new(clerk.clone(), first, 20);
    let error = walk.next().await.expect_err("gone");
    assert_eq!(error, WalkError::NoSuchOrganization);
    sim.set(|settings| settings.organizations_enabled = false);
    let mut walk = OffsetWalk::new(clerk, Listed::Organizations, 20);
    let error = walk.next().await.expect_err("switched off");
    assert_eq!(error, WalkError::SwitchedOff);
}

#[tokio::test]
async fn lies_about_organizations_are_flaws_or_contradict_the_total() {
    let listing = "GET /v1/organizations$";
    for (wrong, after, flaws) in [
        (Wrong::EmptyListing, 0, 1),
        (Wrong::EmptyListing, 1, 1),
        (Wrong::RepeatLast, 0, 1),
        (Wrong::ShortPage { rows: 5 }, 0, 0),
    ] {
        let (sim, clerk, _) = with_organizations(50).await;
        sim.fault(Fault::next(listing, wrong.clone()).after(after));
        let mut walk = OffsetWalk::new(clerk, Listed::Organizations, 20);
        let given = ids(&mut walk).await;
        let distinct: BTreeSet<&String> = given.iter().collect();
        assert_eq!(distinct.len(), given.len());
        let walked = walk.walked();
        assert_eq!(walked.flaw_count, flaws, "{wrong:?} {walked:?}");
        assert!(judged(walked, walked.totals.expect("totals")).is_err());
    }
}

#[tokio::test]
async fn one_organization_that_cannot_be_listed_costs_the_others_nothing() {
    let (sim, clerk, organizations) = with_organizations(2).await;
    let wrong = Wrong::Status {
        status: 500,
        retry_after_secs: None,
        json: true,
    };
    let path = format!("/v1/organizations/{}/memberships", organizations[0]);
    sim.fault(Fault::next(&path, wrong).times(100));
    let walk = |id: &str| {
        let listed = Listed::MembershipsOf(Key::parse(id).expect("an id"));
        OffsetWalk::new(clerk.clone(), listed, 20)
    };
    let error = walk(&organizations[0]).next().await.expect_err("500s");
    assert!(
        matches!(error, WalkError::Page { number: 1, .. }),
        "{error}"
    );
    assert_eq!(ids(&mut walk(&organizations[1])).await.len(), 3);
}

#[tokio::test]
async fn a_walk_is_taken_up_at_its_page_or_at_the_beginning_if_that_has_moved() {
    const PAGE: u32 = 30;
    let (sim, clerk) = start(3).await;
    sim.seed_organizations(100, 0);
    let truth = of(&sim.organizations());
    let mut walk = OffsetWalk::new(clerk.clone(), Listed::Organizations, PAGE);
    for _ in 0..3 {
        walk.next().await.expect("a page").expect("some");
    }
    let (place, first_ms) = walk.place().expect("a place");
    assert_eq!((place.offset, place.total), (40, 100));
    let listing = |offset| clerk.list_organizations(offset, 1);
    let made = listing(55).await.expect("a listing").records[0].created_at();
    assert!(first_ms < made);
    let take_up =
        || OffsetWalk::new(clerk.clone(), Listed::Organizations, PAGE).take_up(place, made);

    let mut rest = take_up();
    assert_eq!(ids(&mut rest).await, truth[40..]);
    assert_eq!((rest.walked().flaw_count, rest.walked().pages), (0, 3));
    assert_eq!(rest.walked().totals, Some((100, 100)));

    // So many are gone that the page begins behind what was not dealt with.
    for id in &truth[..20] {
        sim.delete_organization(id).expect("deleted");
    }
    let mut all = take_up();
    assert_eq!(ids(&mut all).await, truth[20..]);
    assert_eq!(all.walked().totals, Some((100, 80)));

    // And so many that there is no such page.
    for id in &truth[20..90] {
        sim.delete_organization(id).expect("deleted");
    }
    assert_eq!(ids(&mut take_up()).await, truth[90..]);
}
