//! Comparing both sides and putting right what differs: sweep, census, full diff.
//!
//! Reads Clerk and Convex, never writes: repairs go into the queue's second lane and come back with what
//! became of them. Promises: no deletion without Clerk's word about that very id, none from a listing that did
//! not prove itself complete, none beyond the brake without a person.

pub mod belief;
pub mod diff;
pub mod ends;
pub mod repair;
pub mod run;
pub mod scan;
