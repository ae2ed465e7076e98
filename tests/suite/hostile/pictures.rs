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
        (b"GIF89a\x01\x00\x01\x00\x00\x00\x00;".to_vec(), "cannot decode"),
        (b"II*\x00\x08\x00\x00\x00\x00\x00".to_vec(), "cannot decode"),
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

/// A TIFF file in little endian of these entries: tag, type, count, value.
fn tiff(entries: &[(u16, u16, u32, u32)], rest: &[u8]) -> Vec<u8> {
    let mut bytes = [&b"II*\0\x08\0\0\0"[..], &(entries.len() as u16).to_le_bytes()].concat();
    for (tag, kind, count, value) in entries {
        bytes.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
        bytes.extend([count.to_le_bytes(), value.to_le_bytes()].concat());
    }
    [&bytes, &[0; 4][..], rest].concat()
}

/// A BMP that claims so much; `packing` is how its rows are packed.
fn bmp(width: i32, height: i32, bits: u16, packing: u32) -> Vec<u8> {
    let info = [&40_u32.to_le_bytes()[..], &width.to_le_bytes(), &height.to_le_bytes(), &1_u16.to_le_bytes()]
        .concat();
    let rest = [&bits.to_le_bytes()[..], &packing.to_le_bytes(), &[0; 20]].concat();
    [&b"BM"[..], &2000_u32.to_le_bytes(), &[0; 4], &54_u32.to_le_bytes(), &info, &rest, &[0; 1946]].concat()
}

/// A GIF with one frame of so many pixels, whose codes are `data`.
fn gif(screen: [u16; 2], frame: [u16; 2], data: &[u8]) -> Vec<u8> {
    let pair = |[a, b]: [u16; 2]| [a.to_le_bytes(), b.to_le_bytes()].concat();
    let blocks: Vec<u8> =
        data.chunks(255).flat_map(|block| [&[block.len() as u8][..], block].concat()).chain([0]).collect();
    let head = [&b"GIF89a"[..], &pair(screen), &[0x80, 0, 0], &[0, 0, 0, 255, 255, 255]].concat();
    [&head[..], &[0x2C, 0, 0, 0, 0], &pair(frame), &[0, 2], &blocks, b";"].concat()
}

/// Bytes of the other formats, and of colour profiles, and why they are refused.
fn others() -> Vec<(Vec<u8>, &'static str)> {
    let side = |side: u32| -> [(u16, u16, u32, u32); 2] { [(256, 4, 1, side), (257, 4, 1, side)] };
    let grey = |side_of: u32, photometric: u32, more: &[(u16, u16, u32, u32)], rest: &[u8]| {
        let plain = [(258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, photometric), (277, 3, 1, 1)];
        let mut entries = [&side(side_of)[..], &plain, more].concat();
        entries.sort_unstable();
        tiff(&entries, rest)
    };
    let strips = |offset: u32, count: u32| [(273, 4, 1, offset), (278, 4, 1, u32::MAX), (279, 4, 1, count)];
    let png_of_profile = |profile: &[u8]| {
        png(8, 8, [8, 2], &[chunk(*b"iCCP", &[b"a\0\0", profile].concat()), chunk(*b"IDAT", b"")])
    };
    let zeros = {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        (0..300).for_each(|_| std::io::Write::write_all(&mut encoder, &vec![0; 1 << 20]).unwrap());
        encoder.finish().unwrap()
    };
    let mut endless = b"II*\0\x08\0\0\0\0\0".to_vec();
    endless.extend(8_u32.to_le_bytes());
    vec![
        (bmp(8192, 8192, 24, 0), "cannot decode"),
        (bmp(8193, 1, 24, 0), "8193 x 1 pixels"),
        (bmp(i32::MAX, i32::MAX, 32, 0), "cannot decode"),
        (bmp(0, 0, 24, 0), "cannot decode"),
        (bmp(i32::MIN, i32::MIN, 24, 0), "cannot decode"),
        (bmp(8192, 8192, 8, 1), "cannot decode"),
        (bmp(8, 8, 24, 99), "cannot decode"),
        (gif([0, 0], [0, 0], b""), "cannot decode"),
        (gif([9000, 1], [9000, 1], b"\x84\x51"), "cannot decode"),
        (gif([8192, 8192], [8192, 8192], b""), "cannot decode"),
        (gif([8, 8], [65_535, 65_535], &[0x84; 2000]), "cannot decode"),
        (gif([8, 8], [8, 8], &[0xFF; 2000]), "cannot decode"),
        (endless, "cannot decode"),
        (grey(u32::MAX, 1, &strips(100, u32::MAX), b""), "cannot decode"),
        (grey(8192, 1, &strips(100, u32::MAX), b"x"), "cannot decode"),
        (grey(8192, 1, &[(273, 4, u32::MAX, 8), (279, 4, u32::MAX, 8)], b""), "cannot decode"),
        (grey(8, 1, &[(273, 16, u32::MAX, 8)], b""), "cannot decode"),
        (grey(8, 1, &[(34_675, 7, u32::MAX, 8)], b""), "cannot decode"),
        (grey(8192, 3, &strips(100, 64), &[0; 99]), "cannot decode"),
        (grey(8, 3, &[&strips(200, 64)[..], &[(320, 3, 3, 8)]].concat(), &[0; 99]), "cannot decode"),
        (grey(0, 3, &strips(100, 64), b""), "cannot decode"),
        (png_of_profile(&zeros), "cannot decode"),
        (png_of_profile(b"no zlib"), "cannot decode"),
        (b"\0\0\0\x1Cftypavif\0\0\0\0mif1".to_vec(), "AVIF is a format that is not read"),
        (b"\xFF\xFF\xFF\xFFftypheic".to_vec(), "HEIC is a format that is not read"),
        (b"<!DOCTYPE html><html>".to_vec(), "a web page (HTML)"),
    ]
}

