//! Colours of an embedded ICC profile to sRGB, by `moxcms`.
//!
//! Cameras and editors embed Adobe RGB, Display P3 and the like. Read as if they were sRGB, such pictures are paler than
//! they should be. The rendering intent is perceptual, as in Pillow.

use std::sync::{Arc, Once};

use image::{DynamicImage, ImageBuffer};
use moxcms::{ColorProfile, DataColorSpace, Layout, TransformExecutor, TransformOptions};
use tracing::warn;

use crate::jpeg::Inks;

/// Colours of each channel that are tried to see whether a profile differs from sRGB.
const TRIED: [u8; 6] = [0, 51, 102, 153, 204, 255];

/// The picture in sRGB. Under a profile that is damaged, or for another kind of picture, it stays as it is, as in every
/// viewer; the first time that is said.
pub(crate) fn to_srgb(picture: DynamicImage, icc: &[u8]) -> DynamicImage {
    match converted(&picture, icc) {
        Ok(Some(converted)) => converted,
        Ok(None) => picture,
        Err(problem) => {
            static TOLD: Once = Once::new();
            TOLD.call_once(|| {
                warn!(
                    "a picture's colour profile cannot be used ({problem}): its colours are read as sRGB; further ones \
                     are not told"
                );
            });
            picture
        }
    }
}

/// Whether a profile is about inks.
pub(crate) fn is_of_inks(icc: &[u8]) -> bool {
    // The colour space stands in the header, at byte 16.
    icc.get(16..20) == Some(b"CMYK")
}

/// A picture of inks in sRGB.
pub(crate) fn from_inks(inks: &Inks, icc: &[u8]) -> Result<DynamicImage, String> {
    let source = ColorProfile::new_from_slice(icc).map_err(|error| error.to_string())?;
    let transform = source
        .create_transform_8bit(
            Layout::Rgba,
            &ColorProfile::new_srgb(),
            Layout::Rgb,
            TransformOptions::default(),
        )
        .map_err(|error| error.to_string())?;
    let pixels = run(&*transform, &inks.pixels, inks.pixels.len() / 4 * 3)?;
    whole(ImageBuffer::from_raw(inks.width, inks.height, pixels)).map(DynamicImage::ImageRgb8)
}

/// Nothing where the profile is that of sRGB.
fn converted(picture: &DynamicImage, icc: &[u8]) -> Result<Option<DynamicImage>, String> {
    let source = ColorProfile::new_from_slice(icc).map_err(|error| error.to_string())?;
    let (grey, alpha) = (!picture.color().has_color(), picture.color().has_alpha());
    let (from, to) = match (source.color_space, alpha) {
        (DataColorSpace::Gray, false) if grey => (Layout::Gray, Layout::Rgb),
        (DataColorSpace::Gray, true) if grey => (Layout::GrayAlpha, Layout::Rgba),
        (DataColorSpace::Rgb, false) => (Layout::Rgb, Layout::Rgb),
        (DataColorSpace::Rgb, true) => (Layout::Rgba, Layout::Rgba),
        (space, _) => return Err(format!("it is one of {space:?}")),
    };
    if is_srgb(&source) {
        return Ok(None);
    }
    let (width, height) = (picture.width(), picture.height());
    let length = (width * height) as usize * if alpha { 4 } else { 3 };
    let (srgb, options) = (ColorProfile::new_srgb(), TransformOptions::default());
    let deep = picture.color().bits_per_pixel() / u16::from(picture.color().channel_count()) > 8;
    if deep {
        let transform = source.create_transform_16bit(from, &srgb, to, options);
        let pixels = match from {
            Layout::Gray => picture.to_luma16().into_raw(),
            Layout::GrayAlpha => picture.to_luma_alpha16().into_raw(),
            Layout::Rgb => picture.to_rgb16().into_raw(),
            _ => picture.to_rgba16().into_raw(),
        };
        let pixels = run(&*transform.map_err(|error| error.to_string())?, &pixels, length)?;
        return Ok(Some(if alpha {
            DynamicImage::ImageRgba16(whole(ImageBuffer::from_raw(width, height, pixels))?)
        } else {
            DynamicImage::ImageRgb16(whole(ImageBuffer::from_raw(width, height, pixels))?)
        }));
    }
    let transform = source.create_transform_8bit(from, &srgb, to, options);
    let pixels = match from {
        Layout::Gray => picture.to_luma8().into_raw(),
        Layout::GrayAlpha => picture.to_luma_alpha8().into_raw(),
        Layout::Rgb => picture.to_rgb8().into_raw(),
        _ => picture.to_rgba8().into_raw(),
    };
    let pixels = run(&*transform.map_err(|error| error.to_string())?, &pixels, length)?;
    Ok(Some(if alpha {
        DynamicImage::ImageRgba8(whole(ImageBuffer::from_raw(width, height, pixels))?)
    } else {
        DynamicImage::ImageRgb8(whole(ImageBuffer::from_raw(width, height, pixels))?)
    }))
}

