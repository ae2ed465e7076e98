//! The forward pass in bf16, on processors that multiply pairs of such numbers and sum them in f32.
//!
//! Windows that Winograd's tiles serve go to them, but where AMX multiplies. All others are one product of matrices: weights
//! `[C_out, C_in k_h k_w]` by shifted images, one column per output pixel. Two neighbours of a row of weights are a pair as they
//! lie in memory, so weights are never copied; a task packs some panels of the images, two shifts to a row of pairs, and sums all
//! of their outputs in f32 before it rounds them.

use burn::tensor::bf16;

use super::{Sizes, Winograd};
use crate::parallel::{Scratch, SharedMut, parallel, parallel_ranges};
use crate::product::{Reduction, Start, multiply_panel, panel_width, tile_rows};
use crate::simd::{LANES, Simd, Task, dispatch_pairs, has_tiles};

/// Pairs of the sum between two visits to the output: those of a panel, with the weights of a tile, stay in the nearest cache.
const STEPS: usize = 256;
/// Rows whose weights, in so many steps, stay in the second cache while all panels of a task go by.
const ROWS: usize = 64;
/// Most panels of a task.
const PANELS: usize = 8;
/// Most rows of the panels of a task, together: their sums stay in the second cache.
const SUMS: usize = 3072;
/// Vector operations that are worth the start of a thread.
const SMALLEST_TASK: usize = 40_000;

/// `y = conv(x, weights) + bias` of numbers that lie row after row; `weights` in pairs.
///
/// # Safety
/// The processor has pairs, an output is a sum of an even number of products, and `out` has the size of the output.
pub(super) unsafe fn forward(
    sizes: Sizes,
    x: &[bf16],
    weights: &[f32],
    bias: Option<&[f32]>,
    out: SharedMut<bf16>,
) {
    #[cfg(target_arch = "x86_64")]
    if super::tiles::pay(sizes) {
        return super::tiles::forward(sizes, x, bytemuck::cast_slice(weights), bias, out);
    }
    // With AMX the multiplications that they spare cost less than the transforms.
    if !has_tiles() && sizes.in_tiles(sizes.output) && sizes.c_in.is_multiple_of(2) {
        return Winograd::forward(sizes, x, bytemuck::cast_slice(weights), bias, out).run();
    }
    let image = Image::new(sizes, x);
    let sources = image.sources();
    let steps = sources.len();
    let pixels = sizes.output[0] * sizes.output[1];
    let (inner, outer) = (sizes.inner(), sizes.outer());
    for group in 0..sizes.groups {
        Product {
            image: &image,
            first: group * inner * image.plane(),
            sources: &sources,
            weights: &weights[group * outer * steps..][..outer * steps],
            rows: outer,
            bias: bias.map(|b| &b[group * outer..][..outer]),
            // SAFETY: the channels of the group are inside of the output.
            out: SharedMut::new(unsafe { out.at(group * outer * pixels) }),
        }
        .run();
    }
}

/// An image with its zeros. The columns that one output column after the other sees at the same place of the window lie side by
/// side: with a stride of two, each row is its even columns, then its odd ones.
struct Image<'a> {
    sizes: Sizes,
    copy: Option<Scratch>,
    there: &'a [bf16],
    /// Rows with the zeros.
    height: usize,
    /// Columns of each of the `stride` parts of a row.
    part: usize,
}

impl<'a> Image<'a> {
    fn new(sizes: Sizes, x: &'a [bf16]) -> Self {
        let Sizes { samples, c_in, input: [rows, columns], stride: [_, stride], padding, .. } = sizes;
        let height = rows + 2 * padding[0];
        let part = (columns + 2 * padding[1]).div_ceil(stride);
        let mut image = Self { sizes, copy: None, there: x, height, part };
        if padding == [0, 0] && stride == 1 {
            return image;
        }
        let plane = image.plane();
        let mut copy = Scratch::new((samples * c_in * plane).div_ceil(2));
        let to = SharedMut::new(copy.as_mut_ptr().cast::<bf16>());
        parallel_ranges(samples * c_in, plane / 8, |range| {
            for i in range {
                // SAFETY: every plane belongs to one task, and any bits are numbers.
                let to = unsafe { std::slice::from_raw_parts_mut(to.at(i * plane), plane) };
                to.fill(bf16::ZERO);
                for y in 0..rows {
                    let from = &x[(i * rows + y) * columns..][..columns];
                    let to = &mut to[(padding[0] + y) * stride * part..][..stride * part];
                    if stride == 1 {
                        to[padding[1]..][..columns].copy_from_slice(from);
                        continue;
                    }
                    for (x, from) in (padding[1]..).zip(from) {
                        to[x % stride * part + x / stride] = *from;
                    }
                }
            }
        });
        image.copy = Some(copy);
        image
    }

