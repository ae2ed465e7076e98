//! The cross-crate suite: snapshots, parity with the reference numbers, end-to-end runs.
