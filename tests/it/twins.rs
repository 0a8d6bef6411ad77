//! Promises broken on purpose: each scenario here passes against the program, and fails against its twin.
//!
//! Only in a build with the feature `twins` (`make twins`), whose daemon breaks the promise that `CCS_TWIN`
//! names. A scenario is a function that returns what it saw broken; the test wants nothing from the program as
//! it is, and something from the twin.

mod brake;
mod confirm;
mod disk;
mod durability;
mod encryption;
mod guests;
mod oplog;
mod repeats;
mod scans;
mod services;

use clerk_convex_sync::twin::{Twin, broken};

use crate::process::System;

/// A build that breaks nothing unless it is told to is the program that people use.
#[test]
fn nothing_is_broken_unless_it_is_named() {
    for twin in Twin::ALL {
        assert!(!broken(*twin), "{} is broken", twin.name());
    }
}

/// Both ends and a daemon with these settings that breaks this promise, or none.
async fn prepared(twin: Option<Twin>, settings: &[(&str, &str)]) -> System {
    let mut system = System::prepared(settings).await;
    if let Some(twin) = twin {
        system.set("CCS_TWIN", twin.name());
    }
    system
}

/// The same, started.
async fn system(twin: Option<Twin>, settings: &[(&str, &str)]) -> System {
    let mut system = prepared(twin, settings).await;
    system.start_daemon().await;
    system
}
