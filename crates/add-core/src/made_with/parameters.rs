//! The line in which A1111's web UI says how a picture was made.

use add_recipe::Dimensions;

/// The keyword of the line in a picture's file.
pub const PARAMETERS: &str = "parameters";

/// Names of samplers in A1111's web UI.
const SAMPLERS: [(&str, &str); 5] = [
    ("Euler", "Euler"),
    ("EulerAncestral", "Euler a"),
    ("DpmSolver2M", "DPM++ 2M"),
    ("Ddim", "DDIM"),
    ("Lcm", "LCM"),
];

/// What the line says. A1111's own pictures of the same seed begin at other noise.
#[derive(Debug, Clone, Copy)]
pub struct Parameters<'a> {
    /// What the picture shows.
    pub prompt: &'a str,
    /// What guidance led away from; nothing where it is empty.
    pub negative: &'a str,
    /// Seed of the noise.
    pub seed: u64,
    /// Index of the picture among those of the seed.
    pub index: u64,
    /// Denoiser calls.
    pub steps: usize,
    /// The sampler, by the name of its plugin.
    pub sampler: &'a str,
    /// Guidance scale.
    pub guidance: f64,
    /// Width and height.
    pub size: Dimensions,
    /// What the model is called.
    pub model: &'a str,
    /// How much of another picture was changed, if it began as one.
    pub strength: Option<f64>,
}

impl Parameters<'_> {
    /// The text of the file, with `version` as that of this program.
    pub fn line(&self, version: &str) -> String {
        let mut lines = vec![self.prompt.to_owned()];
        if !self.negative.is_empty() {
            lines.push(format!("Negative prompt: {}", self.negative));
        }
        let theirs = SAMPLERS.iter().find(|(ours, _)| *ours == self.sampler);
        let mut fields = vec![
            ("Steps", self.steps.to_string()),
            ("Sampler", theirs.map_or(self.sampler, |(_, theirs)| *theirs).to_owned()),
            ("CFG scale", self.guidance.to_string()),
            ("Seed", self.seed.to_string()),
            ("Size", self.size.to_string()),
            ("Model", self.model.to_owned()),
        ];
        fields.extend(self.strength.map(|strength| ("Denoising strength", strength.to_string())));
        fields.push(("Index", self.index.to_string()));
        fields.push(("Version", format!("add {version}")));
        let fields: Vec<String> =
            fields.into_iter().map(|(name, value)| format!("{name}: {}", quoted(&value))).collect();
        lines.push(fields.join(", "));
        lines.join("\n")
    }
}

/// A value as A1111's web UI writes it.
fn quoted(value: &str) -> String {
    if value.contains([',', ':', '\n']) {
        serde_json::to_string(value).expect("a text is JSON")
    } else {
        value.to_owned()
    }
}
