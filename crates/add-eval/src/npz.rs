//! Statistics of features as pytorch-fid keeps them: NumPy's `.npz` with the mean `mu` `[d]` and the covariance `sigma`
//! `[d, d]`, both float64.
//!
//! An `.npz` is a zip file of `.npy` files: the bytes `\x93NUMPY`, a version, a header such as
//! `{'descr': '<f8', 'fortran_order': False, 'shape': (2048,), }`, the values. Source: NumPy, `numpy.lib.format`.

use std::{
    io::{Cursor, Read as _, Write as _},
    path::Path,
};

use thiserror::Error;
use zip::{CompressionMethod, ZipArchive, ZipWriter, write::SimpleFileOptions};

/// Largest file, in bytes: the covariance of 8,192 features has half of it.
const MAX_FILE: u64 = 1 << 30;
/// Largest width of features.
const MAX_WIDTH: usize = 8192;
const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// A file of statistics cannot be read or written.
#[derive(Debug, Error)]
#[error("{path}: {problem}")]
pub struct NpzError {
    path: String,
    problem: String,
}

/// Reads mean `[d]` and covariance `[d, d]`, row-major.
///
/// # Errors
/// When the file cannot be read, lacks one of them, or they do not fit together.
pub fn read_npz(path: &Path) -> Result<(Vec<f64>, Vec<f64>), NpzError> {
    let failed = |problem: String| NpzError { path: path.display().to_string(), problem };
    let bytes = add_files::read(path, MAX_FILE).map_err(|error| failed(error.to_string()))?;
    let mut archive = ZipArchive::new(Cursor::new(bytes))
        .map_err(|error| failed(format!("expected statistics of NumPy as .npz: {error}")))?;
    let mut array = |name: &str| {
        let file = archive.by_name(&format!("{name}.npy"));
        let file =
            file.map_err(|_| format!("it has no array `{name}`; pytorch-fid writes `mu` and `sigma`"))?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut bytes).map_err(|error| format!("{name}: {error}"))?;
        npy(&bytes).map_err(|problem| format!("{name}: {problem}"))
    };
    let (shape, mean) = array("mu").map_err(failed)?;
    let failed = |problem: String| NpzError { path: path.display().to_string(), problem };
    let [width] = shape[..] else {
        return Err(failed(format!("mu: expected a vector, found an array of shape {shape:?}")));
    };
    let (shape, covariance) = array("sigma").map_err(failed)?;
    let failed = |problem: String| NpzError { path: path.display().to_string(), problem };
    if shape != [width, width] {
        return Err(failed(format!("sigma: expected shape [{width}, {width}], as mu has, found {shape:?}")));
    }
    if mean.iter().chain(&covariance).any(|value| !value.is_finite()) {
        return Err(failed("it holds values that are not finite".to_owned()));
    }
    Ok((mean, covariance))
}

/// Writes them; an old file is replaced only by a whole new one.
///
/// # Errors
/// When the disk refuses.
pub fn write_npz(path: &Path, mean: &[f64], covariance: &[f64]) -> Result<(), NpzError> {
    let write = || {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        // NumPy stores without compression too.
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        let width = mean.len();
        for (name, shape, values) in [
            ("mu.npy", format!("({width},)"), mean),
            ("sigma.npy", format!("({width}, {width})"), covariance),
        ] {
            archive.start_file(name, options)?;
            archive.write_all(&header(&shape))?;
            for value in values {
                archive.write_all(&value.to_le_bytes())?;
            }
        }
        let bytes = archive.finish()?.into_inner();
        add_files::replace(path, |file| file.write_all(&bytes))
    };
    write().map_err(|error: std::io::Error| NpzError {
        path: path.display().to_string(),
        problem: error.to_string(),
    })
}

