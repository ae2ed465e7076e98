//! The names under which the weights of one network may lie.

use std::path::Path;

/// The file itself, its index of shards, its variants in half precision with theirs, and PyTorch's files of the same.
pub(crate) fn variants(path: &str) -> Vec<String> {
    let Some(stem) = path.strip_suffix(".safetensors") else { return vec![path.to_owned()] };
    let mut all = vec![path.to_owned(), format!("{path}.index.json")];
    for short in ["fp16", "bf16"] {
        let file = format!("{stem}.{short}.safetensors");
        // diffusers and transformers write the first name for an index, older tools the second.
        let indices = [format!("{path}.index.{short}.json"), format!("{file}.index.json")];
        all.push(file);
        all.extend(indices);
    }
    let (folder, name) =
        stem.rsplit_once('/').map_or(("", stem), |(_, name)| (&stem[..stem.len() - name.len()], name));
    let name = match name {
        "model" => "pytorch_model",
        "open_clip_model" => "open_clip_pytorch_model",
        name => name,
    };
    all.extend([".bin", ".bin.index.json", ".fp16.bin"].map(|ending| format!("{folder}{name}{ending}")));
    all
}

/// Whether a file is an index of shards.
pub(crate) fn is_index(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "json")
        && path.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            name.contains(".safetensors.index.") || name.contains(".bin.index.")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pytorch_has_names_of_its_own() {
        for (name, theirs) in [
            ("text_encoder/model.safetensors", "text_encoder/pytorch_model.bin"),
            ("vae/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.bin"),
            ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
        ] {
            assert!(variants(name).contains(&theirs.to_owned()), "{theirs}");
        }
        assert_eq!(variants("x.ckpt"), ["x.ckpt"]);
    }
}
