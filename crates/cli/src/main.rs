//! The `mountlab` program.
fn main() {}
