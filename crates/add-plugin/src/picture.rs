//! A picture as files hold it: 8 bits per channel.

/// An sRGB picture `[height, width, 3]` of 8 bits, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Picture {
    /// A picture of these values.
    ///
    /// # Panics
    /// When a side is zero or there are not `3 * width * height` values.
    pub fn new(width: usize, height: usize, rgb: Vec<u8>) -> Self {
        assert!(width > 0 && height > 0, "a picture has pixels, got {width} x {height}");
        assert_eq!(rgb.len(), 3 * width * height, "values of {width} x {height} pixels");
        Self { width, height, rgb }
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows of pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// All values, `[height, width, 3]` row-major.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }
}
