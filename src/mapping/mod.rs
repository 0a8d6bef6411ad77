//! The mapping module (being written).
