//! Promises broken on purpose: each scenario here passes against the program, and fails against its twin.
//!
//! Only in a build with the feature `twins` (`make twins`), whose daemon breaks the promise that `CCS_TWIN`
//! names. A scenario is a function that returns what it saw broken; the test wants nothing from the program as
//! it is, and something from the twin.

mod brake;
mod confirm;
mod durability;
mod encryption;
mod repeats;

/// A build that breaks nothing unless it is told to is the program that people use.
#[test]
fn nothing_is_broken_unless_it_is_named() {
    use clerk_convex_sync::twin::{Twin, broken};
    for twin in [
        Twin::AckBeforeStore,
        Twin::NoSync,
        Twin::NoDedupe,
        Twin::NoConfirm,
        Twin::NoBrake,
        Twin::PlainState,
        Twin::UnboundNames,
    ] {
        assert!(!broken(twin), "{} is broken", twin.name());
    }
}
