//! What people are told.

pub mod alert;
