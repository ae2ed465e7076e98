//! Pictures: as the beginning of a sample, and in a folder to train on.

use std::io::Cursor;

use image::{ImageFormat, RgbImage};

use super::{Hostile, emoji, text};

/// A PNG's chunk.
fn chunk(name: [u8; 4], data: &[u8]) -> Vec<u8> {
    let named = [&name, data].concat();
    let crc = named.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0xEDB8_8320 } else { c >> 1 })
    });
    [&(data.len() as u32).to_be_bytes()[..], &named, &(!crc).to_be_bytes()].concat()
}

/// A PNG that claims so much; `kind` is depth and colour type.
fn png(width: u32, height: u32, kind: [u8; 2], chunks: &[Vec<u8>]) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &kind, &[0, 0, 0]].concat();
    [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(*b"IHDR", &header), chunks.concat(), chunk(*b"IEND", b"")].concat()
}

/// A RIFF file of these chunks, as WebP has it.
fn webp(chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
    let mut body = b"WEBP".to_vec();
    for (name, data) in chunks {
        body.extend([&name[..], &(data.len() as u32).to_le_bytes(), data].concat());
        body.extend(vec![0; data.len() % 2]);
    }
    [&b"RIFF"[..], &(body.len() as u32).to_le_bytes(), &body].concat()
}

/// The extended header of a WebP: flags, and the canvas' sides.
fn canvas(flags: u8, width: u32, height: u32) -> Vec<u8> {
    let side = |side: u32| (side - 1).to_le_bytes()[..3].to_vec();
    [vec![flags, 0, 0, 0], side(width), side(height)].concat()
}

fn sound(format: ImageFormat) -> Vec<u8> {
    let picture = RgbImage::from_fn(64, 64, |x, y| image::Rgb([x as u8 * 4, y as u8 * 4, (x * y) as u8]));
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Bytes, and why they are refused.
fn all() -> Vec<(Vec<u8>, &'static str)> {
    const RGB: [u8; 2] = [8, 2];
    let (jpeg, small, lossless) =
        (sound(ImageFormat::Jpeg), sound(ImageFormat::Png), sound(ImageFormat::WebP));
    // What follows the 12 bytes of the RIFF header: the one chunk of a plain WebP.
    let frame = lossless[20..].to_vec();
    let zeros = vec![0x78; 389_000];
    let mut flipped = small.clone();
    flipped[60] ^= 1;
    let mut no_size = jpeg.clone();
    let header = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    no_size[header + 5..header + 9].fill(0);
    let mut vast = jpeg.clone();
    vast[header + 5..header + 9].fill(0xFF);
    let lying = [&b"RIFF"[..], &u32::MAX.to_le_bytes(), &lossless[8..lossless.len() / 2]].concat();
    vec![
        (Vec::new(), "cannot decode"),
        (b"\x89PNG\r\n\x1a\n".to_vec(), "cannot decode"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' width='1' height='1'/>".to_vec(), "format"),
        (b"GIF89a\x01\x00\x01\x00\x00\x00\x00;".to_vec(), "Gif"),
        (b"II*\x00\x08\x00\x00\x00\x00\x00".to_vec(), "Tiff"),
        (vec![0xFF; 10_000], "format"),
        (png(u32::MAX, u32::MAX, RGB, &[]), "cannot decode"),
        (png(10_000, 10_000, RGB, &[chunk(*b"IDAT", &zeros)]), "cannot decode"),
        (png(8193, 1, RGB, &[]), "cannot decode"),
        (png(8192, 8192, [16, 6], &[chunk(*b"IDAT", &zeros)]), "cannot decode"),
        (png(8192, 8192, RGB, &[chunk(*b"IDAT", &zeros)]), "cannot decode"),
        (png(0, 8, RGB, &[]), "cannot decode"),
        (png(8, 8, RGB, &[]), "cannot decode"),
        (png(8, 8, [3, 2], &[]), "cannot decode"),
        (png(8, 8, RGB, &[chunk(*b"acTL", &[0, 0, 0, 9, 0, 0, 0, 0]), chunk(*b"IDAT", b"")]), "animation"),
        (png(8, 8, RGB, &[chunk(*b"iCCP", &zeros), chunk(*b"IDAT", b"")]), "cannot decode"),
        (small[..small.len() / 2].to_vec(), "cannot decode"),
        (flipped, "cannot decode"),
        (jpeg[..jpeg.len() / 2].to_vec(), "cut off"),
        (jpeg[..jpeg.len() - 2].to_vec(), "cut off"),
        (no_size, "cannot decode"),
        (vast, "cannot decode"),
        (b"\xFF\xD8\xFF\xD9".to_vec(), "cannot decode"),
        (lossless[..lossless.len() / 2].to_vec(), "cannot decode"),
        (lying, "cannot decode"),
        (webp(&[(b"VP8X", canvas(2, 64, 64))]), "cannot decode"),
        (
            webp(&[
                (b"VP8X", canvas(2, 64, 64)),
                (b"ANIM", vec![0; 6]),
                (b"ANMF", [vec![0; 6], vec![63, 0, 0, 63, 0, 0], vec![0; 4], frame.clone()].concat()),
            ]),
            "cannot decode",
        ),
        (webp(&[(b"VP8X", canvas(0, 1 << 24, 1 << 24)), (b"VP8L", frame.clone())]), "cannot decode"),
        (webp(&[(b"VP8X", canvas(0, 8000, 8000)), (b"VP8L", frame)]), "cannot decode"),
    ]
}

#[test]
fn no_picture_is_too_odd_to_be_refused_as_a_beginning() {
    let mut hostile = Hostile::new();
    for (bytes, reason) in all() {
        let path = hostile.write("init.png", bytes);
        let recipe = emoji();
        let sample = ["sample", &recipe, "--prompt", "a", "--steps", "2", "--grid", "never.png"];
        hostile.refuses(&[&sample[..], &["--init", text(&path)]].concat(), reason);
    }
    hostile.check(25);
}

#[test]
fn no_picture_of_a_folder_is_too_odd_to_be_refused() {
    let mut hostile = Hostile::new();
    let folder = hostile.path("pictures");
    let recipe = hostile.tiny(&format!("ImageFolder(path: {folder:?}, size: 8)"));
    hostile.write("pictures/a.txt", "a");
    for (bytes, reason) in all() {
        hostile.write("pictures/a.png", bytes);
        hostile.refuses(&["train", text(&recipe), "--out", "run"], reason);
    }
    hostile.check(25);
}
