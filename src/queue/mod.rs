//! Between what was stored and what is written: whose turn it is.

pub mod backoff;
pub mod order;