fn header(shape: &str) -> Vec<u8> {
    let mut text = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}");
    // The values begin at a multiple of 64 bytes.
    let length = (MAGIC.len() + 4 + text.len() + 1).next_multiple_of(64) - MAGIC.len() - 4;
    text.push_str(&" ".repeat(length - text.len() - 1));
    text.push('\n');
    [MAGIC.as_slice(), &[1, 0], &(length as u16).to_le_bytes(), text.as_bytes()].concat()
}

/// Shape and values of an array.
fn npy(bytes: &[u8]) -> Result<(Vec<usize>, Vec<f64>), String> {
    let short = || "it is cut off".to_owned();
    let rest = bytes.strip_prefix(MAGIC).ok_or("expected an array of NumPy")?;
    let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
    let (length, rest) = if version[0] == 1 {
        let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
        (u16::from_le_bytes(*length) as usize, rest)
    } else {
        let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        (u32::from_le_bytes(*length) as usize, rest)
    };
    let (header, values) = rest.split_at_checked(length).ok_or_else(short)?;
    let header = String::from_utf8_lossy(header);
    let after = |key: &str| header.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim_start());
    let shape =
        after("shape").and_then(|rest| rest.strip_prefix('(')?.split_once(')')).ok_or("it has no shape")?;
    let sides = shape.0.split(',').map(str::trim).filter(|side| !side.is_empty()).map(str::parse);
    let shape: Vec<usize> = sides.collect::<Result<_, _>>().map_err(|_| format!("shape ({})", shape.0))?;
    if shape.is_empty() || shape.len() > 2 || shape.iter().any(|side| !(1..=MAX_WIDTH).contains(side)) {
        return Err(format!("expected one or two sides of 1 to {MAX_WIDTH}, found {shape:?}"));
    }
    let kind = after("descr").unwrap_or_default();
    let values: Vec<f64> = if kind.starts_with("'<f8'") {
        values.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()
    } else if kind.starts_with("'<f4'") {
        values.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes).into()).collect()
    } else {
        return Err(format!(
            "expected values of <f8 or <f4, found {}",
            kind.split(',').next().unwrap_or_default()
        ));
    };
    // A covariance is its own transpose, so `fortran_order` does not matter.
    let expected = shape.iter().product::<usize>();
    if values.len() != expected {
        return Err(format!("expected {expected} values, found {}", values.len()));
    }
    Ok((shape, values))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stats.npz");
        write_npz(&path, &[1.0, -2.5], &[4.0, 0.1, 0.1, 9.0]).unwrap();
        assert_eq!(read_npz(&path).unwrap(), (vec![1.0, -2.5], vec![4.0, 0.1, 0.1, 9.0]));
    }

    /// `np.savez(f, mu=[1, -2.5], sigma=[[4, .1], [.1, 9]])` and `np.savez_compressed`, NumPy 2.4.
    #[test]
    fn numpys_own_files_are_read() {
        for name in ["stats.npz", "stats_compressed.npz"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
            assert_eq!(read_npz(&path).unwrap(), (vec![1.0, -2.5], vec![4.0, 0.1, 0.1, 9.0]), "{name}");
        }
    }

    #[test]
    fn what_is_none_is_refused_with_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stats.npz");
        write_npz(&path, &[1.0, -2.5], &[4.0, 0.1, 0.1, 9.0]).unwrap();
        let sound = fs::read(&path).unwrap();
        for at in 0..sound.len() {
            fs::write(&path, &sound[..at]).unwrap();
            assert!(read_npz(&path).is_err());
            let mut flipped = sound.clone();
            flipped[at] ^= 0x41;
            fs::write(&path, flipped).unwrap();
            let _ = read_npz(&path);
        }
        write_npz(&path, &[1.0, -2.5], &[4.0]).unwrap();
        assert!(read_npz(&path).unwrap_err().to_string().contains("sigma: expected 4 values, found 1"));
        fs::write(&path, "no zip").unwrap();
        assert!(read_npz(&path).unwrap_err().to_string().contains("expected statistics of NumPy"));
    }
}
