//! What a request asks for: read from JSON, checked against the model, and turned into an order for the engine.

use std::sync::Arc;

use add_core::{
    loaded::Wish,
    recipe::{guidance_scale, problems::check_prompt},
};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{ApiError, App, engine::Order, init, models::About};

/// Largest number that a JSON reader in a browser keeps whole.
pub(crate) const LARGEST: u64 = 1 << 53;

/// The fields of this project's own interface. A field that is not among them is refused by name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    pub(crate) prompt: String,
    #[serde(default)]
    pub(crate) model: Option<String>,
    #[serde(default)]
    pub(crate) negative: String,
    #[serde(default)]
    pub(crate) prompt_b: Option<String>,
    #[serde(default)]
    pub(crate) mix: Option<f64>,
    #[serde(default)]
    pub(crate) seed: u64,
    #[serde(default)]
    pub(crate) index: u64,
    #[serde(default = "one")]
    pub(crate) count: usize,
    #[serde(default)]
    pub(crate) steps: Option<usize>,
    #[serde(default)]
    pub(crate) guidance: Option<f64>,
    #[serde(default)]
    pub(crate) sampler: Option<String>,
    #[serde(default)]
    pub(crate) size: Option<usize>,
    #[serde(default)]
    pub(crate) width: Option<usize>,
    #[serde(default)]
    pub(crate) height: Option<usize>,
    #[serde(default)]
    pub(crate) init: Option<String>,
    #[serde(default)]
    pub(crate) strength: Option<f64>,
}

fn one() -> usize {
    1
}

impl Wanted {
    /// A picture of a caption, all else as the model has it.
    pub(crate) fn of(prompt: String) -> Self {
        Self {
            prompt,
            model: None,
            negative: String::new(),
            prompt_b: None,
            mix: None,
            seed: 0,
            index: 0,
            count: 1,
            steps: None,
            guidance: None,
            sampler: None,
            size: None,
            width: None,
            height: None,
            init: None,
            strength: None,
        }
    }

    pub(crate) fn read(fields: Map<String, Value>) -> Result<Self, ApiError> {
        serde_json::from_value(Value::Object(fields)).map_err(unreadable)
    }

    /// Checks every field and decodes the picture to begin with.
    pub(crate) async fn order(self, app: &App) -> Result<Order, ApiError> {
        let (model, about) = app.model(self.model.as_deref())?;
        let mut order = self.checked(app, model, about)?;
        if let Some(picture) = &self.init {
            let [height, width] = order.size;
            let picture = init::picture(app, picture, height, width).await?;
            for wish in &mut order.wishes {
                wish.init = Some(picture.clone());
            }
        }
        Ok(order)
    }

