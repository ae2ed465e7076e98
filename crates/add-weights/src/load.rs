//! Weights from a file into a network, with every difference reported at once.

use std::collections::BTreeSet;

use add_parameters::Network;
use burn::{
    module::Module,
    tensor::{DType, Device, Tensor},
};

use crate::{
    error::{Mismatch, WeightsError},
    file::WeightsFile,
    source::{Source, is_unused},
};

/// How a file's names and types become a network's.
pub struct Loading<'a> {
    /// From the network's name of a parameter to its place in the file.
    pub source: &'a dyn Fn(&str) -> Source,
    /// Names in the file that are passed over: other networks, buffers that are computed here.
    pub ignore: &'a dyn Fn(&str) -> bool,
    /// Number type of the network.
    pub dtype: DType,
}

/// Fills `module` from a file with the network's own names, in single precision.
/// Tensors that no network reads ([`is_unused`]) are passed over.
///
/// # Errors
/// As [`Loading::load`].
pub fn load_into<M: Module>(module: M, file: &WeightsFile) -> Result<M, WeightsError> {
    let source = |name: &str| Source::Whole(name.to_owned());
    Loading { source: &source, ignore: &is_unused, dtype: DType::F32 }.load(module, file)
}

impl Loading<'_> {
    /// Fills `module` from `file`.
    ///
    /// # Errors
    /// When a tensor is missing, unexpected or mis-shaped, all of which are listed; when a value is not finite.
    pub fn load<M: Module>(&self, mut module: M, file: &WeightsFile) -> Result<M, WeightsError> {
        let mismatch = self.compare(&module, file);
        if !mismatch.is_empty() {
            return Err(WeightsError::Mismatch { path: file.path().to_path_buf(), mismatch });
        }
        let mut used = BTreeSet::new();
        module.for_each_shape(&mut |name, _| {
            used.insert((self.source)(name).name().to_owned());
        });
        file.check_finite(used.iter().map(String::as_str))?;
        let mut failure = None;
        module.set_parameters(&mut |name, _, device| {
            let source = (self.source)(name);
            match self.read(file, &source, device) {
                Ok(values) => Some(values),
                Err(error) => {
                    failure.get_or_insert(error);
                    None
                }
            }
        });
        failure.map_or(Ok(module), Err)
    }

    /// Compares names and shapes without reading a value.
    pub fn compare<M: Module>(&self, module: &M, file: &WeightsFile) -> Mismatch {
        let mut mismatch = Mismatch::default();
        let mut used = BTreeSet::new();
        module.for_each_shape(&mut |name, shape| {
            let source = (self.source)(name);
            match file.tensors().get(source.name()) {
                None => mismatch.missing.push(source.name().to_owned()),
                Some(info) if trimmed(&source.taken(&info.shape)) != trimmed(shape) => {
                    mismatch.misshaped.push((source.name().to_owned(), shape.to_vec(), info.shape.clone()));
                }
                Some(_) => {}
            }
            used.insert(source.name().to_owned());
        });
        let extra = file.tensors().keys().filter(|name| !used.contains(*name) && !(self.ignore)(name));
        mismatch.unexpected.extend(extra.cloned());
        mismatch
    }

    fn read(&self, file: &WeightsFile, source: &Source, device: &Device) -> Result<Tensor<1>, WeightsError> {
        match source {
            Source::Whole(name) => file.tensor(name, self.dtype, device),
            Source::Rows { name, part, of } => file.run(name, *part, *of, self.dtype, device),
            Source::Transposed(name) => {
                let rows = file.info(name)?.shape[0];
                let matrix = file.tensor(name, self.dtype, device)?.reshape([rows as i64, -1]);
                Ok(matrix.transpose().flatten(0, 1))
            }
        }
    }
}

fn trimmed(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().filter(|&n| n != 1).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use add_nn::layers::{Init, Linear};
    use burn::tensor::Device;

    use super::*;
    use crate::{NamedTensor, Precision, save};

    fn layer() -> Linear {
        Linear::new(2, 3, &Init::new(0, &Device::flex().autodiff()))
    }

    fn file(tensors: &[(&str, &[usize])]) -> WeightsFile {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.safetensors");
        let named = |(name, shape): &(&str, &[usize])| {
            let n = shape.iter().product::<usize>() as i64;
            let values = Tensor::<1, burn::tensor::Int>::arange(0..n, &Device::flex()).float();
            ((*name).to_owned(), NamedTensor { shape: shape.to_vec(), values })
        };
        save(&path, &tensors.iter().map(named).collect(), Precision::F32, &BTreeMap::new()).expect("written");
        WeightsFile::open(path).expect("sound")
    }

    fn weight(layer: &Linear) -> Vec<f32> {
        layer.weight.val().into_data().try_to_vec().expect("f32")
    }

    #[test]
    fn a_loaded_layer_holds_the_values_and_still_trains() {
        let layer = load_into(layer(), &file(&[("weight", &[3, 2]), ("bias", &[3])])).expect("fits");
        assert_eq!(weight(&layer), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let grads = layer.forward(Tensor::ones([1, 1, 2], &Device::flex())).sum().backward();
        assert!(layer.weight.grad(&grads).is_some());
    }

    #[test]
    fn all_differences_are_reported_at_once() {
        let error =
            load_into(layer(), &file(&[("weight", &[2, 3]), ("extra", &[1])])).expect_err("does not fit");
        let WeightsError::Mismatch { mismatch, .. } = &error else { panic!("{error}") };
        assert_eq!(mismatch.missing, ["bias"]);
        assert_eq!(mismatch.unexpected, ["extra"]);
        assert_eq!(mismatch.misshaped, [("weight".to_owned(), vec![3, 2], vec![2, 3])]);
        assert!(error.to_string().contains("weight expected [3, 2] found [2, 3]"), "{error}");
    }

    #[test]
    fn parts_and_transposes_find_their_rows() {
        let file = file(&[("qkv.weight", &[9, 2]), ("qkv.bias", &[9]), ("proj", &[2, 3])]);
        let rows = |name: &str| Source::Rows { name: format!("qkv.{name}"), part: 1, of: 3 };
        let loading = Loading { source: &rows, ignore: &|name| name == "proj", dtype: DType::F32 };
        assert_eq!(weight(&loading.load(layer(), &file).expect("fits")), [6.0, 7.0, 8.0, 9.0, 10.0, 11.0]);
        let transposed = |name: &str| match name {
            "weight" => Source::Transposed("proj".to_owned()),
            _ => Source::Rows { name: "qkv.bias".to_owned(), part: 0, of: 3 },
        };
        let loading =
            Loading { source: &transposed, ignore: &|name| name == "qkv.weight", dtype: DType::F32 };
        assert_eq!(weight(&loading.load(layer(), &file).expect("fits")), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    }
}
