//! What the benchmarks are made of: sender, contenders, the Convex between them, measuring, telling.
//!
//! Everything is seen from outside the contenders; nothing here links against the daemon.

pub mod contender;
pub mod convex;
pub mod events;
pub mod load;
pub mod plan;
pub mod process;
pub mod report;
pub mod scenes;
pub mod spread;
