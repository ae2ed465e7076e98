//! A recorded run: its networks and hyper-parameters, and what every step was given.

use std::num::NonZeroUsize;

use add_loss::PixelReduction;
use add_nn::{config::PerLevel, unet::UnetConfig};
use add_plugin::{Conditioning, Timesteps, Weighting};
use add_train::optimizer::AdamWConfig;
use burn::tensor::Tensor;
use serde::Deserialize;
use weightings::{Exponential, Nfsd, Sds};

use crate::{Fixture, Numbers, ParityError, row::largest_difference, tables::Betas};

/// Networks and hyper-parameters of a run.
#[derive(Deserialize)]
pub(super) struct Config {
    pub(super) unet: UnetConfig,
    pub(super) feat: VitShape,
    pub(super) cimg: VitShape,
    pub(super) hyper: Hyper,
}

/// A timm vision transformer.
#[derive(Deserialize)]
pub(super) struct VitShape {
    pub(super) img_size: usize,
    pub(super) patch_size: usize,
    pub(super) embed_dim: usize,
    pub(super) depth: usize,
    pub(super) num_heads: usize,
}

#[derive(Deserialize)]
pub(super) struct Hyper {
    pub(super) steps: NonZeroUsize,
    pub(super) hooks: Vec<usize>,
    pub(super) cmap_dim: NonZeroUsize,
    pub(super) gamma: f64,
    pub(super) lam: f64,
    weighting: WeightingName,
    reduction: ReductionName,
    pub(super) teacher_steps: NonZeroUsize,
    pub(super) cfg: f64,
    pub(super) ema_decay: f64,
    pub(super) opt_g: Optimizer,
    pub(super) opt_d: Optimizer,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WeightingName {
    Exp,
    Sds,
    Nfsd,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ReductionName {
    Sum,
    Mean,
}

impl Hyper {
    pub(super) fn distance(&self) -> PixelReduction {
        match self.reduction {
            ReductionName::Sum => PixelReduction::Sum,
            ReductionName::Mean => PixelReduction::Mean,
        }
    }

    fn weighting(&self) -> Box<dyn Weighting> {
        match self.weighting {
            WeightingName::Exp => Box::new(Exponential::default()),
            WeightingName::Sds => Box::new(Sds::default()),
            WeightingName::Nfsd => Box::new(Nfsd::default()),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Optimizer {
    pub(super) lr: f64,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
}

impl Optimizer {
    /// Without warm-up and clipping, which the recorded runs do not have.
    pub(super) fn config(&self) -> AdamWConfig {
        let Self { lr, betas, eps, weight_decay } = *self;
        AdamWConfig { lr, betas, eps, weight_decay, warm_up: 0, cool_down: 0, clip_norm: f64::INFINITY }
    }
}

/// Names of the trainable parameters in the order of `norms.*`.
#[derive(Deserialize)]
pub(super) struct ParamOrder {
    pub(super) student: Vec<String>,
    pub(super) heads: Vec<String>,
}

/// One recorded run.
pub(super) struct Recording<'a> {
    pub(super) fixture: &'a Fixture,
    pub(super) config: Config,
    pub(super) order: ParamOrder,
    pub(super) weighting: Box<dyn Weighting>,
    /// Samples of a step.
    pub(super) batch: usize,
    /// Width of the text's pooled embedding.
    pub(super) pooled: usize,
}

impl<'a> Recording<'a> {
    /// Reads what the fixture says of the run, and checks that its parts fit together.
    pub(super) fn read(fixture: &'a Fixture) -> Result<Self, ParityError> {
        let config: Config = fixture.config()?;
        let order = serde_json::from_value(fixture.facts()["param_order"].clone());
        let file = || format!("param_order of {}.json", fixture.name());
        let order = order.map_err(|source| ParityError::Json { file: file(), source })?;
        let Hyper { hooks, ema_decay, .. } = &config.hyper;
        if let Some(hook) = hooks.iter().find(|&&hook| hook >= config.feat.depth) {
            return Err(ParityError::content("hooks", format!("layers below {}", config.feat.depth), hook));
        }
        if !(0.0 < *ema_decay && *ema_decay < 1.0) {
            return Err(ParityError::content("ema_decay", "a number between 0 and 1", ema_decay));
        }
        let [batch, pooled] = sizes(fixture, &config)?;
        let weighting = config.hyper.weighting();
        Ok(Self { fixture, config, order, weighting, batch, pooled })
    }

    pub(super) fn steps(&self) -> usize {
        self.config.hyper.steps.get()
    }

    /// How far the library's own run in f32 is from its run in f64, which stand under `f32.` and `key`.
    pub(super) fn rounding(&self, key: &str) -> f64 {
        let numbers = |key: &str| self.fixture.numbers(key).map(|numbers| numbers.values).unwrap_or_default();
        largest_difference(&numbers(&format!("f32.{key}")), &numbers(key))
    }

    /// Row `step` of an input.
    pub(super) fn input<const D: usize>(&self, key: &str, step: usize) -> Result<Tensor<D>, ParityError> {
        let Numbers { shape, values } = self.fixture.numbers(key)?;
        let row = values.len() / self.steps();
        let row =
            Numbers { shape: shape[1..].to_vec(), values: values[step * row..(step + 1) * row].to_vec() };
        let wrong = || ParityError::content(key, format!("rank {}", D + 1), format!("shape {shape:?}"));
        row.tensor(self.fixture.wide(), self.fixture.device()).ok_or_else(wrong)
    }

    /// Row `step` of the timesteps of phase or teacher.
    pub(super) fn timesteps(&self, key: &str, step: usize) -> Result<Timesteps, ParityError> {
        let all = self.fixture.indices(key)?;
        let steps = Betas::STABLE_DIFFUSION.steps;
        if let Some(late) = all.iter().find(|&&t| t >= steps) {
            return Err(ParityError::content(key, format!("timesteps below {steps}"), late));
        }
        Ok(Timesteps::whole(all[step * self.batch..(step + 1) * self.batch].iter().copied()))
    }

    /// The empty caption or the negative prompt, a batch of one; the U-Net does not look at its pooled embedding.
    pub(super) fn other_prompt(
        &self,
        key: &str,
        captions: &Conditioning,
    ) -> Result<Conditioning, ParityError> {
        let tokens = self.fixture.tensor::<3>(key, self.fixture.wide())?.narrow(0, 0, 1);
        Ok(Conditioning::new(tokens, captions.pooled.clone().narrow(0, 0, 1).zeros_like()))
    }
}

/// Samples of a step, and width of the pooled text; fails where the inputs' shapes do not fit together.
fn sizes(fixture: &Fixture, config: &Config) -> Result<[usize; 2], ParityError> {
    let steps = config.hyper.steps.get();
    let expect = |key: &str, expected: &[Option<usize>]| {
        let shape = fixture.shape(key)?;
        let fits = |(size, expected): (&usize, &Option<usize>)| expected.is_none_or(|n| n == *size);
        if shape.len() == expected.len() && shape.iter().zip(expected).all(fits) && !shape.contains(&0) {
            return Ok(shape);
        }
        let sizes: Vec<String> =
            expected.iter().map(|n| n.map_or_else(|| "any".to_owned(), |n| n.to_string())).collect();
        Err(ParityError::content(key, format!("shape [{}]", sizes.join(", ")), format!("{shape:?}")))
    };
    let colours = Some(3);
    let picture = expect("in.x0", &[Some(steps), None, colours, None, None])?;
    let channels = [config.unet.in_channels, config.unet.out_channels];
    if channels != [3, 3] {
        return Err(ParityError::content("channels of unet", "3 in, 3 out", format!("{channels:?}")));
    }
    let picture: Vec<Option<usize>> = picture.into_iter().map(Some).collect();
    for key in ["in.eps_d", "in.eps_g", "in.eps_t"] {
        expect(key, &picture)?;
    }
    for key in ["in.s_d", "in.s_g", "in.t_g"] {
        expect(key, &picture[..2])?;
    }
    let width = match &config.unet.cross_attention_dim {
        PerLevel::All(width) => Some(*width),
        PerLevel::Each(widths) => widths.first().copied(),
    };
    let tokens = expect("in.ctx", &[picture[0], picture[1], None, width])?[2];
    for key in ["in.ctx_uncond", "in.ctx_neg"] {
        expect(key, &[None, Some(tokens), width])?;
    }
    let pooled = expect("in.c_text", &[picture[0], picture[1], None])?;
    Ok([pooled[1], pooled[2]])
}
