//! Matrices in memory, and their copies in the order in which a product reads them.

use crate::simd::{LANES, Simd, Task, tile_size};

/// A matrix in memory: element `(i, j)` is at `i * row + j * column`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix {
    pub(crate) data: *const f32,
    pub(crate) row: usize,
    pub(crate) column: usize,
}

unsafe impl Send for Matrix {}
unsafe impl Sync for Matrix {}

impl Matrix {
    /// Row after row.
    pub(crate) fn rows(data: &[f32], columns: usize) -> Self {
        Self { data: data.as_ptr(), row: columns, column: 1 }
    }

    /// # Safety
    /// The element is inside of the memory.
    #[inline(always)]
    pub(super) unsafe fn at(self, i: usize, j: usize) -> *const f32 {
        self.data.add(i * self.row + j * self.column)
    }

    pub(crate) fn transposed(self) -> Self {
        Self { data: self.data, row: self.column, column: self.row }
    }
}

/// Columns of one panel of the right factor.
pub(crate) fn panel_width() -> usize {
    tile_size()[1] * LANES
}

/// Rows of a whole register tile. Work is cut into multiples of it, so that only the last tile of a matrix is a small one.
pub(crate) fn tile_rows() -> usize {
    tile_size()[0]
}

/// Numbers that [`pack`] writes for a right factor `[k, n]`.
pub(crate) fn packed_len(k: usize, n: usize) -> usize {
    n.div_ceil(panel_width()) * panel_width() * k
}

/// Cuts the right factor `[k, n]` of a product into panels that [`multiply_panel`] can read, one after the other,
/// each `[k, panel_width()]`.
///
/// # Safety
/// `b` is readable for `k x n`, and `dst` writable for [`packed_len`].
#[inline(always)]
pub(crate) unsafe fn pack<S: Simd>(s: S, b: Matrix, k: usize, n: usize, dst: *mut f32) {
    let width = S::VECS * LANES;
    let mut first = 0;
    while first < n {
        PackPanel { b, k, first, columns: width.min(n - first), width, dst: dst.add(first * k) }.run(s);
        first += width;
    }
}

/// Copies columns `first..first + columns` of `b` to rows of `width` numbers.
pub(super) struct PackPanel {
    pub(super) b: Matrix,
    pub(super) k: usize,
    pub(super) first: usize,
    pub(super) columns: usize,
    pub(super) width: usize,
    pub(super) dst: *mut f32,
}

impl Task for PackPanel {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { b, k, first, columns, width, dst } = self;
        let src = b.data.add(first * b.column);
        if b.row == 1 {
            Transpose { src, ld_src: b.column, rows: columns, columns: k, dst, ld_dst: width }.run(s);
        } else if b.column == 1 {
            for i in 0..k {
                let mut j = 0;
                while j < columns {
                    let n = LANES.min(columns - j);
                    s.store(dst.add(i * width + j), s.load_first(src.add(i * b.row + j), n));
                    j += LANES;
                }
            }
        } else {
            for i in 0..k {
                for j in 0..columns {
                    *dst.add(i * width + j) = *src.add(i * b.row + j * b.column);
                }
            }
        }
    }
}

/// Transposes `rows x columns` numbers, `ld_src` apart, to `columns x rows`, `ld_dst` apart.
pub(crate) struct Transpose {
    pub(crate) src: *const f32,
    pub(crate) ld_src: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) dst: *mut f32,
    pub(crate) ld_dst: usize,
}

impl Task for Transpose {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { src, ld_src, rows, columns, dst, ld_dst } = self;
        let (whole_rows, whole_columns) = (rows / LANES * LANES, columns / LANES * LANES);
        let mut i = 0;
        while i < whole_rows {
            let mut j = 0;
            while j < whole_columns {
                s.transpose(src.add(i * ld_src + j), ld_src, dst.add(j * ld_dst + i), ld_dst);
                j += LANES;
            }
            i += LANES;
        }
        for i in 0..rows {
            let from = if i < whole_rows { whole_columns } else { 0 };
            for j in from..columns {
                *dst.add(j * ld_dst + i) = *src.add(i * ld_src + j);
            }
        }
    }
}
