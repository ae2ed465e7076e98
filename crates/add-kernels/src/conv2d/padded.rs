//! Images with the zeros around them that a convolution asks for.

use crate::parallel::{Scratch, SharedMut, parallel_ranges};

/// `[planes, H, W]` with zeros around every plane; the image itself where no zeros are needed.
pub(super) struct Padded<'a> {
    copy: Option<Scratch>,
    image: &'a [f32],
    /// Rows and columns with the zeros.
    pub(super) size: [usize; 2],
}

impl<'a> Padded<'a> {
    /// `before` and `after`: zeros to add, each `[rows, columns]`.
    pub(super) fn new(
        image: &'a [f32],
        planes: usize,
        size: [usize; 2],
        before: [usize; 2],
        after: [usize; 2],
    ) -> Self {
        let [height, width] = size;
        let padded = [height + before[0] + after[0], width + before[1] + after[1]];
        if padded == size {
            return Self { copy: None, image, size };
        }
        let plane = padded[0] * padded[1];
        let mut copy = Scratch::new(planes * plane);
        let out = SharedMut::new(copy.as_mut_ptr());
        parallel_ranges(planes, plane / 4, |range| {
            for i in range {
                // SAFETY: every plane belongs to one task.
                let to = unsafe { std::slice::from_raw_parts_mut(out.at(i * plane), plane) };
                to.fill(0.0);
                for y in 0..height {
                    let row = &image[(i * height + y) * width..][..width];
                    to[(before[0] + y) * padded[1] + before[1]..][..width].copy_from_slice(row);
                }
            }
        });
        Self { copy: Some(copy), image, size: padded }
    }

    pub(super) fn values(&self) -> &[f32] {
        self.copy.as_deref().unwrap_or(self.image)
    }

    pub(super) fn plane(&self) -> usize {
        self.size[0] * self.size[1]
    }
}
