//! The admin module (being written).
