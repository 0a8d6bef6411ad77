//! The two services played on one machine: a simulated Clerk that signs and sends webhooks, and a
//! simulated Convex that runs the six functions over its HTTP API.
//!
//! They are written from the services' specifications and share no type with [`crate::clerk`] or
//! [`crate::convex`]: a misreading on one side must not cancel itself out on the other. They keep
//! state, take orders to misbehave, and serve `demo`, `sandbox`, the tests and the benchmarks.

pub mod clerk;
pub mod convex;
