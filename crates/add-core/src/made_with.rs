//! How pictures were made, as their files say it, so that they can be made again.
//!
//! A file says it twice: in JSON under the keyword [`KEYWORD`], whole, and as the line `parameters` of A1111's web UI, which
//! many programs read. A picture is published, so what it says names no folder of the machine that made it: relative paths
//! stay as they were given, others become relative to the recipe's or the current folder, or the file's name alone.

use std::{
    env,
    io::{self, Read, Seek, SeekFrom},
    path::{Component, Path},
};

use add_data::{PictureFormat, picture_text};
use add_recipe::{Dimensions, Recipe, one_line};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    error::CoreError,
    read::{LoadedRecipe, read_text},
};

/// The keyword of what a file says in JSON.
pub const KEYWORD: &str = "add";
/// The keyword of A1111's web UI.
pub const PARAMETERS: &str = "parameters";

/// Largest picture file that is read for what it says, in bytes.
const MAX_PICTURE: u64 = 256 << 20;
/// Bytes of a file that its fingerprint covers whole; of a longer one it covers as many, in blocks.
const WHOLE: u64 = 64 << 20;
const BLOCK: u64 = 1 << 20;

/// Names of samplers in A1111's web UI.
const SAMPLERS: [(&str, &str); 5] = [
    ("Euler", "Euler"),
    ("EulerAncestral", "Euler a"),
    ("DpmSolver2M", "DPM++ 2M"),
    ("Ddim", "DDIM"),
    ("Lcm", "LCM"),
];

/// How pictures were made: those of `prompts`, `count` of each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeWith {
    /// Version of this program.
    pub version: String,
    /// What they show.
    pub prompts: Vec<String>,
    /// What guidance led away from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub negative: String,
    /// Pictures of each prompt.
    pub count: usize,
    /// Index of the first; a picture follows from its seed and index.
    pub index: u64,
    /// Seed of the noise.
    pub seed: u64,
    /// Denoiser calls.
    pub steps: usize,
    /// Guidance scale.
    pub guidance: f64,
    /// Width and height.
    pub size: Dimensions,
    /// The picture that they started from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<FileUsed>,
    /// How much of it was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strength: Option<f64>,
    /// What of it was made anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<FileUsed>,
    /// The noise that they started from, where it did not follow from the seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latents: Option<FileUsed>,
    /// The model, where it was not the one that the recipe names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<FileUsed>,
    /// The recipe's file, where the names in the recipe begin.
    pub recipe_file: String,
    /// What of the recipe a picture follows from, as a recipe.
    pub recipe: String,
}

/// A file, or a place on a hub, from which a picture was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileUsed {
    /// Its path.
    pub name: String,
    /// SHA-256 over its length and content, of long files over a part of the content; none of folders and hubs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}

impl MadeWith {
    /// What the picture in the file at `path` says.
    ///
    /// # Errors
    /// When it is no picture of this project, or cannot be read.
    pub fn of(path: &Path) -> Result<Self, CoreError> {
        let bytes = add_files::read(path, MAX_PICTURE).map_err(CoreError::io(path))?;
        let failed = |problem: String| CoreError::Request(format!("{}: {problem}", path.display()));
        let text = picture_text(&bytes).map_err(|error| failed(error.to_string()))?;
        let Some((_, said)) = text.iter().find(|(keyword, _)| keyword == KEYWORD) else {
            return Err(failed(format!(
                "expected a picture that `sample` of this program wrote, with the text `{KEYWORD}`; it has none{}",
                others(&text)
            )));
        };
        serde_json::from_str(said).map_err(|error| {
            failed(format!("its text `{KEYWORD}` is damaged, or of another version of this program: {error}"))
        })
    }

    /// The same of its picture `at` alone, in the order of prompts and of the count of each.
    #[must_use]
    pub fn one(&self, at: usize) -> Self {
        let prompt = self.prompts[at / self.count.max(1)].clone();
        Self { prompts: vec![prompt], count: 1, index: self.index + at as u64, ..self.clone() }
    }

