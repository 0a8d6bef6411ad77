//! What is to be looked at again, while many others ask for something.
//!
//! The channel of commands is full before the applier begins to work.

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::*;

#[tokio::test]
async fn that_the_services_may_be_others_now_is_not_forgotten_while_many_commands_wait() {
    let mut bench = Bench::start().await;
    let (applier, handle) = bench.applier();
    let ticket = bench.shared.convex.admit().unwrap();
    let (wait, _) = bench
        .shared
        .convex
        .shut(ticket, Some(Duration::from_secs(600)));
    assert!(wait > Duration::from_secs(500));
    let mut asking = JoinSet::new();
    while handle.commands.capacity() > 0 {
        let handle = handle.clone();
        asking.spawn(async move { handle.status().await });
        tokio::task::yield_now().await;
    }
    handle.reconsider();
    let stop = CancellationToken::new();
    let running = tokio::spawn(applier.run(stop.clone(), Duration::from_secs(1)));
    let looked = async {
        while !bench.shared.convex.state().0.is_zero() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let looked = tokio::time::timeout(Duration::from_secs(30), looked).await;
    looked.expect("Convex is left alone although it may be another one");
    assert!(asking.join_all().await.iter().all(Option::is_some));
    stop.cancel();
    running.await.unwrap();
}
