//! G20: deliveries between what a full diff has read and what it writes.

use clerk_convex_sync::sandbox::convex::{FaultKind, FaultRule};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;

use crate::{
    runs::{notes, pages},
    services::{never_twice_never_back, say, seed, size},
    world::World,
};

#[tokio::test(flavor = "multi_thread")]
async fn g20_what_is_delivered_while_a_full_diff_works_is_neither_undone_nor_raised_from_the_dead()
{
    let (seed, wanted) = (seed(), size("G20_DELIVERIES", 300));
    let mut dice = StdRng::seed_from_u64(seed);
    let world = World::filled(&[], 600).await;
    let (mut delivered, mut dead, mut diffs) = (0, Vec::new(), 0);
    while delivered < wanted {
        let mut users = world.clerk.user_ids();
        world.unheard(|clerk| {
            for id in users.iter().take(200) {
                let named = json!({"first_name": format!("Listed{diffs}")});
                clerk.update_user(id, named).expect("updated");
            }
        });
        for function in ["list", "apply"] {
            world.convex.fault(FaultRule {
                function: Some(function.to_owned()),
                ms: Some(dice.random_range(20..300)),
                ..FaultRule::new(FaultKind::Latency)
            });
        }
        let before = pages(&world.clerk);
        let running = world.begin("reconcile");
        world.page_read(before).await;
        while !running.is_finished() && delivered < wanted {
            let at = dice.random_range(0..users.len());
            if dice.random_bool(0.05) {
                let id = users.swap_remove(at);
                world.clerk.delete_user(&id).expect("deleted");
                dead.push(id);
            } else {
                let named = json!({"first_name": format!("Delivered{delivered}")});
                world.clerk.update_user(&users[at], named).expect("updated");
            }
            delivered += 1;
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        let report = running.await.expect("no panic").expect("a report");
        assert_ne!(report["outcome"], "failed", "{}", notes(&report));
        world.convex.clear_faults();
        world.quiet().await;
        diffs += 1;
    }
    never_twice_never_back(&world.convex);
    for id in &dead {
        assert!(world.user_row(id).is_none(), "{id} has risen");
    }
    world.agrees().await;
    say(
        "G20",
        seed,
        format!(
            "{delivered} deliveries inside of {diffs} diffs, {} of them deletions: 0 back, 0 risen",
            dead.len()
        ),
    );
}
