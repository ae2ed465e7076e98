//! One file of weights, or several with an index where it would be large.

use std::{collections::BTreeMap, io::Write, path::Path};

use serde_json::json;

use crate::{
    error::WeightsError,
    write::{NamedTensor, Precision, save},
};

/// Largest file of an export, in bytes of values, as the hub and transformers have them.
pub const MAX_SHARD_BYTES: usize = 5_000_000_000;

/// Writes `folder/STEM.safetensors`, or, where the values need more than `limit` bytes, `STEM-00001-of-0000N.safetensors` and so
/// on with `STEM.safetensors.index.json`; the names are returned. `metadata` stands in each.
///
/// # Errors
/// When the disk refuses.
pub fn save_shards(
    folder: &Path,
    stem: &str,
    tensors: &BTreeMap<String, NamedTensor>,
    precision: Precision,
    metadata: &BTreeMap<String, String>,
    limit: usize,
) -> Result<Vec<String>, WeightsError> {
    let bytes = |tensor: &NamedTensor| tensor.shape.iter().product::<usize>() * precision.bytes();
    let mut shards: Vec<(usize, BTreeMap<String, NamedTensor>)> = Vec::new();
    for (name, tensor) in tensors {
        let size = bytes(tensor);
        match shards.last_mut() {
            Some((filled, shard)) if *filled + size <= limit => {
                *filled += size;
                shard.insert(name.clone(), tensor.clone());
            }
            // A tensor beyond the limit has a shard of its own.
            _ => shards.push((size, BTreeMap::from([(name.clone(), tensor.clone())]))),
        }
    }
    let total: usize = shards.iter().map(|(size, _)| size).sum();
    if shards.len() < 2 {
        let name = format!("{stem}.safetensors");
        save(&folder.join(&name), tensors, precision, metadata)?;
        return Ok(vec![name]);
    }
    let (count, mut names, mut weight_map) = (shards.len(), Vec::new(), BTreeMap::new());
    for (i, (_, shard)) in shards.into_iter().enumerate() {
        let name = format!("{stem}-{:05}-of-{count:05}.safetensors", i + 1);
        save(&folder.join(&name), &shard, precision, metadata)?;
        weight_map.extend(shard.into_keys().map(|tensor| (tensor, name.clone())));
        names.push(name);
    }
    let index = format!("{:#}\n", json!({ "metadata": { "total_size": total }, "weight_map": weight_map }));
    let name = format!("{stem}.safetensors.index.json");
    let path = folder.join(&name);
    add_files::replace(&path, |file| file.write_all(index.as_bytes()))
        .map_err(|source| WeightsError::Io { path, source })?;
    names.push(name);
    Ok(names)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};

    use super::*;
    use crate::WeightsFile;

    fn tensors() -> BTreeMap<String, NamedTensor> {
        let tensor =
            |n: usize| NamedTensor { shape: vec![n], values: Tensor::ones([n], &Device::flex()) * n as f32 };
        [("a", 3), ("b", 1), ("c", 9), ("d", 2)].map(|(name, n)| (name.to_owned(), tensor(n))).into()
    }

    #[test]
    fn a_large_model_is_several_files_that_open_as_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        let names =
            save_shards(folder.path(), "m", &tensors(), Precision::F16, &metadata, 8).expect("written");
        let expected = [
            "m-00001-of-00003.safetensors",
            "m-00002-of-00003.safetensors",
            "m-00003-of-00003.safetensors",
            "m.safetensors.index.json",
        ];
        assert_eq!(names, expected);
        let whole = WeightsFile::open(folder.path().join("m.safetensors.index.json")).expect("whole");
        assert_eq!(whole.tensors().keys().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
        assert_eq!(whole.floats::<f32>("c").expect("floats"), [9.0; 9]);
        assert_eq!(whole.metadata(), &metadata);
        let index = std::fs::read_to_string(folder.path().join("m.safetensors.index.json")).expect("text");
        assert!(index.contains("\"total_size\": 30"), "{index}");
    }

    #[test]
    fn a_small_one_is_one_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let names = save_shards(folder.path(), "m", &tensors(), Precision::F32, &BTreeMap::new(), 60);
        assert_eq!(names.expect("written"), ["m.safetensors"]);
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }
}
