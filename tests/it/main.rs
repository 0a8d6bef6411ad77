//! The one integration-test binary: the real daemon between the simulated ends, on real sockets.

#![allow(
    clippy::disallowed_methods,
    reason = "tests stand outside: they read the clock and the environment, and call like anybody"
)]

mod answers;
mod bounds;
mod clerk_sim;
mod content;
mod convex_conformance;
mod crash;
mod door;
mod flow;
mod hand;
mod history;
mod leaks;
mod operator;
mod order;
mod outage;
mod process;
mod repetition;
mod samples;
mod stop;
mod wire;
mod world;
