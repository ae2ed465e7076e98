//! Where a file holds what a network needs, and what no network needs.

/// Where a parameter's values are in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A tensor of the parameter's shape. Dimensions of one do not count: a 1x1 convolution is a matrix.
    Whole(String),
    /// The `part`-th of `of` equal runs of rows: queries, keys and values that are stored as one matrix.
    Rows {
        /// The tensor.
        name: String,
        /// Number of the run, from 0.
        part: usize,
        /// Number of runs.
        of: usize,
    },
    /// A matrix that is stored as `[in, out]`.
    Transposed(String),
}

impl Source {
    /// The same with `prefix` in front of the name.
    #[must_use]
    pub fn under(self, prefix: &str) -> Self {
        let at = |name: String| format!("{prefix}{name}");
        match self {
            Self::Whole(name) => Self::Whole(at(name)),
            Self::Rows { name, part, of } => Self::Rows { name: at(name), part, of },
            Self::Transposed(name) => Self::Transposed(at(name)),
        }
    }

    /// The tensor in the file.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Whole(name) | Self::Rows { name, .. } | Self::Transposed(name) => name,
        }
    }

    /// The shape of what is taken out of a tensor of `shape`.
    pub(crate) fn taken(&self, shape: &[usize]) -> Vec<usize> {
        let mut shape = shape.to_vec();
        match self {
            Self::Whole(_) => {}
            Self::Rows { of, .. } => {
                if let Some(rows) = shape.first_mut() {
                    // Rows that cannot be divided fit no parameter.
                    *rows = if rows.is_multiple_of(*of) { *rows / of } else { 0 };
                }
            }
            Self::Transposed(_) => shape.reverse(),
        }
        shape
    }
}

impl From<String> for Source {
    fn from(name: String) -> Self {
        Self::Whole(name)
    }
}

/// Tensors that files carry and no network of this project reads: counters, tables that are computed, the token that
/// stood for hidden patches in training.
pub fn is_unused(name: &str) -> bool {
    let last = name.rsplit_once('.').map_or(name, |(_, last)| last);
    matches!(last, "position_ids" | "num_batches_tracked" | "mask_token")
}
