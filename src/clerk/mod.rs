//! The clerk module (being written).