    /// The texts of a file, with their keywords.
    pub fn texts(&self) -> [(&'static str, String); 2] {
        let json = serde_json::to_string(self).expect("texts and numbers are JSON");
        [(PARAMETERS, self.parameters()), (KEYWORD, json)]
    }

    /// Refuses more text than a file of `format` holds.
    ///
    /// # Errors
    /// Says how much it holds.
    pub fn check_fits(&self, format: PictureFormat) -> Result<(), CoreError> {
        let texts = self.texts();
        let texts = texts.each_ref().map(|(keyword, text)| (*keyword, text.as_str()));
        format.check_text(&texts).map_err(|error| CoreError::Request(error.to_string()))
    }

    /// The first field in which it differs from `other`, with both values; the version and the recipe's file make no
    /// picture.
    pub fn difference(&self, other: &Self) -> Option<(String, String, String)> {
        let fields = |made: &Self| {
            let made = Self { version: String::new(), recipe_file: String::new(), ..made.clone() };
            serde_json::to_value(made).expect("texts and numbers are JSON")
        };
        let (mine, others) = (fields(self), fields(other));
        let names =
            [&mine, &others].map(|value| value.as_object().into_iter().flatten().map(|(name, _)| name));
        let differs = names.into_iter().flatten().find(|name| mine.get(name) != others.get(name))?;
        let shown = |value: &Value| value.get(differs).map_or("none".to_owned(), Value::to_string);
        Some((differs.clone(), shown(&mine), shown(&others)))
    }

    /// The recipe that makes the pictures again, with `assignments` applied first; names in it begin where they began.
    ///
    /// # Errors
    /// When an assignment cannot be applied, or this program knows no such recipe.
    pub fn recipe(&self, assignments: &[String]) -> Result<LoadedRecipe, CoreError> {
        read_text(&self.recipe, Path::new(&self.recipe_file), assignments)
    }

    /// The line of A1111's web UI; its own pictures of the same seed begin at other noise.
    fn parameters(&self) -> String {
        let mut lines = vec![self.prompts.join("; ")];
        if !self.negative.is_empty() {
            lines.push(format!("Negative prompt: {}", self.negative));
        }
        let sampler = self
            .recipe
            .split_once("sampler: ")
            .map_or("", |(_, rest)| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default());
        let sampler =
            SAMPLERS.iter().find(|(ours, _)| *ours == sampler).map_or(sampler, |(_, theirs)| *theirs);
        let model = match &self.weights {
            Some(weights) => Path::new(&weights.name).file_stem().unwrap_or_default().to_string_lossy(),
            None => Path::new(&self.recipe_file).file_stem().unwrap_or_default().to_string_lossy(),
        };
        let mut fields = vec![
            ("Steps", self.steps.to_string()),
            ("Sampler", sampler.to_owned()),
            ("CFG scale", self.guidance.to_string()),
            ("Seed", self.seed.to_string()),
            ("Size", self.size.to_string()),
            ("Model", model.into_owned()),
        ];
        fields.extend(self.strength.map(|strength| ("Denoising strength", strength.to_string())));
        fields.push(("Index", self.index.to_string()));
        fields.push(("Version", format!("add {}", self.version)));
        let fields: Vec<String> =
            fields.into_iter().map(|(name, value)| format!("{name}: {}", quoted(&value))).collect();
        lines.push(fields.join(", "));
        lines.join("\n")
    }
}

impl FileUsed {
    /// The file, folder or place on a hub that `name` names, seen from the current folder.
    ///
    /// # Errors
    /// When it is a file that cannot be read.
    pub fn of(name: &str) -> Result<Self, CoreError> {
        if name.contains("://") && !name.starts_with("file://") {
            return Ok(Self { name: name.to_owned(), fingerprint: None });
        }
        let path = Path::new(name.trim_start_matches("file://"));
        let fingerprint =
            if path.is_dir() { None } else { Some(fingerprint(path).map_err(CoreError::io(path))?) };
        Ok(Self { name: public(path, None), fingerprint })
    }

