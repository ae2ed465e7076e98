//! Family `full`: networks of their released size, whose weights are a formula ([`formula`](crate::formula)).
//!
//! `<name>.expected.safetensors` holds inputs and outputs; the name says which network it is, see [`NETWORKS`].
//! The outputs of one file may come from several networks: `out.unet`, `out.vae_decode` (of `in.latent`, unscaled),
//! `out.text_encoder.{last_hidden_state, penultimate, pooled}`, `out.{image_features, text_features}`,
//! `out.{cls, patch}`.

use std::{path::Path, time::Instant};

use add_nn::{
    autoencoder_kl::{AutoencoderKl, AutoencoderKlConfig},
    clip_text::{ClipText, ClipTextConfig},
    layers::Init,
    open_clip::{OpenClip, OpenClipConfig},
    unet::{UNet2dCondition, UnetConfig},
    vit::{Vit, VitConfig},
};
use add_weights::{Source, names};
use burn::{
    module::Module,
    tensor::{DType, Device},
};

use crate::{
    Fixture, ParityError, ParityRow,
    formula::fill,
    row::{Comparison, Tolerance, nothing},
    unet::added_conditions,
};

/// The folder's name.
pub(crate) const FAMILY: &str = "full";

/// The seed of the formula where neither the caller nor the fixture says another.
const SEED: u64 = 7;

/// Both sides compute in f32, in other orders of summation: the bound that no comparison may exceed.
const ROUNDING: Tolerance = Tolerance::Relative { part: 2e-5, floor: 0.0 };

/// A network of a released size.
enum Network {
    Unet(fn() -> UnetConfig),
    Text(fn() -> ClipTextConfig),
    OpenClip(fn() -> OpenClipConfig),
    Vit(fn() -> VitConfig),
}

/// Each network that a fixture's name may say.
const NETWORKS: [(&str, Network); 9] = [
    ("sd15_unet", Network::Unet(UnetConfig::sd15)),
    ("sd21_unet", Network::Unet(UnetConfig::sd21)),
    ("sdxl_unet", Network::Unet(UnetConfig::sdxl)),
    ("sd15_text", Network::Text(ClipTextConfig::default)),
    // 23 of the 24 layers, as in the released files.
    ("sd21_text", Network::Text(|| ClipTextConfig::open_clip(1024, 23, 16))),
    ("sdturbo_text", Network::Text(|| ClipTextConfig::open_clip(1024, 23, 16))),
    ("clip_g", Network::OpenClip(OpenClipConfig::vit_g_14)),
    ("dinov2_s", Network::Vit(VitConfig::dinov2_s14)),
    ("dinov2_l", Network::Vit(VitConfig::dinov2_l14)),
];

/// How long one part of a comparison took.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// The part.
    pub part: &'static str,
    /// Seconds to make the weights.
    pub fill_s: f64,
    /// Seconds of the first forward pass.
    pub forward_s: f64,
}

/// A full-size comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Full {
    /// One for each output.
    pub rows: Vec<ParityRow>,
    /// One for each network.
    pub timings: Vec<Timing>,
}

/// Compares the network that [`NETWORKS`] calls `network` with the outputs in `expected`, on `device`. Its weights are made with
/// `seed`, or else with that of the library's report, or else with [`SEED`].
///
/// # Errors
/// When the file is missing or damaged, or no such network is known.
pub fn run(network: &str, expected: &Path, seed: Option<u64>, device: &Device) -> Result<Full, ParityError> {
    let fixture = Fixture::open_expected(expected, device)?;
    let known = NETWORKS.iter().find(|(name, _)| *name == network);
    let (_, shape) = known.ok_or_else(|| {
        let names = NETWORKS.map(|(name, _)| name).join(", ");
        ParityError::content("the full-size network", format!("one of {names}"), network)
    })?;
    let seed = seed.or(fixture.facts()["seed"].as_u64()).unwrap_or(SEED);
    let mut parts = Parts { rows: Comparison::new(&fixture), fixture: &fixture, seed, timings: Vec::new() };
    match shape {
        Network::Unet(config) => {
            parts.unet(&config())?;
            if fixture.has("out.vae_decode") {
                parts.decoder(&AutoencoderKlConfig::default())?;
            }
        }
        Network::Text(config) => parts.text(&config())?,
        Network::OpenClip(config) => parts.open_clip(&config())?,
        Network::Vit(config) => parts.vit(&config())?,
    }
    Ok(Full { rows: parts.rows.finish(nothing), timings: parts.timings })
}

