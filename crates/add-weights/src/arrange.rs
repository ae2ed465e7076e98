//! From our names to a published naming: the inverse of [`Loading`](crate::Loading).

use std::collections::BTreeMap;

use burn::tensor::Tensor;

use crate::{source::Source, write::NamedTensor};

/// The tensors of a file in which each of `tensors` is where `source` says.
///
/// # Panics
/// When a matrix in parts lacks one of them, or what is transposed is no matrix.
pub fn arrange(
    tensors: BTreeMap<String, NamedTensor>,
    source: &dyn Fn(&str) -> Source,
) -> BTreeMap<String, NamedTensor> {
    let mut whole = BTreeMap::new();
    let mut joint: BTreeMap<String, Vec<Option<NamedTensor>>> = BTreeMap::new();
    for (name, tensor) in tensors {
        match source(&name) {
            Source::Whole(place) => {
                whole.insert(place, tensor);
            }
            Source::Transposed(place) => {
                whole.insert(place, transposed(tensor));
            }
            Source::Rows { name: place, part, of } => {
                joint.entry(place).or_insert_with(|| vec![None; of])[part] = Some(tensor);
            }
        }
    }
    for (place, parts) in joint {
        let parts: Vec<NamedTensor> = parts
            .into_iter()
            .map(|part| part.unwrap_or_else(|| panic!("a part of {place} is missing")))
            .collect();
        let mut shape = parts[0].shape.clone();
        shape[0] *= parts.len();
        let values = Tensor::cat(parts.into_iter().map(|part| part.values).collect(), 0);
        whole.insert(place, NamedTensor { shape, values });
    }
    whole
}

fn transposed(tensor: NamedTensor) -> NamedTensor {
    let [rows, columns] = tensor.shape[..] else { panic!("a matrix, not {:?}", tensor.shape) };
    let values = tensor.values.reshape([rows, columns]).transpose().flatten(0, 1);
    NamedTensor { shape: vec![columns, rows], values }
}

#[cfg(test)]
mod tests {
    use add_nn::{
        clip_text::{ClipText, ClipTextConfig},
        layers::Init,
    };
    use add_parameters::Network;
    use burn::tensor::{DType, Device};

    use super::*;
    use crate::{Loading, Precision, WeightsFile, named_tensors, names, save};

    #[test]
    fn what_is_arranged_is_loaded_again() {
        let config = ClipTextConfig { vocab_size: 9, ..ClipTextConfig::open_clip(8, 2, 2).projected() };
        let text = |seed| ClipText::new(&config, &Init::new(seed, &Device::flex())).expect("valid");
        let values = |net: &ClipText| {
            let mut all = Vec::new();
            net.for_each_parameter(&mut |name, _, value| {
                all.push((name.to_owned(), value.into_data().try_to_vec::<f32>().expect("f32")));
            });
            all
        };
        let arranged = arrange(named_tensors(&text(1)), &names::open_clip_text);
        assert_eq!(arranged["transformer.resblocks.1.attn.in_proj_weight"].shape, [24, 8]);
        assert_eq!(arranged["text_projection"].shape, [8, 8]);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.safetensors");
        save(&path, &arranged, Precision::F32, &BTreeMap::new()).expect("written");
        let loading = Loading { source: &names::open_clip_text, ignore: &|_| false, dtype: DType::F32 };
        let loaded = loading.load(text(2), &WeightsFile::open(path).expect("sound")).expect("fits");
        assert_eq!(values(&loaded), values(&text(1)));
    }
}
