//! cargo xtask: the door to everything.
fn main() {}
