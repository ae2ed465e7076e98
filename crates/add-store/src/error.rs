//! What can go wrong between a name and its bytes.

/// An error of this crate. None of them holds a credential: a place with one in it is refused, and those of the
/// environment travel in headers.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A text that names no place.
    #[error("`{text}` names no place: {problem}")]
    Place {
        /// The text, without what stands before an `@`.
        text: String,
        /// Expected and found.
        problem: String,
    },
    /// No such file.
    #[error("{place}: there is no such file")]
    Missing {
        /// The file's path or address.
        place: String,
    },
    /// A file that is larger than it may be.
    #[error("{place}: expected at most {most} bytes, found {found}")]
    TooLarge {
        /// The file's path or address.
        place: String,
        /// The limit.
        most: u64,
        /// The size of the file.
        found: u64,
    },
    /// A file that is another one than before.
    #[error("{place}: it has changed since it was indexed; start the run again")]
    Changed {
        /// The file's path or address.
        place: String,
    },
    /// The store does not answer as it should, after all retries.
    #[error("{place}: {problem}")]
    Failed {
        /// The file's path or address.
        place: String,
        /// What it said, and what to do.
        problem: String,
    },
    /// A shard that is damaged or hostile.
    #[error("{place}: at byte {offset}: {problem}")]
    Shard {
        /// The file's path or address.
        place: String,
        /// Byte at which the member's header begins.
        offset: u64,
        /// Expected and found.
        problem: String,
    },
}
