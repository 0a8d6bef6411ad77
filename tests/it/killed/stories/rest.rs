//! Migrations, limits, odd bodies, poison, replays, orders, and what is the app's own.
//!
//! What each scenario means stands where it is told at length.

use clerk_convex_sync::sandbox::{
    clerk::limits::LimitSettings,
    convex::{FaultKind, FaultRule},
};
use serde_json::json;

use super::{
    super::{
        Step::{Diff, Do, Say, Until},
        Story,
    },
    everybody_is_there, many, name_of, named, organization_of, rows, seeded, sorted, story,
};
use crate::{hand::created, services::never_twice_never_back};

pub(super) fn all() -> Vec<Story> {
    vec![
        story(
            "S24",
            vec![
                Do(|system| {
                    system.clerk.seed_users(900);
                }),
                Diff,
                Diff,
            ],
            |system| {
                assert_eq!(rows(system), 900);
            },
        ),
        story(
            "S25",
            vec![
                Do(|system| {
                    seeded(system);
                    system.clerk.set_limits(LimitSettings {
                        per_10s: 100,
                        ..LimitSettings::default()
                    });
                }),
                Diff,
                Diff,
            ],
            |system| {
                // A process that was killed cannot know what it was told.
                assert!(system.clerk.requests().inside_penalty <= 1);
                system.clerk.set_limits(LimitSettings::default());
            },
        )
        .with(&[("CCS_CLERK__REQUESTS_PER_10S", "50")]),
        story(
            "S26",
            vec![
                Do(|system| {
                    let event = created("user_odd", 1, "A\u{301}da");
                    let odd = event
                        .to_string()
                        .replace("Varga", "V\\u0061rga")
                        .replace("\":", "\" \n\t:  ");
                    system.clerk.send_raw("user.created", odd, None);
                }),
                Until(|system| rows(system) == 1),
            ],
            |system| assert!(name_of(system, "user_odd").contains("Varga")),
        ),
        story(
            "S27",
            vec![
                Do(|system| {
                    let mut refuse = FaultRule::new(FaultKind::RejectKey);
                    refuse.key = Some("user_3".to_owned());
                    system.convex.fault(refuse);
                }),
                Say(many(20, 1)),
                Until(|system| rows(system) == 19),
            ],
            |system| assert!(rows(system) >= 19),
        ),
        story(
            "S28",
            vec![
                Do(|system| {
                    system.clerk.create_user(named("Ada")).expect("created");
                }),
                Until(everybody_is_there),
                Do(|system| {
                    for message in system.clerk.messages() {
                        system.clerk.replay(&message.id);
                        system.clerk.replay(&message.id);
                    }
                }),
            ],
            |system| {
                assert!(everybody_is_there(system));
                never_twice_never_back(&system.convex);
            },
        ),
        story(
            "S29",
            vec![
                Do(|system| system.clerk.reorder_window(6)),
                Do(|system| {
                    for name in ["Ada", "Bea", "Cleo"] {
                        system.clerk.create_user(named(name)).expect("created");
                    }
                    organization_of(system, "Engines", 3);
                }),
                Do(|system| {
                    let users = sorted(system);
                    system
                        .clerk
                        .update_user(&users[0], named("Changed"))
                        .expect("updated");
                    system.clerk.delete_user(&users[1]).expect("deleted");
                    system.clerk.reorder_window(0);
                }),
            ],
            |system| {
                assert!(everybody_is_there(system));
                assert_eq!(system.convex.count("memberships"), 2);
            },
        ),
        story(
            "S30",
            vec![
                Do(seeded),
                Diff,
                Do(|system| {
                    let id = sorted(system).remove(0);
                    let row = system.convex.row("users", &id).expect("a row");
                    let row = row["_id"].as_str().expect("an id");
                    let credits = json!({"creditsBalance": 70});
                    system
                        .convex
                        .patch_row("users", row, &credits)
                        .expect("patched");
                    let own = json!({"name": "The app's own", "creditsBalance": 7});
                    system.convex.insert_row("users", &own).expect("inserted");
                    system
                        .clerk
                        .update_user(&id, named("Changed"))
                        .expect("updated");
                }),
                Diff,
            ],
            |system| {
                let row = system
                    .convex
                    .row("users", &sorted(system)[0])
                    .expect("a row");
                assert_eq!(row["creditsBalance"], 70);
                let all = system.convex.rows("users");
                assert!(
                    all.iter()
                        .any(|row| row["name"] == "The app's own" && row["creditsBalance"] == 7)
                );
            },
        ),
    ]
}
