//! What came of making sure that a user's row is there.
//!
//! The answer that goes from those who can find out to the listener that was asked at sign-in. A noun:
//! which status it becomes is the listener's to say.

use super::Outcome;

/// What is known of a user's row now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ensured {
    /// It is there.
    Present {
        /// The row's Convex id.
        id: String,
        /// What had to be done; [`Outcome::Unchanged`] if nothing.
        outcome: Outcome,
    },
    /// Clerk does not know the user, or Convex knows that the user was deleted.
    Gone,
    /// The record cannot be written as it is.
    Refused,
    /// Clerk or Convex is away, or nothing is applied at the moment.
    Away,
    /// Too many are asked about at this moment.
    Busy,
}
