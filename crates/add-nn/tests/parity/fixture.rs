//! Reference numbers made by the peers' own libraries, and the comparison with them.
//!
//! A fixture is `<name>.config.json` (the library's configuration), `<name>.weights.safetensors` (the library's
//! names), `<name>.io.safetensors` (inputs `in.*`, expected `out.*`, `act.*`, `grad.*`) and `<name>.json`, whose
//! `f32_vs_f64` holds for every tensor `[largest difference between the library's own f32 and f64, largest value]`.
//! `ADD_FIXTURES=DIR` runs the tests on another collection than the small one in `tests/fixtures`.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use add_weights::WeightsFile;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

/// One fixture.
pub(crate) struct Fixture {
    pub(crate) name: String,
    pub(crate) config: String,
    pub(crate) weights: Option<WeightsFile>,
    pub(crate) io: WeightsFile,
    folder: PathBuf,
    facts: serde_json::Value,
    tolerances: BTreeMap<String, (f64, f64)>,
    rows: Vec<Row>,
}

struct Row {
    key: String,
    difference: f64,
    tolerance: f64,
}

/// All fixtures of a family whose name starts with `prefix`; the family must not be empty.
pub(crate) fn fixtures(family: &str, prefix: &str) -> Vec<Fixture> {
    match env::var_os("ADD_FIXTURES") {
        Some(folder) => read_all(&PathBuf::from(folder).join(family), prefix),
        None => small_fixtures(family, prefix),
    }
}

/// The same, always from `tests/fixtures`: for a family that exists nowhere else.
pub(crate) fn small_fixtures(family: &str, prefix: &str) -> Vec<Fixture> {
    read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(family), prefix)
}

fn read_all(folder: &Path, prefix: &str) -> Vec<Fixture> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let file = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        names.extend(
            file.strip_suffix(".io.safetensors").filter(|n| n.starts_with(prefix)).map(str::to_owned),
        );
    }
    names.sort();
    assert!(!names.is_empty(), "no fixture {prefix}* in {}", folder.display());
    names.iter().map(|name| Fixture::read(folder, name)).collect()
}

impl Fixture {
    fn read(folder: &Path, name: &str) -> Self {
        let path = |suffix: &str| folder.join(format!("{name}.{suffix}"));
        let facts = fs::read_to_string(path("json")).expect("the facts");
        let facts: serde_json::Value = serde_json::from_str(&facts).expect("JSON");
        let pair =
            |value: &serde_json::Value| (value[0].as_f64().expect("f64"), value[1].as_f64().expect("f64"));
        let all = facts["f32_vs_f64"].as_object().expect("an object");
        Self {
            name: name.to_owned(),
            config: fs::read_to_string(path("config.json")).unwrap_or_default(),
            weights: WeightsFile::open(path("weights.safetensors")).ok(),
            io: WeightsFile::open(path("io.safetensors")).expect("inputs and outputs"),
            tolerances: all.iter().map(|(key, value)| (key.clone(), pair(value))).collect(),
            folder: folder.to_path_buf(),
            facts: facts.clone(),
            rows: Vec::new(),
        }
    }

    /// A whole number of the fixture's json.
    pub(crate) fn fact(&self, name: &str) -> u64 {
        self.facts[name].as_u64().unwrap_or_else(|| panic!("{}: no {name}", self.name))
    }

    /// Another file of the same folder, if it is there.
    pub(crate) fn beside(&self, name: &str) -> Option<WeightsFile> {
        WeightsFile::open(self.folder.join(name)).ok()
    }

    pub(crate) fn weights(&self) -> &WeightsFile {
        self.weights.as_ref().expect("weights")
    }

    /// The prefixes `c0.`, `c1.`, ... of the cases; the empty prefix if there are none.
    pub(crate) fn cases(&self) -> Vec<String> {
        let has = |n: &usize| self.io.tensors().keys().any(|key| key.starts_with(&format!("c{n}.")));
        let cases = (0..100).take_while(has).map(|n| format!("c{n}.")).collect::<Vec<_>>();
        if cases.is_empty() { vec![String::new()] } else { cases }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.io.tensors().contains_key(key)
    }

