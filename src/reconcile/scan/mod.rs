//! Scans: which parts of Clerk are read, how often, and in what order.
//!
//! [`ranges`] is what the census believes about the number of users, as pure arithmetic. The scans themselves
//! read Clerk and Convex and hand what they suspect to the diff.

pub mod ranges;
