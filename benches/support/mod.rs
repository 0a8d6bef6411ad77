//! What the benchmarks share: what is run and where, child processes, the simulated services, percentiles.
//!
//! Everything is seen from outside the contenders; nothing here links against the daemon.

pub mod convex;
pub mod process;
pub mod setup;
pub mod spread;
