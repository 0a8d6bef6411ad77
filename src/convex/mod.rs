//! The edge to Convex: the functions of the contract, called over HTTP.
//!
//! [`wire`] knows their names and shapes, [`answer`] what a reply means, [`deployment`] how a call is made;
//! [`writer`] writes and [`reader`] reads. [`circuit`] says when to leave the deployment alone. Nothing here
//! knows Clerk, the queue or the store. Only `apply` may use the writer.

pub mod answer;
pub mod circuit;
pub mod deployment;
pub mod reader;
pub mod wire;
pub mod writer;

pub use deployment::{Deployment, Options};

#[cfg(test)]
mod tests;
