//! The intake module (being written).
