//! One set of dependency features for every selection of packages; see the comment in `Cargo.toml`.
