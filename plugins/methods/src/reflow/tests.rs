//! Pairs and steps of linear models, against numbers that `reference.py` beside this file works out in float64.

use add_loss::ConsistencyDistance;
use add_plugin::{NoiseSchedule, Prediction, Timesteps, fork};
use add_recipe::slot::{STUDENT, TEACHER};
use add_train::{
    ema::Home,
    networks::{Change, NetworkSet, Training},
    optimizer::AdamWConfig,
    process::Process,
    replicas::Replicas,
    report::StepReport,
};
use burn::tensor::{Device, Tensor};
use samplers::Ddim;

use super::{
    OPTIMIZER,
    pairs::{Maker, Pairs},
    step::{Asked, Inputs, Trainer},
};
use crate::{
    linear::{Linear, captions, pictures, values},
    stages::hand_over,
    student::{End, Terminal},
};

/// The noise of the pairs of both stages.
const EPS: [[[f32; 2]; 2]; 2] = [[[-1.0, 0.5], [0.25, 2.0]], [[0.75, -0.5], [-1.5, 1.0]]];
/// What the network begins as; it predicts v.
const NETWORK: [f32; 3] = [0.3, -0.2, 0.05];

fn trainer(parts: usize) -> Trainer {
    let device = Device::flex();
    let config = AdamWConfig { weight_decay: 0.0, ..AdamWConfig::default() };
    let training = Training::averaged(OPTIMIZER, config, "student", 4.0, Home::Device);
    let mut networks = NetworkSet::default()
        .with(STUDENT, Linear::on(&device.clone().autodiff(), NETWORK), Change::Trained(training))
        .with(TEACHER, Linear::on(&device, NETWORK), Change::Replaced("teacher"));
    networks.start();
    Trainer {
        networks,
        diffusion: Process {
            schedule: NoiseSchedule::from_alphas_cumprod(&[0.9, 0.64, 0.36, 0.0]),
            prediction: Prediction::V,
            sizes: None,
        },
        end: End { last_timestep: 3, terminal: Terminal::Schedule },
        distance: ConsistencyDistance::SquaredL2(),
        perceptual: 0.0,
        replicas: Replicas::new(parts, 1).expect("threads"),
    }
}

/// What the teacher makes of the samples `rows` of a stage.
fn pairs(trainer: &Trainer, stage: usize, rows: std::ops::Range<usize>, guidance: f64) -> Pairs {
    let maker = Maker {
        teacher: fork(trainer.networks.denoiser(TEACHER)),
        diffusion: &trainer.diffusion,
        sampler: &Ddim::default(),
        steps: 2,
        guidance,
        null: captions(&[0.25]).repeat(rows.len()),
    };
    let eps: Tensor<4> = pictures(EPS[stage]).slice([rows.clone()]);
    maker.make(eps, captions(&[0.5, -0.5]).slice(rows))
}

/// Both samples, or each in a part of its own.
fn inputs(trainer: &Trainer, parts: usize, stage: usize, guidance: f64) -> Vec<Inputs> {
    let part = |rows: &[usize]| Inputs {
        pairs: pairs(trainer, stage, rows[0]..rows[0] + rows.len(), guidance),
        asked: match stage {
            0 => Asked::Flow(Timesteps::whole(rows.iter().map(|&i| [2, 1][i]))),
            _ => Asked::Picture,
        },
        is_new: true,
    };
    [0, 1].chunks(2 / parts).map(part).collect()
}

#[track_caller]
fn close(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    let near = |(got, want): (&f64, &f64)| (got - want).abs() < 2e-6 * (1.0 + want.abs());
    assert!(got.iter().zip(want).all(near), "{got:?}, expected {want:?}");
}

fn figures<const N: usize>(report: &StepReport, names: [&str; N]) -> [f64; N] {
    names.map(|name| report.get(name).unwrap_or_else(|| panic!("{name}")))
}

/// What `reference.py` prints.
const PICTURES: [f64; 4] = [-0.004, 0.3308, -0.3826, 0.008];
const STRAIGHTEN: ([f64; 3], [f64; 3]) = (
    [0.731_823_656_394_880_1, 0.471_342_5, 1.706_312_449_773_761_8],
    [0.309_999_999_882_947_13, -0.209_999_999_807_601_62, 0.05],
);
const HANDED_OVER: [f64; 3] = [0.309_999_990_346_204_07, -0.209_999_990_270_858_64, 0.05];
const ONE_STEP: ([f64; 4], [f64; 3]) = (
    [0.283_116_861_492_633_93, 0.393_217_863_184_213_87, 0.532_087_268_681_213_6, 1.077_736_176_097_513_7],
    [0.299_999_990_446_712_2, -0.219_999_989_275_028_6, 0.05],
);

#[test]
fn two_stages_of_a_linear_model_by_hand() {
    for parts in [1, 2] {
        let mut trainer = trainer(parts);
        let made = pairs(&trainer, 0, 0..2, 3.0);
        close(&made.x_0.into_data().iter::<f64>().collect::<Vec<_>>(), &PICTURES);
        let given = inputs(&trainer, parts, 0, 3.0);
        let report = trainer.step(given, 0.01);
        close(&figures(&report, ["loss", "curvature", "grad_norm"]), &STRAIGHTEN.0);
        close(&values(&trainer.networks, STUDENT), &STRAIGHTEN.1);
        close(&values(&trainer.networks, TEACHER), &NETWORK.map(f64::from));

        hand_over(&mut trainer.networks, OPTIMIZER);
        close(&values(&trainer.networks, STUDENT), &HANDED_OVER);
        close(&values(&trainer.networks, TEACHER), &HANDED_OVER);

        let given = inputs(&trainer, parts, 1, 1.0);
        let report = trainer.step(given, 0.01);
        close(&figures(&report, ["loss", "curvature", "grad_norm_picture", "grad_norm"]), &ONE_STEP.0);
        close(&values(&trainer.networks, STUDENT), &ONE_STEP.1);
    }
}

#[test]
fn pairs_that_are_used_again_tell_no_curvature() {
    let mut trainer = trainer(1);
    let mut given = inputs(&trainer, 1, 0, 3.0);
    given[0].is_new = false;
    let report = trainer.step(given, 0.01);
    assert!(report.get("curvature").is_none());
    close(&figures(&report, ["loss"]), &[STRAIGHTEN.0[0]]);
}
