//! What a file of unknown origin may be at most.

/// Largest accepted header, in bytes. SDXL's is 0.2 MiB.
pub const MAX_HEADER_BYTES: u64 = 16 << 20;
/// Most tensors in one file. SDXL's single file has 2,515.
pub const MAX_TENSORS: usize = 20_000;
/// Most shards of one model. The largest released ones have a few dozen.
pub(crate) const MAX_SHARDS: usize = 256;
