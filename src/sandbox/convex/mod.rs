//! Simulated Convex (being written).
