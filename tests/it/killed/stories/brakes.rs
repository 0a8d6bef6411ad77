//! What is held back, what is found and what is kept.
//!
//! What each scenario means stands where it is told at length.

use clerk_convex_sync::sandbox::clerk::faults::Wrong;
use serde_json::{Value, json};

use super::{
    super::{
        Step::{Diff, Do, Until},
        Story,
    },
    SWEEPS, USERS, everybody_is_there, leave, named, nobody_was_deleted, organization_of, rows,
    seeded, story, three_leave, unheard, wrong,
};
use crate::{process::System, runs::keys};

pub(super) fn all() -> Vec<Story> {
    fn half_leave(system: &System) {
        leave(system, USERS / 2);
    }
    vec![
        story(
            "S17",
            vec![Do(seeded), Diff, Do(half_leave), Diff, Diff],
            nobody_was_deleted,
        ),
        story(
            "S18",
            vec![
                Do(seeded),
                Diff,
                Do(half_leave),
                Diff,
                Do(|system| {
                    let gone: Vec<String> = keys(&system.convex, "users")
                        .into_iter()
                        .filter(|id| system.clerk.user(id).is_none())
                        .collect();
                    unheard(system, 2, |system| {
                        for id in gone.iter().take(2) {
                            system.clerk.restore_user(id).expect("restored");
                        }
                    });
                }),
            ],
            nobody_was_deleted,
        ),
        story(
            "S19",
            vec![
                Do(seeded),
                Do(|system| {
                    organization_of(system, "Small", 6);
                    organization_of(system, "Large", 30);
                }),
                Diff,
                Do(|system| {
                    let mut all = system.clerk.memberships();
                    all.retain(|one| one["organization"]["name"] == "Small");
                    unheard(system, all.len() as u32, |system| {
                        for one in &all {
                            let text = |value: &Value| value.as_str().expect("an id").to_owned();
                            let organization = text(&one["organization"]["id"]);
                            let user = text(&one["public_user_data"]["user_id"]);
                            system
                                .clerk
                                .remove_member(&organization, &user)
                                .expect("removed");
                        }
                    });
                }),
                Diff,
            ],
            |system| assert_eq!(system.convex.count("memberships"), 36),
        ),
        story(
            "S20",
            vec![Do(seeded), Diff, Do(three_leave), Diff, Diff],
            |system| {
                assert_eq!(rows(system), USERS - 3);
            },
        ),
        story(
            "S21",
            vec![
                Do(seeded),
                Do(|system| {
                    for what in ["banned", "locked", "unverified"] {
                        let user = json!({"first_name": what, what: true,
                            "email_address": [format!("{what}@example.com")]});
                        system.clerk.create_user(user).expect("created");
                    }
                }),
                Diff,
                Diff,
            ],
            |system| {
                nobody_was_deleted(system);
                assert_eq!(rows(system), USERS + 3);
            },
        ),
        story(
            "S22",
            vec![
                Do(seeded),
                Diff,
                Do(|system| {
                    unheard(system, 1, |system| {
                        system
                            .clerk
                            .create_user(named("Newcomer"))
                            .expect("created");
                    });
                }),
                Until(everybody_is_there),
            ],
            |system| assert!(everybody_is_there(system)),
        )
        .with(SWEEPS),
        story(
            "S23",
            vec![
                Do(seeded),
                Diff,
                Do(three_leave),
                Do(|system| {
                    let busy = Wrong::Status {
                        status: 429,
                        retry_after_secs: Some(1),
                        json: true,
                    };
                    wrong(system, busy, 2);
                }),
                Diff,
            ],
            |system| assert!(rows(system) >= USERS - 3),
        ),
    ]
}
