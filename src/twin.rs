//! Deliberately broken behaviour, to show that the tests notice.
//!
//! A test that passes proves something only if it fails where the promise is broken. A build with the feature
//! `twins` breaks the one promise that `CCS_TWIN` names; the tests in `tests/it/twins` run their scenario
//! against it and want to see it fail. Without the feature, which no release has, [`broken`] is `false` while
//! compiling, and nothing of this is in the program.

/// A promise that a broken build does not keep. `CCS_TWIN` takes the name in kebab-case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twin {
    /// An event is acknowledged half a second before it is written.
    AckBeforeStore,
    /// `fdatasync` of the journal does nothing.
    NoSync,
    /// A delivery that was seen before is taken as a new one, and the version guard lets everything through.
    NoDedupe,
    /// What a listing lacks is deleted without asking Clerk about that id.
    NoConfirm,
    /// The brake lets every plan go.
    NoBrake,
    /// What is to be encrypted at rest is written as it came.
    PlainState,
    /// An encrypted record is believed under any name.
    UnboundNames,
}

#[cfg(feature = "twins")]
impl Twin {
    /// The name in `CCS_TWIN`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AckBeforeStore => "ack-before-store",
            Self::NoSync => "no-sync",
            Self::NoDedupe => "no-dedupe",
            Self::NoConfirm => "no-confirm",
            Self::NoBrake => "no-brake",
            Self::PlainState => "plain-state",
            Self::UnboundNames => "unbound-names",
        }
    }
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
