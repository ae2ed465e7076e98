//! Width and height of pictures that are made.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Width and height in pixels, written as `768x512`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Dimensions {
    /// Pixels in a row.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
}

impl Dimensions {
    /// Those of a square.
    pub const fn square(side: usize) -> Self {
        Self { width: side, height: side }
    }

    /// Number of pixels.
    pub const fn pixels(self) -> usize {
        self.width.saturating_mul(self.height)
    }
}

impl fmt::Display for Dimensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl From<Dimensions> for String {
    fn from(dimensions: Dimensions) -> Self {
        dimensions.to_string()
    }
}

impl TryFrom<String> for Dimensions {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Dimensions {
    type Err = String;

    /// Reads `768x512`, or one number for a square.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected width and height in pixels, such as 768x512, got {text:?}");
        let number = |digits: &str| digits.trim().parse().map_err(|_| wrong());
        match text.split_once(['x', 'X', '×']) {
            None => Ok(Self::square(number(text)?)),
            Some((width, height)) => Ok(Self { width: number(width)?, height: number(height)? }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn width_comes_before_height() {
        let wide = Dimensions { width: 768, height: 512 };
        assert_eq!("768x512".parse(), Ok(wide));
        assert_eq!("768 × 512".parse(), Ok(wide));
        assert_eq!("64".parse(), Ok(Dimensions::square(64)));
        assert_eq!(wide.to_string().parse(), Ok(wide));
        for wrong in ["", "x", "768x", "-1x2", "1x2x3", "a", "1.5"] {
            assert!(wrong.parse::<Dimensions>().is_err(), "{wrong}");
        }
    }
}