    fn values(&self) -> *const bf16 {
        self.copy.as_ref().map_or(self.there.as_ptr(), |copy| copy.as_ptr().cast())
    }

    /// Numbers of a row.
    fn pitch(&self) -> usize {
        self.sizes.stride[1] * self.part
    }

    fn plane(&self) -> usize {
        self.height * self.pitch()
    }

    /// Offsets of the inputs of one output, in the order of the weights, in pairs.
    fn sources(&self) -> Vec<[usize; 2]> {
        let Sizes { window, stride, .. } = self.sizes;
        let source = |k: usize| {
            let (channel, tap) = (k / self.sizes.taps(), k % self.sizes.taps());
            let (u, v) = (tap / window[1], tap % window[1]);
            channel * self.plane() + u * self.pitch() + v % stride[1] * self.part + v / stride[1]
        };
        let pairs = self.sizes.inner() * self.sizes.taps() / 2;
        (0..pairs).map(|k| [source(2 * k), source(2 * k + 1)]).collect()
    }
}

/// `out[s, i, pixel] = bias[i] + sum_k weights[i][k] image[first + pixel + sources[k]]`, each `k` a pair.
#[derive(Clone, Copy)]
struct Product<'a> {
    image: &'a Image<'a>,
    first: usize,
    sources: &'a [[usize; 2]],
    weights: &'a [f32],
    rows: usize,
    bias: Option<&'a [f32]>,
    out: SharedMut<bf16>,
}

impl Product<'_> {
    /// Pixels of one sample.
    fn pixels(&self) -> usize {
        self.image.sizes.output[0] * self.image.sizes.output[1]
    }

    fn columns(&self) -> usize {
        self.image.sizes.samples * self.pixels()
    }

    fn run(self) {
        let panels = self.columns().div_ceil(panel_width());
        if panels == 0 || self.rows == 0 {
            return;
        }
        let cost = panels * self.rows * self.sources.len() * panel_width() / LANES;
        let wanted = (2 * rayon::current_num_threads()).min(cost / SMALLEST_TASK).max(1);
        // All weights are read once per run of panels, so runs are long; what is missing in tasks are blocks of rows, each of which
        // packs its panels again.
        let run = PANELS.min(panels);
        let runs = panels.div_ceil(run);
        let blocks = wanted.div_ceil(runs).max(self.rows.div_ceil(SUMS / run));
        let block = self.rows.div_ceil(blocks).next_multiple_of(tile_rows());
        let blocks = self.rows.div_ceil(block);
        parallel(runs * blocks, |task| {
            let (first_panel, first_row) = (task / blocks * run, task % blocks * block);
            let piece = Piece {
                product: self,
                first_panel,
                panels: run.min(panels - first_panel),
                first_row,
                rows: block.min(self.rows - first_row),
            };
            // SAFETY: the caller described memory that is there, and the pieces are disjoint.
            unsafe { dispatch_pairs(piece) };
        });
    }

    /// Offset in the image of the pixel of a column.
    #[inline(always)]
    fn source(&self, column: usize) -> usize {
        let Sizes { output, stride, c_in, .. } = self.image.sizes;
        let (sample, pixel) = (column / self.pixels(), column % self.pixels());
        let (y, x) = (pixel / output[1], pixel % output[1]);
        self.first + sample * c_in * self.image.plane() + y * stride[0] * self.image.pitch() + x
    }
}

/// Some panels and rows of a [`Product`], for one thread.
struct Piece<'a> {
    product: Product<'a>,
    first_panel: usize,
    panels: usize,
    first_row: usize,
    rows: usize,
}