    /// Where it is now: seen from the current folder, or in one of `folders`. `option` names it on the command line.
    ///
    /// # Errors
    /// When it is not there, or is another file.
    pub fn find(&self, folders: &[&Path], option: &'static str) -> Result<String, CoreError> {
        if self.name.contains("://") {
            return Ok(self.name.clone());
        }
        let refuse = |problem: String| Err(CoreError::Argument { name: option, problem });
        let places = std::iter::once(Path::new("")).chain(folders.iter().copied());
        let Some(path) = places.map(|folder| folder.join(&self.name)).find(|path| path.exists()) else {
            return refuse(format!(
                "the picture was made with {}, which is not there; name it with this option",
                self.name
            ));
        };
        if let Some(expected) = &self.fingerprint
            && fingerprint(&path).map_err(CoreError::io(&path))? != *expected
        {
            return refuse(format!(
                "{} has changed since the picture was made from it; name a file with this option to use it all the same",
                path.display()
            ));
        }
        Ok(path.to_string_lossy().into_owned())
    }
}

/// What of a recipe pictures follow from, as a recipe of its own: nothing of its data, of its training and of where this
/// machine keeps things. With `own_weights` the model's weights are left to the recipe, else they are stated elsewhere.
pub fn recipe_of(loaded: &LoadedRecipe, own_weights: bool) -> String {
    let Recipe { name, device, dtype, kernels, data, codec, text, model, sampling, .. } = &loaded.recipe;
    let weights = if own_weights { one_line(&model.weights) } else { "Random()".to_owned() };
    let text_weights = model.text_weights.as_ref().filter(|_| own_weights);
    let text_weights =
        text_weights.map_or(String::new(), |name| format!(", text_weights: {}", one_line(name)));
    let recipe = format!(
        "(name: {name:?}, device: {}, dtype: {}, kernels: {}, data: Off(size: {}), codec: {}, text: {}, model: (backbone: {}, \
         schedule: {}, weights: {weights}{text_weights}), objective: Off(), sampling: (sampler: {}, steps: {}, guidance: {}, \
         long_prompt: {}))",
        one_line(device),
        one_line(dtype),
        one_line(kernels),
        data.size(),
        one_line(codec),
        one_line(text),
        one_line(&model.backbone),
        one_line(&model.schedule),
        one_line(&sampling.sampler),
        sampling.steps,
        one_line(&sampling.guidance),
        one_line(&sampling.long_prompt),
    );
    without_folders(&recipe, Some(loaded.folder()))
}

/// The recipe's file as a picture names it.
pub fn recipe_file(loaded: &LoadedRecipe) -> String {
    public(&loaded.path, None)
}

/// A text of RON in which no string is an absolute path.
pub(crate) fn without_folders(ron: &str, base: Option<&Path>) -> String {
    let mut rest = ron;
    let mut out = String::with_capacity(ron.len());
    while let Some(start) = rest.find('"') {
        out += &rest[..=start];
        rest = &rest[start + 1..];
        let mut escaped = false;
        let end = rest.find(|c: char| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let (text, after) = rest.split_at(end.unwrap_or(rest.len()));
        let path = text.strip_prefix("file://").unwrap_or(text);
        if path.starts_with('/') {
            out += &public(Path::new(path), base);
        } else {
            out += text;
        }
        rest = after;
        if let Some(after) = rest.strip_prefix('"') {
            out.push('"');
            rest = after;
        }
    }
    out + rest
}

/// A path without the folders of this machine: as it is where it is relative, else relative to `base` or the current
/// folder where it lies in one of them, else its last part.
pub(crate) fn public(path: &Path, base: Option<&Path>) -> String {
    if path.is_relative() {
        return path.to_string_lossy().into_owned();
    }
    let absolute = |folder: &Path| std::path::absolute(folder).ok();
    let base =
        base.and_then(|base| absolute(if base.as_os_str().is_empty() { Path::new(".") } else { base }));
    let folders = [base, env::current_dir().ok()];
    let inside = folders.iter().flatten().find_map(|folder| path.strip_prefix(folder).ok());
    // The root is everybody's.
    let inside = inside.filter(|inside| path.components().count() > inside.components().count() + 1);
    let name = || path.components().next_back().filter(|part| matches!(part, Component::Normal(_)));
    match inside {
        Some(inside) if !inside.as_os_str().is_empty() => inside.to_string_lossy().into_owned(),
        _ => name().map_or(String::new(), |part| part.as_os_str().to_string_lossy().into_owned()),
    }
}

/// SHA-256 over the length and content of a file, of a long one over blocks of it.
fn fingerprint(path: &Path) -> io::Result<String> {
    let (mut file, length) = add_files::open(path)?;
    let mut sum = Sha256::new();
    sum.update(length.to_le_bytes());
    if length <= WHOLE {
        io::copy(&mut file, &mut sum)?;
    } else {
        let blocks = WHOLE / BLOCK;
        for block in 0..blocks {
            file.seek(SeekFrom::Start((length - BLOCK) / (blocks - 1) * block))?;
            io::copy(&mut Read::by_ref(&mut file).take(BLOCK), &mut sum)?;
        }
    }
    Ok(format!("{:x}", sum.finalize()))
}

/// A value as A1111's web UI writes it.
fn quoted(value: &str) -> String {
    if value.contains([',', ':', '\n']) {
        serde_json::to_string(value).expect("a text is JSON")
    } else {
        value.to_owned()
    }
}

/// What a picture of another program says of itself, in words.
fn others(text: &[(String, String)]) -> String {
    let of = [(PARAMETERS, "A1111's web UI"), ("workflow", "ComfyUI"), ("invokeai_metadata", "InvokeAI")];
    let found = of.iter().find(|(keyword, _)| text.iter().any(|(found, _)| found == keyword));
    found.map_or(String::new(), |(keyword, program)| {
        format!(", but `{keyword}`, as {program} writes it: give --prompt, --seed and --steps by hand")
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn made() -> MadeWith {
        MadeWith {
            version: "1".to_owned(),
            prompts: vec!["a cat".to_owned(), "a dog".to_owned()],
            negative: "blur, text".to_owned(),
            count: 2,
            index: 3,
            seed: u64::MAX,
            steps: 4,
            guidance: 7.5,
            size: Dimensions { width: 768, height: 512 },
            init: None,
            strength: Some(0.8),
            mask: None,
            latents: None,
            weights: Some(FileUsed { name: "m/a, b.safetensors".to_owned(), fingerprint: None }),
            recipe_file: "configs/x.ron".to_owned(),
            recipe: "(sampling: (sampler: EulerAncestral(spacing: Trailing)))".to_owned(),
        }
    }

    #[test]
    fn the_line_of_a1111_has_its_fields() {
        let [(keyword, line), (ours, json)] = made().one(2).texts();
        assert_eq!((keyword, ours), ("parameters", "add"));
        assert_eq!(
            line,
            "a dog\nNegative prompt: blur, text\nSteps: 4, Sampler: Euler a, CFG scale: 7.5, Seed: \
             18446744073709551615, Size: 768x512, Model: \"a, b\", Denoising strength: 0.8, Index: 5, Version: add 1"
        );
        assert_eq!(serde_json::from_str::<MadeWith>(&json).expect("JSON"), made().one(2));
    }

    #[test]
    fn absolute_paths_lose_their_folders() {
        let base = Path::new("/home/ann/project/configs");
        for (path, expected) in [
            ("/home/ann/project/configs/m/a.safetensors", "m/a.safetensors"),
            ("/mnt/secret/b.safetensors", "b.safetensors"),
            ("../m/c", "../m/c"),
            ("/", ""),
        ] {
            assert_eq!(public(Path::new(path), Some(base)), expected, "{path}");
        }
        let here = env::current_dir().expect("a folder").join("x/y");
        assert_eq!(public(&here, None), "x/y");
        let ron =
            r#"(a: "/mnt/secret/b", b: "hf://o/r", c: "say \"/mnt\"", d: "file:///mnt/secret/e", f: "/x"#;
        assert_eq!(
            without_folders(ron, Some(base)),
            r#"(a: "b", b: "hf://o/r", c: "say \"/mnt\"", d: "e", f: "x"#
        );
    }

    #[test]
    fn a_changed_or_missing_file_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.bin");
        fs::write(&path, "one").expect("written");
        let used = FileUsed::of(path.to_str().expect("UTF-8")).expect("read");
        assert_eq!(used.name, "a.bin");
        assert_eq!(used.find(&[folder.path()], "init").expect("there"), path.to_string_lossy());
        fs::write(&path, "two").expect("written");
        assert!(used.find(&[folder.path()], "init").unwrap_err().to_string().contains("has changed"));
        fs::remove_file(&path).expect("removed");
        assert!(used.find(&[folder.path()], "init").unwrap_err().to_string().contains("init: "));
    }

    #[test]
    fn a_long_file_is_covered_from_its_first_to_its_last_block() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.bin");
        let file = fs::File::create(&path).expect("made");
        file.set_len(WHOLE + 12_345).expect("sparse");
        let before = fingerprint(&path).expect("read");
        for at in [0, WHOLE + 12_344] {
            use std::os::unix::fs::FileExt;
            file.write_at(b"x", at).expect("written");
            assert_ne!(fingerprint(&path).expect("read"), before, "{at}");
            file.write_at(b"\0", at).expect("written");
            assert_eq!(fingerprint(&path).expect("read"), before);
        }
    }
}
