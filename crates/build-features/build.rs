//! Empty: it exists so that the build dependencies, and with them their features, are used.

fn main() {}
