//! The apply module (being written).
