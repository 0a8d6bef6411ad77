//! The queue module (being written).
