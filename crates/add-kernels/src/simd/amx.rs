//! AMX: eight registers of sixteen rows of 64 bytes, and the product of two of them in bf16 with sums in f32.
//!
//! Rust names these instructions only in its unstable part, so they are written down here as assembly.

use core::{
    arch::{
        asm,
        x86_64::{__cpuid, __cpuid_count, _xgetbv},
    },
    cell::Cell,
};

use super::{Task, avx512};

/// Rows and columns of the sums of a whole [`Block`].
pub(crate) const BLOCK: usize = 2 * SIDE;
/// Rows of a register; also the numbers, or pairs of bf16 numbers, of a whole row.
pub(crate) const SIDE: usize = 16;

/// Whether this process may use AMX for bf16, on a processor that has AVX512-BF16 too.
pub(super) fn available() -> bool {
    avx512::pairs_available() && processor_has_it() && system_grants_it()
}

fn processor_has_it() -> bool {
    /// Bits of leaf 7: bf16 products, registers.
    const BF16_AND_TILES: u32 = 1 << 22 | 1 << 24;
    /// Bits of the states that the system saves: configuration, registers.
    const STATES: u64 = 1 << 17 | 1 << 18;
    const OSXSAVE: u32 = 1 << 27;
    if __cpuid(0).eax < 7 || __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    let has = __cpuid_count(7, 0).edx & BF16_AND_TILES == BF16_AND_TILES;
    // SAFETY: the system has made the instruction usable.
    has && unsafe { saved_states() } & STATES == STATES
}

#[target_feature(enable = "xsave")]
fn saved_states() -> u64 {
    // SAFETY: register 0 exists wherever the instruction does.
    unsafe { _xgetbv(0) }
}

/// Linux gives the registers to those processes that ask.
#[cfg(target_os = "linux")]
fn system_grants_it() -> bool {
    /// `ARCH_REQ_XCOMP_PERM`, and the registers' state.
    const REQUEST: [libc::c_long; 2] = [0x1023, 18];
    // SAFETY: the call reads no memory.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST[0], REQUEST[1]) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn system_grants_it() -> bool {
    false
}

/// # Safety
/// [`available`], and the task's pointers are valid.
pub(super) unsafe fn run(task: impl Task) {
    // Whatever the task does, the system need not save the registers afterwards.
    struct Release;
    impl Drop for Release {
        fn drop(&mut self) {
            if LOADED.replace(NONE) != NONE {
                // SAFETY: they were in use.
                unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
            }
        }
    }
    let _release = Release;
    avx512::run_tiles(task);
}

thread_local! {
    /// The shapes that this thread's registers have.
    static LOADED: Cell<Shapes> = const { Cell::new(NONE) };
}

const NONE: Shapes = Shapes { rows: [0; 2], columns: [0; 2], steps: 0 };

/// Shapes of the factors and sums of a block of a product: up to two registers of rows by two of columns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shapes {
    /// Rows of the left registers.
    pub(crate) rows: [usize; 2],
    /// Columns of the right registers.
    pub(crate) columns: [usize; 2],
    /// Pairs of one step of the sum.
    pub(crate) steps: usize,
}

/// The first sixteen of up to 32 rows or columns, and the others.
pub(crate) fn halves(left: usize) -> [usize; 2] {
    [left.min(SIDE), left.saturating_sub(SIDE).min(SIDE)]
}

/// What a block of [`Shapes`] reads and writes. All distances are in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a> {
    /// The left factor, row after row.
    pub(crate) left: *const f32,
    pub(crate) left_row: usize,
    /// The right factor, one row for each pair of numbers of the sum.
    pub(crate) right: *const f32,
    pub(crate) right_row: usize,
    /// Where in the right factor each run of the sum begins; in the left one a run follows the other.
    pub(crate) runs: &'a [usize],
    pub(crate) sums: *mut f32,
    pub(crate) sums_row: usize,
    /// How often `steps` pairs are summed in each run.
    pub(crate) times: usize,
    /// Whether to what is there.
    pub(crate) add: bool,
}

