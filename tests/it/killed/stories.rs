//! The thirty scenarios, each in a few steps. What they mean stands where they are told at length.

mod brakes;
mod listings;
mod rest;

use std::time::Duration;

use clerk_convex_sync::sandbox::{
    clerk::faults::{Fault, Wrong},
    convex::{FaultKind, FaultRule},
};
use serde_json::{Value, json};

use super::{
    Step::{Diff, Do, Say, Until},
    Story,
};
use crate::{
    hand::{created, deleted, updated},
    process::System,
    services::never_twice_never_back,
};

const SWEEPS: &[(&str, &str)] = &[("CCS_SCHEDULE__SWEEP", "* * * * * *")];
/// Deletions of a handful do not meet the brake.
const USERS: usize = 120;

fn story(name: &'static str, steps: Vec<super::Step>, holds: fn(&System)) -> Story {
    Story {
        name,
        settings: &[],
        steps,
        holds,
        forgets: false,
    }
}

impl Story {
    fn with(self, settings: &'static [(&'static str, &'static str)]) -> Story {
        Story { settings, ..self }
    }

    fn forgetting(self) -> Story {
        Story {
            forgets: true,
            ..self
        }
    }
}

fn rows(system: &System) -> usize {
    system.convex.count("users")
}

fn name_of(system: &System, key: &str) -> String {
    let row = system.convex.row("users", key);
    row.map_or_else(String::new, |row| row["name"].to_string())
}

fn is_gone(system: &System, key: &str) -> bool {
    let dead = system.convex.tombstones("users");
    system.convex.row("users", key).is_none() && dead.iter().any(|one| one == key)
}

/// Nobody lost a row.
fn nobody_was_deleted(system: &System) {
    assert!(system.convex.tombstones("users").is_empty());
    assert!(rows(system) >= USERS);
}

fn many(users: usize, versions: i64) -> Vec<Value> {
    let of = move |version| {
        (0..users)
            .map(move |user| updated(&format!("user_{user}"), version, &format!("Ada {version}")))
    };
    (1..=versions).flat_map(of).collect()
}

fn down(system: &System) {
    system.convex.down();
}

fn up(system: &System) {
    system.convex.up();
}

fn seeded(system: &System) {
    system.clerk.seed_users(USERS);
}

fn sorted(system: &System) -> Vec<String> {
    let mut ids = system.clerk.user_ids();
    ids.sort();
    ids
}

/// Does this with nobody hearing of it; its deliveries are lost.
fn unheard(system: &System, messages: u32, change: impl FnOnce(&System)) {
    system.clerk.lose_next(messages);
    change(system);
}

fn three_leave(system: &System) {
    leave(system, 3);
}

fn leave(system: &System, most: usize) {
    unheard(system, most as u32, |system| {
        for id in sorted(system).iter().take(most) {
            system.clerk.delete_user(id).expect("deleted");
        }
    });
}

fn wrong(system: &System, wrong: Wrong, times: u32) {
    let fault = Fault::next("GET /v1/users$", wrong);
    system.clerk.fault(fault.times(times));
}

fn named(name: &str) -> Value {
    json!({ "first_name": name })
}

fn slow_lists(system: &System) {
    system.convex.fault(FaultRule {
        function: Some("list".to_owned()),
        ms: Some(200),
        ..FaultRule::new(FaultKind::Latency)
    });
}

fn organization_of(system: &System, name: &str, members: usize) {
    let wish = json!({"name": name, "max_allowed_memberships": 1_000});
    let id = system.clerk.create_organization(wish).expect("created");
    for user in sorted(system).iter().take(members) {
        system
            .clerk
            .add_member(&id, user, "org:member")
            .expect("added");
    }
}

fn everybody_is_there(system: &System) -> bool {
    rows(system) == system.clerk.user_ids().len()
}

pub(super) fn all() -> Vec<Story> {
    let parts = [deliveries(), listings::all(), brakes::all(), rest::all()];
    parts.into_iter().flatten().collect()
}

