//! Listings that lie, fail, or move while they are read; other instances.
//!
//! What each scenario means stands where it is told at length.

use clerk_convex_sync::sandbox::clerk::faults::Wrong;

use super::{
    super::{
        Step::{Begin, Diff, Do, Say},
        Story,
    },
    USERS, name_of, named, nobody_was_deleted, rows, seeded, slow_lists, sorted, story,
    three_leave, unheard, wrong,
};
use crate::{hand::created, runs::keys};

pub(super) fn all() -> Vec<Story> {
    vec![
        story(
            "S11",
            vec![
                Do(seeded),
                Do(|system| {
                    unheard(system, 20, |system| {
                        for id in sorted(system).iter().take(20) {
                            system
                                .clerk
                                .update_user(id, named("Listed"))
                                .expect("updated");
                        }
                    });
                    slow_lists(system);
                }),
                Begin,
                Do(|system| {
                    system
                        .clerk
                        .update_user(&sorted(system)[0], named("Delivered"))
                        .expect("updated");
                }),
                Diff,
            ],
            |system| assert!(name_of(system, &sorted(system)[0]).contains("Delivered")),
        ),
        story(
            "S12",
            vec![
                Do(seeded),
                Do(slow_lists),
                Begin,
                Do(|system| {
                    system
                        .clerk
                        .delete_user(&sorted(system)[0])
                        .expect("deleted")
                }),
                Diff,
            ],
            |system| assert_eq!(rows(system), USERS - 1),
        ),
        story(
            "S13",
            vec![
                Do(seeded),
                Diff,
                Do(three_leave),
                Do(|system| wrong(system, Wrong::ShortPage { rows: 10 }, 1_000_000)),
                Diff,
            ],
            nobody_was_deleted,
        ),
        story(
            "S14",
            vec![
                Do(seeded),
                Diff,
                Do(three_leave),
                Do(|system| wrong(system, Wrong::Garbage, 1_000_000)),
                Diff,
            ],
            nobody_was_deleted,
        ),
        story(
            "S15",
            vec![
                Do(seeded),
                Diff,
                Do(|system| wrong(system, Wrong::EmptyListing, 1_000_000)),
                Diff,
            ],
            nobody_was_deleted,
        ),
        story(
            "S16",
            vec![
                Say(vec![{
                    let mut event = created("user_theirs", 1, "Theirs");
                    event["instance_id"] = "ins_theirs".into();
                    event
                }]),
                Say(vec![created("user_ours", 1, "Ours")]),
            ],
            |system| {
                assert_eq!(
                    keys(&system.convex, "users")
                        .into_iter()
                        .collect::<Vec<_>>(),
                    ["user_ours"]
                )
            },
        )
        .with(&[("CCS_CLERK__INSTANCE_ID", "ins_ours")]),
    ]
}
