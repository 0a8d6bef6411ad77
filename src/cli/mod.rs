//! The cli module (being written).
