//! What the benchmark of reconciliation is made of: both services, the runs, the script beside them, telling.
//!
//! Everything is seen from outside: commands are child processes, their memory is read from `/proc`, requests
//! are counted by the simulated services themselves. Nothing here links against the daemon.

pub mod clubs;
pub mod ends;
pub mod plan;
pub mod report;
pub mod runs;
pub mod scans;
pub mod scenes;
