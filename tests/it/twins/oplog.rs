//! A log of operations that lacks something, or whose entries do not hang together.

use clerk_convex_sync::twin::Twin;

use crate::oplog::gaps;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_in_the_log_and_a_chain_that_is_none_are_noticed() {
    assert_eq!(gaps(&[]).await, Vec::<String>::new());
    for (twin, word) in [
        (Twin::UnnotedWrites, "user_7"),
        (Twin::LooseChain, "breaks"),
    ] {
        let gaps = gaps(&[("CCS_TWIN", twin.name())]).await;
        assert!(
            gaps.iter().any(|gap| gap.contains(word)),
            "{twin:?}: {gaps:?}"
        );
    }
}
