//! `clerk-convex-sync` keeps the tables of a Convex deployment equal to a Clerk instance.
//!
//! Data goes one way. A signed webhook is verified and stored by [`intake`], waits per record in
//! [`queue`], is turned into a change by [`mapping`] and written by [`apply`], the only module
//! that writes to Convex. The modules below stand in the order of that flow; each knows only
//! those above it in the "edges" and "nouns" groups and never its neighbours (see
//! `ARCHITECTURE.md` for the table of who may know whom).

#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::too_many_lines,
        reason = "tests read clocks, wait, and go through long tables of cases"
    )
)]

// Nouns: values without I/O and without a clock.
pub mod model;

pub mod locked;
pub mod twin;

pub mod config;
pub mod telemetry;

// Edges: connections, the two services and the disk.
pub mod inbound;
pub mod outbound;

pub mod clerk;
pub mod convex;
pub mod store;

pub mod mapping;

// The flow: something is said, it waits, it is written.
pub mod intake;

pub mod queue;

pub mod report;

pub mod apply;

// The other flow: the clock strikes, both sides are compared.
pub mod schedule;

pub mod reconcile;

// Doors and frame.
pub mod admin;
#[allow(
    clippy::disallowed_methods,
    reason = "commands tell people the time of day and how long something took"
)]
pub mod cli;
pub mod daemon;
pub mod sandbox;
