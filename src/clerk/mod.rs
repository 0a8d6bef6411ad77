//! The edge to Clerk: what it sends, and how it is asked.
//!
//! [`wire`] reads Clerk's JSON and is the only place that knows its member names; [`client`] makes the
//! requests. Neither knows Convex, the queue or the store, and nothing here decides about a record.

pub mod client;
pub mod error;
pub mod jwks;
pub mod lenient;
pub mod record;
pub mod shape;
pub mod wire;

pub use client::{ClerkClient, Options};
pub use error::ClerkError;
pub use record::{Lookup, RawRecord};

#[cfg(test)]
pub(crate) mod samples;
