//! Resizing pictures on the host.
//!
//! Smaller: the area average, `y_i = sum_j |cell_i ∩ pixel_j| x_j / |cell_i|`, in the sRGB values themselves (not
//! linear light), as PIL's `BOX` and PyTorch's `area` have it; for a whole factor it is the mean of a block.

use add_resample::{Filter, Taps};
use image::{Rgb, RgbImage, imageops};

/// The area average at another size; rounded to nearest, halves up.
///
/// # Panics
/// When a side is zero.
pub fn area_resize(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    assert!(width > 0 && height > 0 && picture.width() > 0 && picture.height() > 0, "a picture has pixels");
    if picture.dimensions() == (width, height) {
        return picture.clone();
    }
    let taps = |from: u32, to: u32| Filter::Box.taps(from as usize, to as usize);
    let (columns, rows) = (taps(picture.width(), width), taps(picture.height(), height));
    RgbImage::from_fn(width, height, |x, y| {
        let mut sum = [0.0; 3];
        for (j, weight_y) in places(&rows[y as usize]) {
            for (i, weight_x) in places(&columns[x as usize]) {
                let pixel = picture.get_pixel(i, j).0;
                for (s, value) in sum.iter_mut().zip(pixel) {
                    *s += weight_y * weight_x * f64::from(value);
                }
            }
        }
        // Weights add to one within rounding: a half must not fall below itself.
        Rgb(sum.map(|s| (s + 0.5 + 1e-9) as u8))
    })
}

/// The places of taps with their weights.
fn places(taps: &Taps) -> impl Iterator<Item = (u32, f64)> {
    (taps.first as u32..).zip(taps.weights.iter().copied())
}

/// The central square, by area average at `size`.
pub fn square(picture: &RgbImage, size: u32) -> RgbImage {
    filling(picture, size, size)
}

/// The largest central part of the shape `width` to `height`, by area average at that size.
pub fn filling(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    let (w, h) = picture.dimensions();
    let share = |whole: u32, side: u32, other: u32| {
        (u64::from(whole) * u64::from(side) / u64::from(other)).clamp(1, u64::from(u32::MAX)) as u32
    };
    // One side is used whole, of the other as much as its share.
    let (cut_w, cut_h) = (share(h, width, height).min(w), share(w, height, width).min(h));
    let (x, y) = ((w - cut_w) / 2, (h - cut_h) / 2);
    area_resize(&imageops::crop_imm(picture, x, y, cut_w, cut_h).to_image(), width, height)
}

/// Each pixel as a block of `factor` by `factor`.
pub fn enlarge(picture: &RgbImage, factor: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    RgbImage::from_fn(width * factor, height * factor, |x, y| *picture.get_pixel(x / factor, y / factor))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(values: &[u8]) -> RgbImage {
        RgbImage::from_fn(values.len() as u32, 1, |x, _| Rgb([values[x as usize]; 3]))
    }

    fn red(picture: &RgbImage) -> Vec<u8> {
        picture.pixels().map(|p| p.0[0]).collect()
    }

    #[test]
    fn half_size_is_the_mean_of_two_by_two_blocks() {
        let picture = RgbImage::from_fn(2, 2, |x, y| Rgb([[[0, 1], [1, 0]][y as usize][x as usize]; 3]));
        assert_eq!(area_resize(&picture, 1, 1).get_pixel(0, 0).0, [1; 3], "0.5 rounds up");
        assert_eq!(red(&area_resize(&row(&[10, 20, 200, 101]), 2, 1)), [15, 151]);
    }

    #[test]
    fn cells_share_the_pixels_they_cut() {
        // (90 + 0.5 * 30) / 1.5 = 70 and (0.5 * 30 + 60) / 1.5 = 50
        assert_eq!(red(&area_resize(&row(&[90, 30, 60]), 2, 1)), [70, 50]);
    }

    #[test]
    fn square_keeps_the_centre() {
        assert_eq!(red(&square(&row(&[1, 2, 3]), 1)), [2]);
    }

    #[test]
    fn another_shape_keeps_the_centre_and_one_whole_side() {
        let picture = RgbImage::from_fn(6, 4, |x, y| Rgb([(10 * y + x) as u8; 3]));
        assert_eq!(red(&filling(&picture, 2, 4)), [2, 3, 12, 13, 22, 23, 32, 33]);
        assert_eq!(red(&filling(&picture, 6, 2)), [10, 11, 12, 13, 14, 15, 20, 21, 22, 23, 24, 25]);
        assert_eq!(filling(&picture, 300, 1).dimensions(), (300, 1));
        assert_eq!(filling(&picture, 6, 4), picture);
    }

    #[test]
    fn enlarged_pictures_shrink_back_to_themselves() {
        let picture = RgbImage::from_fn(3, 2, |x, y| Rgb([(x * 80) as u8, (y * 90) as u8, 5]));
        assert_eq!(enlarge(&picture, 4).dimensions(), (12, 8));
        assert_eq!(area_resize(&enlarge(&picture, 4), 3, 2), picture);
    }

    proptest! {
        #[test]
        fn a_flat_picture_stays_flat(value: u8, from in 1u32..40, to in 1u32..40) {
            let picture = RgbImage::from_pixel(from, from, Rgb([value; 3]));
            prop_assert!(red(&area_resize(&picture, to, to)).iter().all(|&v| v == value));
        }
    }
}
