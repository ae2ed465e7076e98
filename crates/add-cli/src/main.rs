//! The binary add: the only place with a terminal, a tracing subscriber and an exit code.
fn main() {}
