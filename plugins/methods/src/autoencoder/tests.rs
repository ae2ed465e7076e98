//! Steps of linear models, against numbers that `reference.py` beside this file works out in float64.

use add_loss::Reduction;
use add_plugin::{
    Autoencoder, Discriminator, FeatureExtractor, Latents, Logits, Network, Pixels, PluginError, Posterior,
    Tangent, TrainableAutoencoder,
};
use add_recipe::{
    CODEC_PREFIX,
    slot::{CODEC, FEATURES, HEADS},
};
use add_train::{
    ema::Home,
    networks::{AnyNetwork, Averaging, Change, NetworkSet, Training},
    optimizer::AdamWConfig,
    replicas::Replicas,
    report::StepReport,
};
use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};

use super::{
    AutoencoderInputs, AutoencoderOptions, AutoencoderTrainer, HEADS_PREFIX, OPTIMIZER_D, OPTIMIZER_G, Rates,
};

/// Latents `p_0 x + exp(p_1 / 2) eps`, reconstructions `p_2 z`.
#[derive(Module, Debug)]
struct Linear {
    p: Param<Tensor<1>>,
}

impl Linear {
    fn number(&self, i: usize) -> Tensor<4> {
        self.p.val().narrow(0, i, 1).reshape([1, 1, 1, 1])
    }
}

impl Autoencoder for Linear {
    fn encode(&self, pixels: Pixels) -> Latents {
        Latents(self.posterior(pixels).mean)
    }

    fn decode(&self, latents: Latents) -> Pixels {
        self.reconstruct(latents.0)
    }
}

impl TrainableAutoencoder for Linear {
    fn posterior(&self, pixels: Pixels) -> Posterior {
        let logvar = self.number(1).expand(pixels.0.dims());
        Posterior { mean: pixels.0 * self.number(0), logvar }
    }

    fn reconstruct(&self, z: Tensor<4>) -> Pixels {
        Pixels(z * self.number(2))
    }

    fn set_scale(&mut self, _mean: &[f64], _deviation: &[f64]) {}

    fn frozen(&self) -> Box<dyn TrainableAutoencoder> {
        Box::new(self.valid())
    }
}

/// The values of a picture of one pixel.
#[derive(Module, Debug)]
struct Values {}

impl FeatureExtractor for Values {
    fn hooks(&self) -> Vec<(String, usize)> {
        vec![("values-0".to_owned(), 2)]
    }

    fn input_size(&self) -> usize {
        1
    }

    fn embedding_width(&self) -> usize {
        2
    }

    fn features(&self, pixels: Pixels) -> Vec<Tensor<3>> {
        vec![pixels.0.flatten(2, 3)]
    }

    fn embedding(&self, pixels: Pixels) -> Tensor<2> {
        pixels.0.flatten(1, 3)
    }
}

/// One head, `w . f`.
#[derive(Module, Debug)]
struct Head {
    w: Param<Tensor<1>>,
}

impl Discriminator for Head {
    fn power_iterate(&mut self) {}

    fn logits(&self, features: &[Tensor<3>], _condition: Option<Tensor<2>>) -> Vec<Logits> {
        let w = self.w.val().reshape([1, 2, 1]);
        vec![Logits((features[0].clone() * w).sum_dim(1).squeeze_dim(1))]
    }

    fn tangent(&self, _: &[Tensor<3>], _: &[Tensor<3>], _: Option<Tensor<2>>) -> Option<Vec<Tangent>> {
        None
    }

    fn check_batch(&self, _batch: usize) -> Result<(), PluginError> {
        Ok(())
    }

    fn frozen(&self) -> Box<dyn Discriminator> {
        Box::new(self.valid())
    }
}

/// Pictures of one pixel of two values.
fn pixels(rows: &[[f32; 2]]) -> Tensor<4> {
    let flat: Vec<f32> = rows.concat();
    Tensor::<1>::from_floats(&flat[..], &Device::flex()).reshape([rows.len(), 2, 1, 1])
}

const X: [[f32; 2]; 2] = [[0.5, -0.25], [1.0, 0.75]];
const EPS: [[f32; 2]; 2] = [[-1.0, 0.5], [0.25, 2.0]];

/// The samples of a batch of two, in parts of `each`.
fn parts(each: usize) -> Vec<AutoencoderInputs> {
    let part = |(x, eps): (&[[f32; 2]], &[[f32; 2]])| AutoencoderInputs {
        pixels: Pixels(pixels(x)),
        eps: pixels(eps),
    };
    X.chunks(each).zip(EPS.chunks(each)).map(part).collect()
}

