//! The edge to Clerk: what it sends, and how it is asked.
//!
//! [`wire`] reads Clerk's JSON and is the only place that knows its member names; [`client`] makes the
//! requests. Neither knows Convex, the queue or the store, and nothing here decides about a record.

pub mod lenient;
pub mod shape;
pub mod wire;

#[cfg(test)]
pub(crate) mod samples;
