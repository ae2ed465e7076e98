//! Steps of linear models, against numbers that `reference.py` beside this file works out in float64.

use add_loss::{SnrWeighting, StepTimes};
use add_plugin::{Latents, NoiseSchedule, Prediction, Timesteps};
use add_recipe::slot::{STUDENT, TEACHER};
use add_train::{
    ema::Home,
    networks::{Averaging, Change, NetworkSet, Role, Training},
    optimizer::AdamWConfig,
    process::Process,
    replicas::Replicas,
    report::StepReport,
};
use burn::tensor::Device;

use super::{
    OPTIMIZER,
    step::{Inputs, Times, Trainer},
};
use crate::{
    linear::{Linear, captions, pictures},
    stages::hand_over,
};

/// What the network begins as; it predicts the clean sample.
const NETWORK: [f32; 3] = [0.5, -0.2, 0.05];

/// Both samples, or each in a part of its own.
fn inputs(parts: usize, times: impl Fn(&[usize]) -> Times) -> Vec<Inputs> {
    let (x, eps) = (pictures([[0.5, -0.25], [1.0, 0.75]]), pictures([[-1.0, 0.5], [0.25, 2.0]]));
    let (captions, scales) = (captions(&[0.5, -0.5]), [3.0, 5.0]);
    let part = |rows: &[usize]| {
        let range = rows[0]..rows[0] + rows.len();
        Inputs {
            x: Latents(x.clone().slice([range.clone()])),
            captions: captions.slice(range.clone()),
            scales: scales[range.clone()].to_vec(),
            eps: eps.clone().slice([range]),
            times: times(rows),
        }
    };
    [0, 1].chunks(2 / parts).map(part).collect()
}

fn trainer(parts: usize) -> Trainer {
    let device = Device::flex();
    let training = Training {
        optimizer: OPTIMIZER,
        config: AdamWConfig { weight_decay: 0.0, ..AdamWConfig::default() },
        file: "student",
        prefix: "",
        average: Some(Averaging { file: "ema", half_life: 4.0, home: Home::Device }),
    };
    let mut networks = NetworkSet::default()
        .with(STUDENT, Linear::on(&device.clone().autodiff(), NETWORK), Change::Trained(training))
        .with(TEACHER, Linear::on(&device, NETWORK), Change::Replaced("teacher"));
    networks.start();
    Trainer {
        networks,
        diffusion: Process {
            schedule: NoiseSchedule::from_alphas_cumprod(&[0.9216, 0.64, 0.36, 0.0]),
            prediction: Prediction::X0,
            sizes: None,
        },
        null: captions(&[0.25]),
        weighting: SnrWeighting::TruncatedSnr,
        replicas: Replicas::new(parts, 1).expect("threads"),
    }
}

fn values(trainer: &Trainer, role: Role) -> Vec<f64> {
    let mut all = Vec::new();
    trainer.networks.denoiser(role).for_each_parameter(&mut |_, _, value| {
        all = value.into_data().iter::<f64>().collect();
    });
    all
}

#[track_caller]
fn close(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    let near = |(got, want): (&f64, &f64)| (got - want).abs() < 2e-6 * (1.0 + want.abs());
    assert!(got.iter().zip(want).all(near), "{got:?}, expected {want:?}");
}

fn figures(report: &StepReport) -> [f64; 2] {
    ["loss", "grad_norm"].map(|name| report.get(name).expect("a figure"))
}

const BEGINNING: [f64; 3] = [0.5, -0.2, 0.05];
/// What `reference.py` prints: loss and norm of the gradient, then the student.
const GUIDANCE: ([f64; 2], [f64; 3]) = (
    [0.140_138_888_888_889, 2.570_576_702_480_076_3],
    [0.509_999_999_719_997_5, -0.209_999_999_410_568_2, 0.059_999_999_891_128_475],
);
const HANDED_OVER: [f64; 3] = [0.509_999_990_183_254_6, -0.209_999_989_873_825_62, 0.059_999_990_354_385_42];
const HALVING: ([f64; 2], [f64; 3]) = (
    [0.004_099_411_578_440_373, 0.394_570_111_820_557_85],
    [0.499_999_990_945_409_2, -0.199_999_992_355_520_46, 0.049_999_990_624_708_39],
);

#[test]
fn two_stages_of_a_linear_model_by_hand() {
    for parts in [1, 2] {
        let mut trainer = trainer(parts);
        let guidance = |rows: &[usize]| Times::Guidance(Timesteps::whole(rows.iter().map(|&i| [3, 1][i])));
        let report = trainer.step(inputs(parts, guidance), 0.01);
        close(&figures(&report), &GUIDANCE.0);
        close(&values(&trainer, STUDENT), &GUIDANCE.1);
        close(&values(&trainer, TEACHER), &BEGINNING);

        hand_over(&mut trainer.networks, OPTIMIZER);
        close(&values(&trainer, STUDENT), &HANDED_OVER);
        close(&values(&trainer, TEACHER), &HANDED_OVER);

        // Two sampling steps on a schedule of four timesteps: from 3 over 2 to 1, and from 1 over 0 to the clean end.
        let halving = |rows: &[usize]| {
            let places: Vec<usize> = rows.iter().map(|&i| [1, 0][i]).collect();
            Times::Halving(StepTimes::at(4, 2, &places))
        };
        let report = trainer.step(inputs(parts, halving), 0.01);
        close(&figures(&report), &HALVING.0);
        close(&values(&trainer, STUDENT), &HALVING.1);
        close(&values(&trainer, TEACHER), &HANDED_OVER);
    }
}
