//! The one integration-test binary (being written).
fn main() {}
