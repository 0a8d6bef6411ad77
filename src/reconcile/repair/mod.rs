//! What may be done about differences, and what waits for a person.
//!
//! [`brake`] judges a run's deletions as a whole, before the first; [`plan`] is what it holds, and [`plans`]
//! keeps that on disk. Creating and updating need no leave: the version guard in Convex keeps them harmless.

pub mod brake;
pub mod lately;
pub mod plan;
pub mod plans;