struct Parts<'a> {
    fixture: &'a Fixture,
    rows: Comparison<'a>,
    seed: u64,
    timings: Vec<Timing>,
}

fn whole(name: &str) -> Source {
    Source::Whole(name.to_owned())
}

impl Parts<'_> {
    /// Fills `net`, runs it, and keeps the time of both.
    fn timed<M: Module, T>(
        &mut self,
        part: &'static str,
        net: M,
        source: &dyn Fn(&str) -> Source,
        forward: impl FnOnce(&M) -> T,
    ) -> T {
        let start = Instant::now();
        let net = fill(net, source, self.seed);
        let filled = Instant::now();
        let out = forward(&net);
        self.timings.push(Timing {
            part,
            fill_s: (filled - start).as_secs_f64(),
            forward_s: filled.elapsed().as_secs_f64(),
        });
        out
    }

    fn init(&self) -> Init {
        Init::new(0, self.fixture.device())
    }

    fn unet(&mut self, config: &UnetConfig) -> Result<(), ParityError> {
        let f = self.fixture;
        let sample = f.tensor::<4>("in.sample", DType::F32)?;
        let timestep = f.tensor::<1>("in.timestep", DType::F32)?;
        let text = f.tensor::<3>("in.encoder_hidden_states", DType::F32)?;
        let added = added_conditions(f, "", DType::F32)?;
        let net = UNet2dCondition::new(config, &self.init())?;
        let out = self.timed("U-Net", net, &whole, |net| net.forward(sample, timestep, text, added));
        self.rows.check_tensor("out.unet", out, ROUNDING);
        Ok(())
    }

    fn decoder(&mut self, config: &AutoencoderKlConfig) -> Result<(), ParityError> {
        let latent = self.fixture.tensor::<4>("in.latent", DType::F32)?;
        let net = AutoencoderKl::new(config, &self.init())?;
        let out = self.timed("VAE decoder", net, &whole, |net| net.decode(latent));
        self.rows.check_tensor("out.vae_decode", out, ROUNDING);
        Ok(())
    }

    fn text(&mut self, config: &ClipTextConfig) -> Result<(), ParityError> {
        let ids = self.fixture.ids("in.text_encoder.input_ids")?;
        let net = ClipText::new(config, &self.init())?;
        let out = self.timed("text encoder", net, &whole, |net| net.forward(ids));
        let penultimate = out.hidden_states[out.hidden_states.len() - 2].clone();
        self.rows.check_tensor("out.text_encoder.last_hidden_state", out.last_hidden_state, ROUNDING);
        self.rows.check_tensor("out.text_encoder.penultimate", penultimate, ROUNDING);
        self.rows.check_tensor("out.text_encoder.pooled", out.pooled, ROUNDING);
        Ok(())
    }

    fn open_clip(&mut self, config: &OpenClipConfig) -> Result<(), ParityError> {
        let image = self.fixture.tensor::<4>("in.image", DType::F32)?;
        let ids = self.fixture.ids("in.text")?;
        let net = OpenClip::new(config, &self.init())?;
        let (images, texts) = self.timed("both towers", net, &names::open_clip, |net| {
            (net.image_features(image), net.text_features(ids))
        });
        self.rows.check_tensor("out.image_features", images, ROUNDING);
        self.rows.check_tensor("out.text_features", texts, ROUNDING);
        Ok(())
    }

    fn vit(&mut self, config: &VitConfig) -> Result<(), ParityError> {
        let image = self.fixture.tensor::<4>("in.image", DType::F32)?;
        let net = Vit::new(config, &self.init())?;
        let tokens = self.timed("vision transformer", net, &names::vit_from_hub, |net| {
            net.normalise(net.forward_blocks(image, &[]).last)
        });
        let [b, t, c] = tokens.dims();
        let special = 1 + config.registers;
        self.rows.check_tensor("out.cls", tokens.clone().narrow(1, 0, 1).reshape([b, c]), ROUNDING);
        self.rows.check_tensor("out.patch", tokens.narrow(1, special, t - special), ROUNDING);
        Ok(())
    }
}
