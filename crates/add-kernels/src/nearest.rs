//! Nearest-neighbour resize of feature maps. Burn's goes by f32 and back for numbers in bf16, number by number.

use std::{iter, mem::MaybeUninit};

use burn::tensor::{
    Element, Tensor, bf16, module,
    ops::{InterpolateMode, InterpolateOptions},
};
use burn_flex::FlexTensor;
use bytemuck::Pod;

use crate::half::flat;
use crate::parallel::{SharedMut, output, output_of, parallel_ranges, values};
use crate::simd::LANES;
use crate::tape::{Kernel, apply};

/// `[B, C, H, W]` to `[B, C, size]`; output row `i` of `H'` shows input row `floor(i * (H / H'))`, computed in f32 as `PyTorch`
/// does; columns likewise.
///
/// # Panics
/// If a side of the input or of `size` is zero.
pub fn resize_nearest(x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    let [samples, channels, height, width] = x.dims();
    let from = [height, width];
    assert!(from.iter().chain(&size).all(|&side| side > 0), "{from:?} to {size:?}");
    match apply(Nearest { planes: [samples, channels], from, to: size }, [x.into_dispatch()]) {
        Ok(y) => Tensor::from_dispatch(y),
        Err([x]) => resize_nearest_reference(Tensor::from_dispatch(x), size),
    }
}

/// The same by Burn's own operation.
#[doc(hidden)]
pub fn resize_nearest_reference(x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    module::interpolate(x, InterpolateOptions::new(InterpolateMode::Nearest).with_output_size(size))
}

#[derive(Debug, Clone, Copy)]
struct Nearest {
    planes: [usize; 2],
    from: [usize; 2],
    to: [usize; 2],
}

impl Kernel<1> for Nearest {
    type Saved = ();

    fn forward(&self, [x]: &[FlexTensor; 1]) -> (FlexTensor, ()) {
        (self.value(values(x)), ())
    }

    fn forward_in_bf16(&self, [x]: &[FlexTensor; 1]) -> Option<FlexTensor> {
        Some(self.value::<bf16>(flat(x).as_slice()?))
    }

    fn backward(
        &self,
        _: [FlexTensor; 1],
        (): (),
        dy: FlexTensor,
        wanted: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        [wanted[0].then(|| self.gradient(values(&dy)))]
    }
}

impl Nearest {
    /// For each row or column of the output that of the input.
    fn sources(&self, axis: usize) -> Vec<usize> {
        let (from, to) = (self.from[axis], self.to[axis]);
        let scale = from as f32 / to as f32;
        (0..to).map(|i| ((i as f32 * scale) as usize).min(from - 1)).collect()
    }

    /// Applies `body` to the number of each plane, over all threads.
    fn each_plane(&self, body: impl Fn(usize) + Sync + Send) {
        let planes = self.planes.iter().product();
        parallel_ranges(planes, self.to[0] * self.to[1] / LANES * 2, |range| range.for_each(&body));
    }

    fn value<T: Element + Pod>(&self, x: &[T]) -> FlexTensor {
        let Self { planes: [samples, channels], from: [height, width], to: [rows, columns] } = *self;
        let (from_row, from_column) = (self.sources(0), self.sources(1));
        output_of([samples, channels, rows, columns], |out: SharedMut<T>| {
            self.each_plane(|plane| {
                // SAFETY: every plane belongs to one task.
                let out: &mut [MaybeUninit<T>] = unsafe {
                    let length = rows * columns;
                    std::slice::from_raw_parts_mut(out.at(plane * length).cast(), length)
                };
                let x = &x[plane * height * width..][..height * width];
                for (i, &row) in from_row.iter().enumerate() {
                    let (before, to) = out.split_at_mut(i * columns);
                    let to = &mut to[..columns];
                    if i > 0 && from_row[i - 1] == row {
                        to.copy_from_slice(&before[(i - 1) * columns..]);
                        continue;
                    }
                    let from = &x[row * width..][..width];
                    if columns == 2 * width {
                        for (to, from) in to.chunks_exact_mut(2).zip(from) {
                            to.fill(MaybeUninit::new(*from));
                        }
                    } else {
                        for (to, &column) in to.iter_mut().zip(&from_column) {
                            to.write(from[column]);
                        }
                    }
                }
            });
        })
    }

    /// Every number of the input has the sum of the gradients of those that show it.
    fn gradient(&self, dy: &[f32]) -> FlexTensor {
        let Self { planes: [samples, channels], from: [height, width], to: [rows, columns] } = *self;
        let (from_row, from_column) = (self.sources(0), self.sources(1));
        output([samples, channels, height, width], |out| {
            self.each_plane(|plane| {
                let dy = &dy[plane * rows * columns..][..rows * columns];
                // SAFETY: every plane belongs to one task, and zeros are numbers.
                let out = unsafe {
                    let length = height * width;
                    out.at(plane * length).write_bytes(0, length);
                    std::slice::from_raw_parts_mut(out.at(plane * length), length)
                };
                for (dy, &row) in iter::zip(dy.chunks_exact(columns), &from_row) {
                    let out = &mut out[row * width..][..width];
                    for (dy, &column) in iter::zip(dy, &from_column) {
                        out[column] += dy;
                    }
                }
            });
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{agree, random, same_without_tape};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn value_and_gradients_equal_those_of_burn(
            (batch, channels) in (1_usize..4, 1_usize..6),
            (height, width) in (1_usize..9, 1_usize..40),
            (rows, columns) in (1_usize..20, 1_usize..80),
            doubled: bool,
            view in 0..3,
        ) {
            let x = match view {
                0 => random([batch, channels, height, width], 1),
                1 => random([batch, channels, width, height], 1).swap_dims(2, 3),
                _ => random([batch, channels + 1, height, width + 2], 1)
                    .slice([0..batch, 1..channels + 1, 0..height, 1..width + 1]),
            };
            let size = if doubled { [2 * height, 2 * width] } else { [rows, columns] };
            let ours = Nearest { planes: [batch, channels], from: [height, width], to: size };
            // Burn multiplies in f64, which lies on the other side of some whole numbers.
            prop_assume!((0..2).all(|axis| {
                let scale = ours.from[axis] as f64 / ours.to[axis] as f64;
                iter::zip(0_u32.., ours.sources(axis)).all(|(i, source)| (f64::from(i) * scale) as usize == source)
            }));
            same_without_tape((x.clone(),), |(x,)| resize_nearest(x, size))?;
            agree((x,), |(x,)| resize_nearest(x, size), |(x,)| resize_nearest_reference(x, size))?;
        }
    }

    #[test]
    fn a_row_shows_the_one_at_its_place() {
        let x =
            Tensor::<1>::from_floats([1.0, 2.0, 3.0], &burn::tensor::Device::flex()).reshape([1, 1, 1, 3]);
        assert_eq!(crate::testing::numbers(resize_nearest(x, [1, 5])), [1.0, 1.0, 2.0, 2.0, 3.0]);
        let places = Nearest { planes: [1, 1], from: [1, 30], to: [1, 22] }.sources(1);
        assert_eq!(places[10..13], [13, 15, 16]);
    }
}
