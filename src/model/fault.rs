//! Whose fault a failure is, which is all that its caller has to know.
//!
//! Every error of an edge answers `fault()` with one of these. It decides who waits, what an attempt
//! costs and what is said to a person; it says nothing of the cause, which the error itself names.

use std::time::Duration;

/// What a failure means for the work in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This record cannot be done as it is: costs an attempt, in the end a dead letter.
    Record,
    /// The other side is down, busy or talks nonsense: wait, costs nothing.
    Service {
        /// How long the other side asked to be left alone, if it said so.
        retry_after: Option<Duration>,
    },
    /// The other side does not let us in, or is not what it should be (key, URL, functions not
    /// deployed). Nothing gets better by trying the next record: wait, say so, let a person act.
    Refused,
    /// This process is broken (storage, a request that cannot be built): take nothing in and say so.
    Ours,
}