fn trainer(replicas: usize) -> AutoencoderTrainer {
    let device = Device::flex().autodiff();
    let training = |optimizer, betas, file, average| Training {
        optimizer,
        config: AdamWConfig { betas, weight_decay: 0.1, ..AdamWConfig::default() },
        file,
        prefix: file,
        average,
    };
    let average = Averaging { file: "ema", half_life: 4.0, home: Home::Device };
    let codec = Linear { p: Param::from_tensor(Tensor::from_floats([0.8, -1.0, 0.9], &device)) };
    let head = Head { w: Param::from_tensor(Tensor::from_floats([0.3, -0.2], &device)) };
    let mut networks = NetworkSet::default()
        .with(
            CODEC,
            AnyNetwork::TrainedCodec(Box::new(codec)),
            Change::Trained(training(OPTIMIZER_G, (0.9, 0.999), CODEC_PREFIX, Some(average))),
        )
        .with(FEATURES, AnyNetwork::Features(Box::new(Values {})), Change::Frozen)
        .with(
            HEADS,
            AnyNetwork::Heads(Box::new(head)),
            Change::Trained(training(OPTIMIZER_D, (0.0, 0.99), HEADS_PREFIX, None)),
        );
    networks.start();
    let average = networks.average_mut(OPTIMIZER_G).expect("the codec has one");
    *average = average.clone().constant();
    let options = AutoencoderOptions {
        perceptual_weight: 0.5,
        kl_weight: 0.1,
        adversarial_weight: 0.2,
        heads: Reduction::Mean,
    };
    AutoencoderTrainer { networks, options, replicas: Replicas::new(replicas, 1).expect("threads") }
}

fn values(network: &dyn Network) -> Vec<f64> {
    let mut all = Vec::new();
    network.for_each_parameter(&mut |_, _, value| all.extend(value.into_data().iter::<f64>()));
    all
}

#[track_caller]
fn close(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    assert!(got.iter().zip(want).all(|(got, want)| (got - want).abs() < 3e-6), "{got:?}, expected {want:?}");
}

fn figures(report: &StepReport) -> Vec<f64> {
    let names =
        ["loss_absolute", "loss_perceptual", "loss_kl", "loss_adv", "loss_d", "grad_norm_g", "grad_norm_d"];
    names.map(|name| report.get(name).expect(name)).to_vec()
}

const RATES: Rates = Rates { codec: 0.01, heads: Some(0.02) };

/// What `reference.py` prints of a step: the figures, then codec, average and head.
struct Step {
    told: [f64; 7],
    codec: [f64; 3],
    average: [f64; 3],
    head: [f64; 2],
}

const STEPS: [Step; 2] = [
    Step {
        told: [
            0.513_525_544_914_863_2,
            2.096_935_831_202_878_7,
            0.333_939_720_585_721_2,
            0.071_880_627_731_246_68,
            1.753_119_372_268_753_5,
            0.474_531_705_251_007_63,
            0.739_559_549_549_805_2,
        ],
        codec: [0.809_199_999_636_769_8, -1.008_999_999_569_832_9, 0.889_100_000_323_855_5],
        average: [0.802_694_617_506_696_1, -1.002_636_038_843_328, 0.896_807_464_009_788_5],
        head: [0.319_399_999_517_728_46, -0.219_599_999_673_387_8],
    },
    Step {
        told: [
            0.506_321_764_879_621_9,
            2.095_504_013_813_956_2,
            0.340_261_527_586_206,
            0.078_816_389_204_815_5,
            1.736_533_611_075_235,
            0.469_879_421_511_038_06,
            0.728_437_804_367_779_8,
        ],
        codec: [0.818_388_052_468_513_4, -1.017_987_942_073_993_2, 0.878_213_338_606_208_6],
        average: [0.807_291_118_186_902_5, -1.007_132_507_195_470_2, 0.891_361_370_769_313],
        head: [0.338_689_265_670_155_45, -0.238_972_514_110_237_95],
    },
];

fn check(replicas: usize, each: usize) {
    let mut trainer = trainer(replicas);
    for Step { told, codec, average, head } in STEPS {
        close(&figures(&trainer.step(parts(each), RATES)), &told);
        close(&values(trainer.networks.trained_codec(CODEC)), &codec);
        close(&values(&*trainer.networks.averaged_codec(CODEC)), &average);
        close(&values(trainer.networks.heads(HEADS)), &head);
    }
}

#[test]
fn two_steps_of_a_linear_model_by_hand() {
    check(1, 2);
}

#[test]
fn a_batch_in_two_parts_takes_the_same_steps() {
    check(2, 1);
}

#[test]
fn before_the_heads_begin_they_stay_and_say_nothing() {
    let mut trainer = trainer(1);
    let report = trainer.step(parts(2), Rates { heads: None, ..RATES });
    close(&values(trainer.networks.heads(HEADS)), &[0.3, -0.2]);
    let absent = |name: &str| report.get(name).is_none() && report.per_head(name).is_none();
    assert!(["loss_adv", "loss_d", "logits_real"].into_iter().all(absent), "{report:?}");
    close(&figures_without_heads(&report), &STEPS[0].told[..3]);
    assert!((report.get("grad_norm_g").expect("a figure") - STEPS[0].told[5]).abs() > 1e-3);
}

fn figures_without_heads(report: &StepReport) -> Vec<f64> {
    ["loss_absolute", "loss_perceptual", "loss_kl"].map(|name| report.get(name).expect(name)).to_vec()
}

#[test]
fn the_figures_of_latents_and_pictures_are_roots_of_means() {
    let report = trainer(1).step(parts(2), RATES);
    // 0.5, -0.25, 1 and 0.75 about their mean of 0.5: 0, 0.5625, 0.25 and 0.0625, a mean of 0.21875; the latents' means are
    // 0.8 of them, and their noise deviates by exp(-1 / 2).
    let wanted = [0.218_75_f64.sqrt(), 0.8 * 0.218_75_f64.sqrt(), (-0.5_f64).exp()];
    close(
        &["contrast_real", "latent_std", "latent_noise"].map(|name| report.get(name).expect(name)),
        &wanted,
    );
}