impl Shapes {
    fn load(self) {
        if LOADED.replace(self) == self {
            return;
        }
        // Palette 1, then from byte 16 on two bytes a register for its columns, and from 48 on one for its rows.
        let mut layout = [0_u8; 64];
        layout[0] = 1;
        let mut register = |i: usize, rows: usize, words: usize| {
            // One that is not used has the least shape, since a register without rows is no register.
            layout[16 + 2 * i] = 4 * words.max(1) as u8;
            layout[48 + i] = rows.max(1) as u8;
        };
        for i in 0..2 {
            for j in 0..2 {
                register(2 * i + j, self.rows[i], self.columns[j]);
            }
            register(4 + i, self.rows[i], self.steps);
            register(6 + i, self.steps, self.columns[i]);
        }
        // SAFETY: the processor has the registers, and the shapes are within 16 rows of 64 bytes.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) layout.as_ptr(), options(readonly, nostack, preserves_flags));
        }
    }

    /// `sums = left right`, or with what is there added.
    ///
    /// # Safety
    /// [`available`], and the memory is there.
    pub(crate) unsafe fn multiply(self, block: Block<'_>) {
        debug_assert!(
            self.rows.iter().chain(&self.columns).all(|&n| n <= SIDE) && (1..=SIDE).contains(&self.steps)
        );
        self.load();
        match (self.rows[1] > 0, self.columns[1] > 0) {
            (true, true) => block.two_by_two(self.steps),
            (true, false) => block.two_by_one(self.steps),
            (false, true) => block.one_by_two(self.steps),
            (false, false) => block.one_by_one(self.steps),
        }
    }
}

/// Registers 0 to 3 hold the sums row by row, 4 and 5 the left factor, 6 and 7 the right one.
macro_rules! block {
    ($name:ident, sums: [$(($sum:literal, $row:literal, $column:literal)),*], left: [$(($left:literal, $left_row:literal)),*],
     right: [$(($right:literal, $right_column:literal)),*], products: [$($product:literal),*]) => {
        #[inline(always)]
        unsafe fn $name(self, steps: usize) {
            let Self { left, left_row, right, right_row, runs, sums, sums_row, times, add } = self;
            // The second register of rows or columns begins so many bytes further.
            let sum = |row: usize, column: usize| sums.byte_add(row * SIDE * sums_row + column * 4 * SIDE);
            $(
                if add {
                    asm!(concat!("tileloadd ", $sum, ", [{} + {}*1]"), in(reg) sum($row, $column), in(reg) sums_row,
                         options(nostack, preserves_flags));
                } else {
                    asm!(concat!("tilezero ", $sum), options(nomem, nostack, preserves_flags));
                }
            )*
            let mut left = left;
            for &run in runs {
                let mut right = right.byte_add(run);
                for _ in 0..times {
                    $(asm!(concat!("tileloadd ", $left, ", [{} + {}*1]"), in(reg) left.byte_add($left_row * SIDE * left_row),
                           in(reg) left_row, options(nostack, preserves_flags));)*
                    $(asm!(concat!("tileloadd ", $right, ", [{} + {}*1]"), in(reg) right.byte_add($right_column * 4 * SIDE),
                           in(reg) right_row, options(nostack, preserves_flags));)*
                    $(asm!(concat!("tdpbf16ps ", $product), options(nomem, nostack, preserves_flags));)*
                    left = left.add(steps);
                    right = right.byte_add(steps * right_row);
                }
            }
            $(asm!(concat!("tilestored [{} + {}*1], ", $sum), in(reg) sum($row, $column), in(reg) sums_row,
                   options(nostack, preserves_flags));)*
        }
    };
}

impl Block<'_> {
    block!(two_by_two,
        sums: [("tmm0", 0, 0), ("tmm1", 0, 1), ("tmm2", 1, 0), ("tmm3", 1, 1)],
        left: [("tmm4", 0), ("tmm5", 1)], right: [("tmm6", 0), ("tmm7", 1)],
        products: ["tmm0, tmm4, tmm6", "tmm1, tmm4, tmm7", "tmm2, tmm5, tmm6", "tmm3, tmm5, tmm7"]);
    block!(two_by_one,
        sums: [("tmm0", 0, 0), ("tmm2", 1, 0)],
        left: [("tmm4", 0), ("tmm5", 1)], right: [("tmm6", 0)],
        products: ["tmm0, tmm4, tmm6", "tmm2, tmm5, tmm6"]);
    block!(one_by_two,
        sums: [("tmm0", 0, 0), ("tmm1", 0, 1)],
        left: [("tmm4", 0)], right: [("tmm6", 0), ("tmm7", 1)],
        products: ["tmm0, tmm4, tmm6", "tmm1, tmm4, tmm7"]);
    block!(one_by_one,
        sums: [("tmm0", 0, 0)],
        left: [("tmm4", 0)], right: [("tmm6", 0)],
        products: ["tmm0, tmm4, tmm6"]);
}
