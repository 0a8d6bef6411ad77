//! Simulated Clerk (being written).
