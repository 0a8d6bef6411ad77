//! Deliberately broken behaviour, to show that the tests notice.
//!
//! A test that passes proves something only if it fails where the promise is broken. A build with the feature
//! `twins` breaks the one promise that `CCS_TWIN` names; the tests in `tests/it/twins` run their scenario
//! against it and want to see it fail. Without the feature, which no release has, [`broken`] is `false` while
//! compiling, and nothing of this is in the program.

macro_rules! twins {
    ($($(#[$words:meta])* $twin:ident $name:literal)*) => {
        /// A promise that a broken build does not keep. `CCS_TWIN` takes the name in kebab-case.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Twin {
            $($(#[$words])* $twin,)*
        }

        #[cfg(feature = "twins")]
        impl Twin {
            /// All of them.
            pub const ALL: &[Twin] = &[$(Self::$twin,)*];

            /// The name in `CCS_TWIN`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$twin => $name,)*
                }
            }
        }
    };
}

twins! {
    /// An event is acknowledged half a second before it is written.
    AckBeforeStore "ack-before-store"
    /// `fdatasync` of the journal does nothing.
    NoSync "no-sync"
    /// A sync that failed is asked again, and believed.
    SyncAgain "sync-again"
    /// Each event waits for a sync of its own.
    SyncAlone "sync-alone"
    /// The committer does something else for a second and a half before one group in sixteen.
    Dawdling "dawdling"
    /// A disk that was full once stays full.
    FullForEver "full-for-ever"
    /// A delivery that was seen before is taken as a new one, and the version guard lets everything through.
    NoDedupe "no-dedupe"
    /// What a listing lacks is deleted without asking Clerk about that id.
    NoConfirm "no-confirm"
    /// The brake lets every plan go.
    NoBrake "no-brake"
    /// A listing is taken for whole, whatever Clerk counts.
    NoProof "no-proof"
    /// A row is as it should be, whatever it says.
    BlindDiff "blind-diff"
    /// That a part of the state was lost holds nothing back.
    NoDoubt "no-doubt"
    /// Nobody remembers how far a full diff has come.
    NoCheckpoint "no-checkpoint"
    /// What is done with stays in the journal for as long as there is room.
    Hoard "hoard"
    /// A directory is anybody's.
    NoLock "no-lock"
    /// The watchdog is fed by a timer.
    BlindWatchdog "blind-watchdog"
    /// Any signature will do.
    AnySignature "any-signature"
    /// Signed at any time will do.
    AnyTime "any-time"
    /// Only the first of several secrets counts.
    FirstSecret "first-secret"
    /// A body may have any size.
    AnySize "any-size"
    /// A guest may take an hour for anything.
    NoDeadlines "no-deadlines"
    /// Any token opens the operators' door.
    OpenDoor "open-door"
    /// Signing secrets and what came in are logged.
    Talkative "talkative"
    /// HTTP 200 is taken for success.
    StatusOnly "status-only"
    /// Convex names the record that it refuses, and nobody listens.
    DeafToNames "deaf-to-names"
    /// Nobody looks how long a service asked to be left alone.
    Impatient "impatient"
    /// Redirects are followed.
    FollowRedirects "follow-redirects"
    /// Any certificate is believed.
    AnyCertificate "any-certificate"
    /// What is written to Convex by deliveries and runs is not in the operations log.
    UnnotedWrites "unnoted-writes"
    /// An entry of the operations log does not name the one before it.
    LooseChain "loose-chain"
    /// What is to be encrypted at rest is written as it came.
    PlainState "plain-state"
    /// An encrypted record is believed under any name.
    UnboundNames "unbound-names"
}

/// Whether this promise is the one to break.
#[cfg(feature = "twins")]
#[expect(
    clippy::disallowed_methods,
    reason = "not a setting: it is not there in a build that people use"
)]
pub fn broken(which: Twin) -> bool {
    static NAMED: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var("CCS_TWIN").ok());
    NAMED.as_deref() == Some(which.name())
}

/// Whether this promise is the one to break: never, in a build that people use.
#[cfg(not(feature = "twins"))]
#[inline(always)]
pub const fn broken(_which: Twin) -> bool {
    false
}
