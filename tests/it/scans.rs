//! Sweeps and censuses between the simulated ends: what they find, what they cost, what they leave alone.
//!
//! Deliveries are lost by not sending any: the simulated Clerk has no endpoint here.

mod census;
mod figures;
mod scene;
mod silence;
mod slices;
mod sweeps;
mod whole;
