//! Threads and memory of the kernels.
//!
//! Work is cut into numbered tasks whose outputs do not overlap, and a sum never runs across two tasks, so the
//! numbers do not depend on which thread took which task.

use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

use burn::tensor::{Bytes, Element, Shape};
use burn_flex::{FlexTensor, Layout};
use rayon::{ThreadPoolBuilder, prelude::*};

/// Makes this thread one of those that share the work of a kernel; else it sleeps while they work, and is woken after each. For a
/// program whose kernels are all called from one thread, before the first of them; later it changes nothing.
pub fn compute_on_this_thread() {
    // It fails where the threads are there already.
    let _ = ThreadPoolBuilder::new().use_current_thread().build_global();
}

/// Runs `body(0), .., body(tasks - 1)` on rayon's threads.
pub(crate) fn parallel(tasks: usize, body: impl Fn(usize) + Sync + Send) {
    if tasks <= 1 || rayon::current_num_threads() == 1 {
        (0..tasks).for_each(body);
    } else {
        // Behind one type, so that rayon's machinery is compiled once and not for every kernel.
        let body: &(dyn Fn(usize) + Sync + Send) = &body;
        (0..tasks).into_par_iter().with_max_len(1).for_each(body);
    }
}

/// Cuts `items` into equal ranges, a few per thread, none of which costs less than a thread's start.
///
/// `cost` of one item is in elementary vector operations (about half a nanosecond each).
pub(crate) fn parallel_ranges(
    items: usize,
    cost: usize,
    body: impl Fn(std::ops::Range<usize>) + Sync + Send,
) {
    let length = range_length(items, cost);
    parallel(items.div_ceil(length.max(1)), |task| body(task * length..((task + 1) * length).min(items)));
}

/// Items per range: see [`parallel_ranges`].
pub(crate) fn range_length(items: usize, cost: usize) -> usize {
    const TASKS_PER_THREAD: usize = 4;
    const SMALLEST_TASK: usize = 20_000;
    let fair = items.div_ceil(TASKS_PER_THREAD * rayon::current_num_threads());
    fair.max(SMALLEST_TASK.div_ceil(cost.max(1))).clamp(1, items.max(1))
}

/// Memory that several tasks write to, each to its own part.
#[derive(Clone, Copy)]
pub(crate) struct SharedMut<T = f32>(*mut T);

unsafe impl<T> Send for SharedMut<T> {}
unsafe impl<T> Sync for SharedMut<T> {}

impl<T> SharedMut<T> {
    pub(crate) fn new(p: *mut T) -> Self {
        Self(p)
    }

    /// # Safety
    /// The offset is inside of the memory.
    #[inline(always)]
    pub(crate) unsafe fn at(self, offset: usize) -> *mut T {
        self.0.add(offset)
    }
}

/// A new tensor whose memory is not cleared first: `fill` must write all of it.
pub(crate) fn output(shape: impl Into<Shape>, fill: impl FnOnce(SharedMut)) -> FlexTensor {
    output_of(shape, fill)
}

/// The same of numbers of any type.
pub(crate) fn output_of<T: Element + bytemuck::Pod>(
    shape: impl Into<Shape>,
    fill: impl FnOnce(SharedMut<T>),
) -> FlexTensor {
    let shape = shape.into();
    let mut values = Vec::<T>::with_capacity(shape.num_elements());
    fill(SharedMut(values.as_mut_ptr()));
    // SAFETY: `fill` wrote `num_elements` numbers.
    unsafe { values.set_len(shape.num_elements()) };
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape), T::dtype())
}

/// A view of the numbers of a contiguous tensor.
pub(crate) fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("a tensor that went through `dense`")
}

/// The tensor itself when it is contiguous, else a copy that is.
pub(crate) fn dense(tensor: FlexTensor) -> FlexTensor {
    if tensor.as_slice::<f32>().is_some() { tensor } else { tensor.to_contiguous() }
}

/// A cache line of numbers.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

static POOL: Mutex<Vec<Vec<Line>>> = Mutex::new(Vec::new());

/// Buffers kept for the next kernel.
const POOLED: usize = 24;

/// A temporary buffer of arbitrary content, aligned to cache lines, that returns to a pool when it is dropped.
pub(crate) struct Scratch {
    lines: Vec<Line>,
    len: usize,
}

impl Scratch {
    pub(crate) fn new(len: usize) -> Self {
        let needed = len.div_ceil(16).max(1);
        let pooled = {
            let mut pool = POOL.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let fits = |b: &Vec<Line>| b.len() >= needed && b.len() <= 8 * needed.max(1024);
            let best = (0..pool.len()).filter(|&i| fits(&pool[i])).min_by_key(|&i| pool[i].len());
            best.map(|i| pool.swap_remove(i))
        };
        let lines =
            pooled.unwrap_or_else(|| vec![Line([0.0; 16]); needed.next_power_of_two().min(needed + 65_536)]);
        Self { lines, len }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut pool = POOL.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if pool.len() < POOLED {
            pool.push(std::mem::take(&mut self.lines));
        }
    }
}

impl Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: a line is sixteen numbers without padding.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn ranges_cover_every_item_once() {
        for (items, cost) in [(0, 1), (1, 1), (7, 1_000_000), (1000, 10_000), (100_000, 1)] {
            let seen: Vec<AtomicU32> = (0..items).map(|_| AtomicU32::new(0)).collect();
            parallel_ranges(items, cost, |range| {
                for i in range {
                    seen[i].fetch_add(1, Ordering::Relaxed);
                }
            });
            assert!(seen.iter().all(|n| n.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn scratch_is_aligned_and_as_long_as_asked() {
        for len in [0, 1, 15, 17, 5000] {
            let scratch = Scratch::new(len);
            assert_eq!(scratch.len(), len);
            assert_eq!(scratch.as_ptr() as usize % 64, 0);
        }
    }
}