fn deliveries() -> Vec<Story> {
    vec![
        story(
            "S01",
            vec![Do(down), Say(vec![created("user_1", 1, "Ada")]), Do(up)],
            |system| {
                assert_eq!(rows(system), 1);
            },
        ),
        story("S02", vec![Do(down), Say(many(50, 1)), Do(up)], |system| {
            assert_eq!(rows(system), 50)
        }),
        story("S03", vec![Do(down), Say(many(12, 1)), Do(up)], |system| {
            assert_eq!(rows(system), 12)
        })
        .with(&[("CCS_STATE__MAX_QUEUE_EVENTS", "5")]),
        story(
            "S04",
            vec![
                Do(|system| {
                    for kind in [
                        FaultKind::Cut,
                        FaultKind::AppliedThenCut,
                        FaultKind::Garbage,
                        FaultKind::Status,
                    ] {
                        let mut rule = FaultRule::new(kind);
                        rule.ratio = Some(0.2);
                        system.convex.fault(rule);
                    }
                }),
                Say(many(10, 4)),
            ],
            |system| {
                assert_eq!(rows(system), 10);
                assert!(
                    (0..10).all(|user| name_of(system, &format!("user_{user}")).contains("Ada 4"))
                );
                never_twice_never_back(&system.convex);
            },
        ),
        story(
            "S05",
            vec![
                Say(vec![updated("user_1", 9, "New")]),
                Say(vec![created("user_1", 1, "Old")]),
            ],
            |system| assert!(name_of(system, "user_1").contains("New")),
        ),
        story(
            "S06",
            vec![
                Say(vec![deleted("user_1", 9)]),
                Say(vec![created("user_1", 1, "Old")]),
            ],
            |system| assert!(is_gone(system, "user_1")),
        ),
        story(
            "S07",
            vec![
                Say(vec![created("user_1", 5, "Ada"), deleted("user_1", 9)]),
                Until(|system| is_gone(system, "user_1")),
                Say(vec![updated("user_1", 3, "Late")]),
            ],
            |system| assert!(is_gone(system, "user_1")),
        ),
        story(
            "S08",
            vec![
                Do(|system| {
                    system.clerk.create_user(named("Clerks")).expect("created");
                }),
                Do(|system| {
                    let id = sorted(system).remove(0);
                    let mut data = system.clerk.user(&id).expect("a user");
                    data["first_name"] = "Another".into();
                    let event = json!({"object": "event", "type": "user.updated", "data": data,
                        "timestamp": data["updated_at"]});
                    system
                        .clerk
                        .send_raw("user.updated", event.to_string(), None);
                }),
                Until(everybody_is_there),
            ],
            |system| assert!(name_of(system, &sorted(system)[0]).contains("Clerks")),
        ),
        story(
            "S09",
            vec![
                Do(seeded),
                Diff,
                Do(|system| {
                    system.clerk.lag_next(1, Duration::from_secs(2));
                    unheard(system, 2, |system| {
                        let users = sorted(system);
                        system
                            .clerk
                            .update_user(&users[3], named("Late"))
                            .expect("updated");
                        system
                            .clerk
                            .update_user(&users[4], named("Newer"))
                            .expect("updated");
                    });
                }),
                Until(|system| name_of(system, &sorted(system)[3]).contains("Late")),
            ],
            |system| assert_eq!(rows(system), USERS),
        )
        .with(SWEEPS),
        story(
            "S10",
            vec![
                Do(seeded),
                Diff,
                Do(|system| {
                    for id in sorted(system).iter().take(20) {
                        system
                            .clerk
                            .update_user(id, named("Changed"))
                            .expect("updated");
                    }
                }),
                Do(three_leave),
                Diff,
            ],
            |system| assert!(name_of(system, &sorted(system)[0]).contains("Changed")),
        )
        .forgetting(),
    ]
}