/// Whether colours under the profile are what they are in sRGB, but for rounding: most profiles are, and such pictures
/// should come back as they were stored.
fn is_srgb(source: &ColorProfile) -> bool {
    if source.color_space != DataColorSpace::Rgb {
        return false;
    }
    let srgb = ColorProfile::new_srgb();
    let Ok(transform): Result<Arc<_>, _> =
        source.create_transform_8bit(Layout::Rgb, &srgb, Layout::Rgb, TransformOptions::default())
    else {
        return false;
    };
    let tried: Vec<u8> = TRIED
        .iter()
        .flat_map(|&r| TRIED.iter().flat_map(move |&g| TRIED.iter().flat_map(move |&b| [r, g, b])))
        .collect();
    run(&*transform, &tried, tried.len())
        .is_ok_and(|found| found.iter().zip(&tried).all(|(found, tried)| found.abs_diff(*tried) <= 1))
}

fn run<T: Copy + Default>(
    transform: &(dyn TransformExecutor<T> + Send + Sync),
    from: &[T],
    length: usize,
) -> Result<Vec<T>, String> {
    let mut to = vec![T::default(); length];
    transform.transform(from, &mut to).map_err(|error| error.to_string())?;
    Ok(to)
}

fn whole<T>(picture: Option<T>) -> Result<T, String> {
    picture.ok_or_else(|| "another number of pixels than the picture has".to_owned())
}

#[cfg(test)]
mod tests {
    use image::{Luma, Rgb, RgbImage, Rgba, RgbaImage};

    use super::*;

    fn icc(profile: &ColorProfile) -> Vec<u8> {
        profile.encode().expect("a profile of this crate's own")
    }

    #[test]
    fn adobe_rgb_becomes_srgb() {
        let adobe = icc(&ColorProfile::new_adobe_rgb());
        // By hand: 2.2 gamma, Adobe RGB's matrix to XYZ (D65), sRGB's inverse, sRGB's curve. Values outside are cut.
        for (from, to) in
            [([30, 200, 40], [0, 201, 0]), ([128; 3], [127; 3]), ([200, 100, 100], [226, 99, 100])]
        {
            let picture = RgbImage::from_pixel(3, 2, Rgb(from));
            let found = to_srgb(picture.into(), &adobe).into_rgb8().get_pixel(2, 1).0;
            assert!(
                found.iter().zip(to).all(|(a, b)| a.abs_diff(b) <= 2),
                "{from:?}: {found:?}, expected {to:?}"
            );
        }
    }

    #[test]
    fn transparency_and_depth_stay() {
        let p3 = icc(&ColorProfile::new_display_p3());
        let picture = RgbaImage::from_pixel(2, 2, Rgba([200, 100, 100, 77]));
        let converted = to_srgb(picture.into(), &p3).into_rgba8().get_pixel(1, 1).0;
        assert!(converted[3] == 77 && converted[0] > 205, "{converted:?}");
        let deep = ImageBuffer::from_pixel(2, 2, Rgb([200 * 257_u16, 100 * 257, 100 * 257]));
        let DynamicImage::ImageRgb16(deep) = to_srgb(deep.into(), &p3) else { panic!("16 bits") };
        let shallow = deep.get_pixel(0, 0).0.map(|value| (value / 257) as u8);
        assert!(shallow.iter().zip(converted).all(|(a, b)| a.abs_diff(b) <= 1), "{shallow:?} {converted:?}");
    }

    #[test]
    fn what_is_srgb_already_stays_to_the_bit() {
        let srgb = icc(&ColorProfile::new_srgb());
        let picture: DynamicImage =
            RgbImage::from_fn(64, 64, |x, y| Rgb([x as u8 * 4, y as u8 * 4, 9])).into();
        assert_eq!(to_srgb(picture.clone(), &srgb), picture);
        // A profile of colours for a grey picture is as good for it.
        let grey: DynamicImage = ImageBuffer::from_pixel(2, 2, Luma([77_u8])).into();
        assert_eq!(to_srgb(grey.clone(), &srgb).into_rgb8(), grey.to_rgb8());
    }

    #[test]
    fn a_grey_profile_is_for_grey_pictures() {
        let linear = icc(&ColorProfile::new_gray_with_gamma(1.0));
        let grey: DynamicImage = ImageBuffer::from_pixel(2, 2, Luma([55_u8])).into();
        // 55 / 255 of the light is 128 / 255 on sRGB's curve.
        let found = to_srgb(grey, &linear).into_rgb8().get_pixel(0, 0).0;
        assert!(found.iter().all(|value| value.abs_diff(128) <= 1), "{found:?}");
        let colour: DynamicImage = RgbImage::from_pixel(2, 2, Rgb([9, 8, 7])).into();
        assert_eq!(to_srgb(colour.clone(), &linear), colour);
    }

    #[test]
    fn damage_leaves_the_picture_as_it_is() {
        let picture: DynamicImage = RgbImage::from_pixel(2, 2, Rgb([9, 8, 7])).into();
        let adobe = icc(&ColorProfile::new_adobe_rgb());
        for damaged in [&b""[..], b"no profile", &adobe[..adobe.len() / 2]] {
            assert_eq!(to_srgb(picture.clone(), damaged), picture);
        }
    }
}
