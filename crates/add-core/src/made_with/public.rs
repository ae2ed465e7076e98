//! What of a recipe and of paths may be published in a picture.

use std::{
    env,
    path::{Component, Path},
};

use add_recipe::{Recipe, map_texts, one_line};
use add_weights::lora::Lora;

use crate::read::LoadedRecipe;

/// What of a recipe pictures follow from, as a recipe of its own: nothing of its data, of its training and of where this
/// machine keeps things. With `own_weights` the model's weights are left to the recipe, else they are stated elsewhere.
pub fn recipe_of(loaded: &LoadedRecipe, own_weights: bool) -> String {
    let Recipe { name, device, dtype, kernels, data, codec, text, model, sampling, .. } = &loaded.recipe;
    let weights = if own_weights { one_line(&model.weights) } else { "Random()".to_owned() };
    let text_weights = model.text_weights.as_ref().filter(|_| own_weights);
    let text_weights =
        text_weights.map_or(String::new(), |name| format!(", text_weights: {}", one_line(name)));
    let loras = |loras: &Vec<Lora>| {
        if loras.is_empty() { String::new() } else { format!(", loras: {}", one_line(loras)) }
    };
    let (model_loras, sampling_loras) = (loras(&model.loras), loras(&sampling.loras));
    let recipe = format!(
        "(name: {name:?}, device: {}, dtype: {}, kernels: {}, data: Off(size: {}), codec: {}, text: {}, model: (backbone: {}, \
         schedule: {}, weights: {weights}{text_weights}{model_loras}), objective: Off(), sampling: (sampler: {}, steps: {}, guidance: {}, \
         long_prompt: {}{sampling_loras}))",
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
pub(super) fn without_folders(ron: &str, base: Option<&Path>) -> String {
    map_texts(ron, |_, text| {
        let path = text.strip_prefix("file://").unwrap_or(text);
        if path.starts_with('/') { public(Path::new(path), base).into() } else { text.into() }
    })
}

/// A path without the folders of this machine: as it is where it is relative, else relative to `base` or the current
/// folder where it lies in one of them, else its last part.
pub(super) fn public(path: &Path, base: Option<&Path>) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