#[test]
fn no_picture_is_too_odd_to_be_refused_as_a_beginning() {
    let mut hostile = Hostile::new();
    for (bytes, reason) in all().into_iter().chain(others()) {
        let path = hostile.write("init.png", bytes);
        let recipe = emoji();
        let sample = ["sample", &recipe, "--prompt", "a", "--steps", "2", "--grid", "never.png"];
        hostile.refuses(&[&sample[..], &["--init", text(&path)]].concat(), reason);
    }
    hostile.check(50);
}

#[test]
fn no_picture_of_a_folder_is_too_odd_to_be_refused() {
    let mut hostile = Hostile::new();
    let folder = hostile.path("pictures");
    let recipe = hostile.tiny(&format!("ImageFolder(path: {folder:?}, size: 8)"));
    hostile.write("pictures/a.txt", "a");
    for (bytes, reason) in all().into_iter().chain(others()) {
        hostile.write("pictures/a.png", bytes);
        hostile.refuses(&["train", text(&recipe), "--out", "run"], reason);
    }
    hostile.check(50);
}

#[test]
fn no_picture_is_too_odd_to_be_refused_as_one_to_make_again() {
    let mut hostile = Hostile::new();
    let say = |json: &str| chunk(*b"tEXt", &[b"add\0", json.as_bytes()].concat());
    let pixels = {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, &[0; 8 * 25]).unwrap();
        chunk(*b"IDAT", &encoder.finish().unwrap())
    };
    let picture = |text: Vec<u8>| png(8, 8, [8, 2], &[text, pixels.clone()]);
    let bomb = {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        (0..300).for_each(|_| std::io::Write::write_all(&mut encoder, &vec![b'x'; 1 << 20]).unwrap());
        chunk(*b"iTXt", &[&b"add\0\x01\0\0\0"[..], &encoder.finish().unwrap()].concat())
    };
    let record = |change: (&str, &str)| {
        let recipe =
            super::TINY.replace("DATA", "Off(size: 8)").replace("objective: Diffusion()", "objective: Off()");
        let recipe = serde_json::to_string(&recipe).unwrap();
        let record = format!(
            "{{\"version\":\"1\",\"prompts\":[\"a\"],\"count\":1,\"index\":0,\"seed\":1,\"steps\":1,\"guidance\":1.0,\
             \"size\":\"8x8\",\"recipe_file\":\"x.ron\",\"recipe\":{recipe}}}"
        );
        assert!(change.0.is_empty() || record.contains(change.0), "{}", change.0);
        picture(say(&record.replace(change.0, change.1)))
    };
    let many = format!("[{}\"b\"]", "\"a\",".repeat(70_000));
    let deep = format!("\"recipe\":\"{}\"", "(a:".repeat(100_000));
    let recipe = ("\"recipe\":", "\"recipe\":\"\",\"was\":");
    for (bytes, reason) in [
        (picture(bomb), "cannot decode"),
        (picture(say("")), "damaged"),
        (picture(say(&"[".repeat(1_000_000))), "damaged"),
        (picture(say("{\"version\": 3}")), "damaged"),
        (record(("\"count\":1", "\"count\":0")), "expected 1 to"),
        (record(("\"count\":1", "\"count\":18446744073709551615")), "expected at most"),
        (record(("\"count\":1", "\"count\":-1")), "damaged"),
        (record(("[\"a\"]", "[]")), "expected 1 to"),
        (record(("[\"a\"]", &many)), "expected at most"),
        (record(("\"index\":0", "\"index\":18446744073709551615")), "index"),
        (record(("\"steps\":1", "\"steps\":1000000")), "steps"),
        (record(("\"guidance\":1.0", "\"guidance\":1e300")), "guidance"),
        (record(("8x8", "9999999x9999999")), "size"),
        (record(("8x8", "9x8")), "size"),
        (record(("8x8", "")), "damaged"),
        (record(recipe), "damaged"),
        (record(("\"recipe_file\"", "\"weights\":{\"name\":\"/dev/zero\"},\"recipe_file\"")), "/dev/zero"),
        (
            record(("\"recipe_file\"", "\"init\":{\"name\":\"/dev/zero\"},\"strength\":1.0,\"recipe_file\"")),
            "/dev/zero",
        ),
        (record(("\"recipe_file\"", "\"latents\":{\"name\":\"/proc/self/mem\"},\"recipe_file\"")), ""),
        (png(8, 8, [8, 2], &[say("{}")]), ""),
        (deep.into_bytes(), "expected a PNG"),
        (b"\xFF\xD8\xFF\xE1\xFF\xFFExif\0\0MM\0*\0\0\0\x08\xFF\xFF".to_vec(), "cut off"),
        (webp(&[(b"VP8X", canvas(8, 8, 8)), (b"EXIF", b"MM\0*\xFF\xFF\xFF\xFF".to_vec())]), ""),
    ] {
        let path = hostile.write("from.png", bytes);
        hostile.refuses(&["sample", "--from", text(&path), "--out", "never.png"], reason);
    }
    hostile.check(20);
}
