//! The convex module (being written).