/// Lanes of a vector of columns that lie side by side in the image.
#[derive(Clone, Copy, Default)]
struct Run {
    from: usize,
    to: usize,
    /// Offset of lane 0, were it there.
    offset: isize,
}

impl Task for Piece<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { product: p, first_panel, panels, first_row, rows } = self;
        let width = S::VECS * LANES;
        let k = p.sources.len();
        let mut packed = Scratch::new(panels * STEPS.min(k) * width);
        let mut sums = Scratch::new(panels * rows * width);
        let (packed, sums) = (packed.as_mut_ptr(), sums.as_mut_ptr());
        let mut from = 0;
        while from < k {
            let steps = STEPS.min(k - from);
            for panel in 0..panels {
                let first = (first_panel + panel) * width;
                self.pack(s, first, &p.sources[from..from + steps], packed.add(panel * steps * width), width);
            }
            let mut row = 0;
            while row < rows {
                let count = ROWS.min(rows - row);
                let start = match p.bias {
                    _ if from > 0 => Start::There,
                    Some(bias) => Start::RowBias(bias.as_ptr().add(first_row + row)),
                    None => Start::Zero,
                };
                for panel in 0..panels {
                    multiply_panel(
                        s,
                        Reduction { runs: &[0], length: steps, stride: 1 },
                        p.weights.as_ptr().add((first_row + row) * k + from),
                        |i| i * k,
                        count,
                        packed.add(panel * steps * width),
                        width,
                        sums.add((panel * rows + row) * width),
                        width,
                        width.min(p.columns() - (first_panel + panel) * width),
                        start,
                    );
                }
                row += count;
            }
            from += steps;
        }
        for panel in 0..panels {
            self.round(s, (first_panel + panel) * width, sums.add(panel * rows * width), width);
        }
    }
}

impl Piece<'_> {
    /// Writes the pairs of the panel that begins at the column `first`: `[sources, width]`.
    #[inline(always)]
    unsafe fn pack<S: Simd>(&self, s: S, first: usize, sources: &[[usize; 2]], to: *mut f32, width: usize) {
        let image = self.product.image.values();
        let columns = self.product.columns();
        let mut vector = 0;
        while vector < width && first + vector < columns {
            let lanes = LANES.min(columns - first - vector);
            let mut runs = [Run::default(); LANES];
            let mut count = 0;
            for lane in 0..lanes {
                let offset = self.product.source(first + vector + lane) as isize - lane as isize;
                if count == 0 || runs[count - 1].offset != offset {
                    runs[count] = Run { from: lane, to: lane, offset };
                    count += 1;
                }
                runs[count - 1].to = lane + 1;
            }
            let to = to.add(vector);
            let [Run { from, to: end, offset }, ..] = runs;
            let image_0 = image.wrapping_offset(offset);
            for (k, &[a, b]) in sources.iter().enumerate() {
                let mut pairs = s.load_pairs([image_0.wrapping_add(a), image_0.wrapping_add(b)], from, end);
                for run in &runs[1..count] {
                    let image = image.wrapping_offset(run.offset);
                    let more = [image.wrapping_add(a), image.wrapping_add(b)];
                    pairs = s.or(pairs, s.load_pairs(more, run.from, run.to));
                }
                s.store(to.add(k * width), pairs);
            }
            vector += LANES;
        }
    }

    /// Rounds the sums of a panel, `[rows, width]`, to where they belong.
    #[inline(always)]
    unsafe fn round<S: Simd>(&self, s: S, first: usize, sums: *const f32, width: usize) {
        let p = self.product;
        let (pixels, channels) = (p.pixels(), p.image.sizes.c_out);
        let count = width.min(p.columns() - first);
        let mut j = 0;
        while j < count {
            let (sample, pixel) = ((first + j) / pixels, (first + j) % pixels);
            let n = LANES.min(count - j).min(pixels - pixel);
            for i in 0..self.rows {
                let to = p.out.at((sample * channels + self.first_row + i) * pixels + pixel);
                s.store_first_bf16(to, s.load_first(sums.add(i * width + j), n), n);
            }
            j += n;
        }
    }
}
