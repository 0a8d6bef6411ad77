//! What must outlast a kill, a power cut, a failing, a full and a damaged disk. Goals G01, G02, G04, G22 to
//! G24, G26, G27.
//!
//! Each scenario runs the built binary under load and compares what was acknowledged with the rows in Convex
//! afterwards. Short here; `make soak` makes them long. Those that need root, loop devices or a C compiler say
//! so when they are not there.

mod bare;
pub mod blocked;
mod damage;
pub mod failing;
pub mod full;
pub mod kills;
mod load;
mod log;
pub mod native;
pub mod power;
mod restarts;
pub mod slow;
mod stops;
mod volume;
mod yesterday;