    fn checked(&self, app: &App, model: usize, about: &Arc<About>) -> Result<Order, ApiError> {
        let (limits, card) = (&app.limits, &about.card);
        let within = |name: &str, value: usize, most: usize| {
            if (1..=most).contains(&value) {
                return Ok(value);
            }
            Err(ApiError::field(name, format!("expected 1 to {most}, got {value}")))
        };
        for (name, text) in [
            ("prompt", Some(&self.prompt)),
            ("negative", Some(&self.negative)),
            ("prompt_b", self.prompt_b.as_ref()),
        ] {
            check_prompt(text.map_or("", String::as_str))
                .map_err(|problem| ApiError::field(name, problem))?;
        }
        // Of a single step nothing is left to begin with a picture.
        let most = card.steps.iter().copied().max().unwrap_or(1);
        let own = if self.init.is_some() { card.defaults.steps.max(most) } else { card.defaults.steps };
        let steps = within("steps", self.steps.unwrap_or(own), limits.steps)?;
        let count = within("count", self.count, limits.count)?;
        for (name, value) in [("seed", self.seed), ("index", self.index)] {
            if value > LARGEST {
                return Err(ApiError::field(name, format!("expected 0 to {LARGEST}, got {value}")));
            }
        }
        let guidance = self.guidance.unwrap_or(card.defaults.guidance);
        if !(0.0..=100.0).contains(&guidance) {
            return Err(ApiError::field(
                "guidance",
                format!("expected a number from 0 to 100, got {guidance}"),
            ));
        }
        let guidance = guidance_scale(guidance);
        if !card.supports.guidance && (guidance - card.defaults.guidance).abs() > f64::EPSILON {
            let own = card.defaults.guidance;
            return Err(ApiError::field(
                "guidance",
                format!(
                    "{} was distilled without a scale to choose: expected {own}, got {guidance}",
                    card.name
                ),
            ));
        }
        if !card.supports.negative && !self.negative.is_empty() {
            return Err(ApiError::field(
                "negative",
                format!("{} is not guided, so nothing leads away from it: expected no text", card.name),
            ));
        }
        let sampler = self.sampler.as_deref().map_or(Ok(0), |name| about.sampler(name))?;
        Ok(Order {
            model,
            about: Arc::clone(about),
            sampler,
            steps,
            guidance,
            size: self.size(about)?,
            strength: self.strength(about, steps)?,
            wishes: (0..count as u64)
                .map(|row| Wish {
                    prompt: self.prompt.clone(),
                    negative: self.negative.clone(),
                    blend: None,
                    seed: self.seed,
                    index: self.index + row,
                    init: None,
                })
                .map(|wish| Ok(Wish { blend: self.blend()?, ..wish }))
                .collect::<Result<_, ApiError>>()?,
            previews: false,
        })
    }

    /// The other caption with its share.
    fn blend(&self) -> Result<Option<(String, f64)>, ApiError> {
        match (&self.prompt_b, self.mix) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(ApiError::field("mix", "expected `prompt_b` beside it")),
            (Some(other), mix) => {
                let mix = mix.unwrap_or(0.5);
                if (0.0..=1.0).contains(&mix) {
                    return Ok(Some((other.clone(), mix)));
                }
                Err(ApiError::field("mix", format!("expected a number from 0 to 1, got {mix}")))
            }
        }
    }

    /// Height and width.
    fn size(&self, about: &About) -> Result<[usize; 2], ApiError> {
        let card = &about.card;
        if self.size.is_some() && (self.width.is_some() || self.height.is_some()) {
            return Err(ApiError::field("size", "expected either `size` or `width` and `height`, got both"));
        }
        let own = self.size.unwrap_or(card.size);
        let names = if self.size.is_some() { ["size", "size"] } else { ["height", "width"] };
        let sides = [self.height.unwrap_or(own), self.width.unwrap_or(own)];
        for (name, side) in names.into_iter().zip(sides) {
            if side == 0 || side > card.max_size || !side.is_multiple_of(card.multiple_of) {
                return Err(ApiError::field(
                    name,
                    format!(
                        "expected a multiple of {} up to {} pixels for {}, got {side}",
                        card.multiple_of, card.max_size, card.name
                    ),
                ));
            }
        }
        Ok(sides)
    }

    fn strength(&self, about: &About, steps: usize) -> Result<Option<f64>, ApiError> {
        if self.init.is_none() {
            return match self.strength {
                None => Ok(None),
                Some(_) => Err(ApiError::field("strength", "expected `init` beside it")),
            };
        }
        let strength = self.strength.unwrap_or(about.card.defaults.strength);
        if strength > 0.0 && strength <= 1.0 && steps as f64 * strength >= 1.0 {
            return Ok(Some(strength));
        }
        Err(ApiError::field(
            "strength",
            format!(
                "expected a number above 0 up to 1 that leaves at least one of {steps} steps, got {strength}"
            ),
        ))
    }
}

/// What is wrong with JSON that is no request.
pub(crate) fn unreadable(error: serde_json::Error) -> ApiError {
    ApiError::new(axum::http::StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
}

/// Text of a request as an error quotes it.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}
