//! The edge to Clerk: what it sends, and how it is asked.
//!
//! [`wire`] reads Clerk's JSON and is the only place that knows its member names; [`client`] makes the
//! requests, at the rate of [`budget`]; [`walk`] reads whole listings and [`proof`] says whether one may be
//! believed to be whole. None knows Convex, the queue or the store, and nothing here decides about a record.

pub mod budget;
pub mod client;
pub mod error;
pub mod jwks;
pub mod lenient;
pub mod pace;
pub mod proof;
pub mod record;
pub mod shape;
pub mod walk;
pub mod wire;

pub use budget::{Priority, Rate};
pub use client::{ClerkClient, Options};
pub use error::ClerkError;
pub use pace::Pace;
pub use record::{Lookup, RawRecord};

#[cfg(test)]
pub(crate) mod samples;
