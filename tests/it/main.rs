//! The one integration-test binary: the real daemon between the simulated ends, on real sockets.

mod clerk_sim;
mod content;
mod convex_conformance;
mod crash;
mod door;
mod flow;
mod hand;
mod order;
mod outage;
mod process;
mod wire;
mod world;