    /// A float or integer tensor of the file as floats.
    pub(crate) fn input<const D: usize>(&self, key: &str, dtype: DType, device: &Device) -> Tensor<D> {
        let shape: [usize; D] =
            self.io.info(key).expect("an input").shape.as_slice().try_into().expect("rank");
        let flat = match self.io.integers(key) {
            Ok(values) => {
                let values = values.into_iter().map(|v| v as f64).collect::<Vec<_>>();
                Tensor::from_data(values.as_slice(), (device, dtype))
            }
            Err(_) => self.io.tensor(key, dtype, device).expect("floats"),
        };
        flat.reshape(shape)
    }

    /// Leaf of an autodiff graph.
    pub(crate) fn leaf<const D: usize>(&self, key: &str, device: &Device) -> Tensor<D> {
        self.input(key, DType::F32, device).autodiff().require_grad()
    }

    pub(crate) fn ids(&self, key: &str, device: &Device) -> Tensor<2, Int> {
        let shape = self.io.info(key).expect("ids").shape.clone();
        Tensor::from_data(TensorData::new(self.io.integers(key).expect("integers"), shape), device)
    }

    /// Compares with the expected tensor `key`: 5 times the library's own difference between f32 and f64, and not
    /// tighter than 2e-6 of the largest value.
    pub(crate) fn check<const D: usize>(&mut self, key: &str, got: Tensor<D>) {
        let expected = self.io.floats::<f64>(key).expect("an expected tensor");
        let shape = &self.io.info(key).expect("there").shape;
        let count: usize = got.dims().iter().product();
        assert_eq!(count, expected.len(), "{}: {key}: {:?} for {shape:?}", self.name, got.dims());
        assert!(D == 1 || got.dims().as_slice() == shape.as_slice(), "{key}: {:?} for {shape:?}", got.dims());
        let got = got.into_data().try_into_vec_as::<f64>().expect("f64");
        let largest = expected.iter().fold(0.0_f64, |a, v| a.max(v.abs()));
        // NaN compares false with everything, so it must not be lost in a maximum.
        let difference = got.iter().zip(&expected).map(|(g, e)| (g - e).abs());
        let difference = difference.fold(0.0_f64, |a, d| if d <= a { a } else { d });
        let own = self.tolerances.get(key).map_or(0.0, |(difference, _)| *difference);
        let tolerance = (5.0 * own).max(2e-6 * largest);
        self.rows.push(Row { key: key.to_owned(), difference, tolerance });
    }

    /// Fails with a table of all rows beyond their tolerance; `at_least` guards against a test that compares nothing.
    pub(crate) fn finish(self, at_least: usize) {
        assert!(
            self.rows.len() >= at_least,
            "{}: {} rows of at least {at_least}",
            self.name,
            self.rows.len()
        );
        let failed = self
            .rows
            .iter()
            .filter(|row| row.difference.is_nan() || row.difference > row.tolerance)
            .collect::<Vec<_>>();
        let worst = self.rows.iter().max_by(|a, b| a.share().total_cmp(&b.share())).expect("rows");
        let table =
            failed.iter().map(|r| format!("\n  {} {:.2e} > {:.2e}", r.key, r.difference, r.tolerance));
        assert!(
            failed.is_empty(),
            "{}: {} of {} beyond{}",
            self.name,
            failed.len(),
            self.rows.len(),
            table.collect::<String>()
        );
        let note = format!(
            "{}: {} rows, worst {} at {:.2} of its tolerance\n",
            self.name,
            self.rows.len(),
            worst.key,
            worst.share()
        );
        std::io::Write::write_all(&mut std::io::stderr(), note.as_bytes()).expect("stderr");
    }
}

impl Row {
    fn share(&self) -> f64 {
        if self.tolerance > 0.0 { self.difference / self.tolerance } else { self.difference }
    }
}
