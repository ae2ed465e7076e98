//! What people have in the place of a file of weights, by how it begins.

use crate::limits::MAX_HEADER_BYTES;

/// Bytes of a text that are shown.
const SHOWN: usize = 60;

/// The kind of file that its name promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// A safetensors file.
    Safetensors,
    /// A pickle of PyTorch's.
    Pytorch,
}

/// What a file is that begins with `head`, where it is known and not what is expected.
pub(crate) fn instead(head: &[u8], expected: Expected) -> Option<String> {
    let begins = |with: &[u8]| head.starts_with(with);
    let known = match expected {
        Expected::Safetensors if begins(b"PK\x03\x04") || begins(b"\x80\x02") => {
            "a file of PyTorch's under another name; let its name end in .ckpt, .bin, .pt or .pth"
        }
        Expected::Pytorch if is_safetensors(head) => {
            "a safetensors file under another name; let its name end in .safetensors"
        }
        _ if begins(b"version https://git-lfs") => {
            "a pointer of Git LFS, not the file; fetch that with `git lfs pull`"
        }
        _ if begins(b"GGUF") => "a GGUF file; fetch the model as safetensors",
        _ if begins(b"\x89HDF") => "an HDF5 file, as Keras writes it; fetch the model as safetensors",
        _ if begins(b"\x1F\x8B") => "packed as gzip; unpack it",
        _ => return text(head),
    };
    Some(format!("it is {known}"))
}

fn is_safetensors(head: &[u8]) -> bool {
    let length = head.first_chunk().map(|length| u64::from_le_bytes(*length));
    head.get(8) == Some(&b'{') && length.is_some_and(|length| length <= MAX_HEADER_BYTES)
}

/// What a failed download leaves behind: a page, or a message.
fn text(head: &[u8]) -> Option<String> {
    let head = &head[..head.len().min(SHOWN)];
    let text = str::from_utf8(head.trim_ascii()).ok().filter(|text| !text.is_empty())?;
    let lower = text.to_ascii_lowercase();
    if ["<!doctype", "<html", "<?xml"].iter().any(|page| lower.starts_with(page)) {
        return Some("it is a web page, not the file; fetch it by its download link".to_owned());
    }
    let is_text = text.chars().all(|c| !c.is_control() || c.is_ascii_whitespace());
    is_text.then(|| format!("it is text, not weights, and begins with {text:?}: has its download failed?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_weights_is_named() {
        let safetensors = [&20_u64.to_le_bytes()[..], b"{\"a\":{}}           "].concat();
        for (head, expected, part) in [
            (&b"PK\x03\x04"[..], Expected::Safetensors, Some(".ckpt, .bin")),
            (b"PK\x03\x04", Expected::Pytorch, None),
            (&safetensors, Expected::Pytorch, Some("end in .safetensors")),
            (&safetensors, Expected::Safetensors, None),
            (b"version https://git-lfs.github.com/spec/v1", Expected::Pytorch, Some("git lfs pull")),
            (b"GGUF\x03\0", Expected::Pytorch, Some("GGUF")),
            (b"\n <!doctype HTML><html>", Expected::Safetensors, Some("a web page")),
            (b"Entry not found", Expected::Safetensors, Some("begins with \"Entry not found\"")),
            (b"{\"error\":\"gated\"}", Expected::Pytorch, Some("has its download failed?")),
            (b"\x01\x02\x03", Expected::Pytorch, None),
            (b"", Expected::Safetensors, None),
        ] {
            let said = instead(head, expected);
            assert_eq!(said.is_some(), part.is_some(), "{said:?}");
            assert!(said.unwrap_or_default().contains(part.unwrap_or_default()), "{part:?}");
        }
    }
}
