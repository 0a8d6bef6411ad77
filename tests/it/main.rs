//! The one integration-test binary: the real daemon between the simulated ends, on real sockets.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "tests read clocks and the environment, say what they ran against, and tell long stories"
)]

mod answers;
mod aside;
mod bodies;
mod bounds;
mod brake;
mod burst;
mod canaries;
mod clerk_sim;
mod clocks;
mod commands;
mod content;
mod convex_conformance;
mod corpora;
mod crash;
mod day;
mod deletion;
mod door;
mod drip;
mod durability;
mod edits;
mod encryption;
mod ends;
mod ensure;
mod floods;
mod flow;
mod footprint;
mod guesses;
mod hand;
mod history;
mod injection;
mod install;
mod killed;
mod lane;
mod leaks;
mod listing;
mod long_outage;
mod measure;
mod merging;
mod migration;
mod operator;
mod oplog;
mod order;
mod orders;
mod organizations;
mod outage;
mod own;
mod parents;
mod payloads;
mod people;
mod process;
mod reconcile_cli;
mod repeats;
mod repetition;
mod rights;
mod rotation;
mod runs;
mod samples;
mod scans;
mod scans_by_clock;
mod services;
mod simulation;
mod slow;
mod soak;
mod stalls;
mod stop;
mod strangers;
mod supply;
mod syscalls;
mod tidy;
#[cfg(feature = "twins")]
mod twins;
mod unit;
mod upgrade;
mod vouched;
mod walk;
mod wire;
mod world;
