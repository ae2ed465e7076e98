//! A step of linear models, against numbers that `reference.py` beside this file works out in float64.

use add_plugin::{Latents, NoiseSchedule, Prediction, Timesteps};
use add_recipe::slot::{HEADS, STUDENT};
use add_train::{
    ema::Home,
    networks::{Change, NetworkSet, Training},
    optimizer::AdamWConfig,
    process::Process,
    replicas::Replicas,
    report::StepReport,
};
use burn::tensor::{Device, Tensor};

use super::{
    DISCRIMINATOR, OPTIMIZER_D, OPTIMIZER_G,
    step::{Inputs, Trainer},
};
use crate::{
    latent_discriminator::DiscriminatorTraining,
    linear::{Linear, LinearHead, captions, pictures, values},
    student::{End, StudentInput, Terminal},
};

/// Both samples, or each in a part of its own.
fn inputs(parts: usize) -> Vec<Inputs> {
    let part = |rows: &[usize]| {
        let range = rows[0]..rows[0] + rows.len();
        let rows_of = |x: [[f32; 2]; 2]| -> Tensor<4> { pictures(x).slice([range.clone()]) };
        Inputs {
            x_0: Latents(rows_of([[0.5, -0.25], [1.0, 0.75]])),
            captions: captions(&[0.5, -0.5]).slice(range.clone()),
            student: StudentInput {
                s: Timesteps::whole(rows.iter().map(|&i| [2, 1][i])),
                eps: rows_of([[-1.0, 0.5], [0.25, 2.0]]),
            },
            eps_real: rows_of([[-0.75, 0.25], [1.25, -0.5]]),
            eps_fake: rows_of([[1.0, -1.0], [0.5, 0.5]]),
        }
    };
    [0, 1].chunks(2 / parts).map(part).collect()
}

fn trainer(parts: usize) -> Trainer {
    let tape = Device::flex().autodiff();
    let config = AdamWConfig { weight_decay: 0.0, ..AdamWConfig::default() };
    let student = Training::averaged(OPTIMIZER_G, config, "student", 4.0, Home::Device);
    let role = DISCRIMINATOR;
    let training = DiscriminatorTraining { role, optimizer: OPTIMIZER_D, config, file: "discriminator" };
    let mut networks = NetworkSet::default()
        .with(STUDENT, Linear::on(&tape, [0.5, -0.2, 0.05]), Change::Trained(student))
        .with(DISCRIMINATOR, Linear::on(&tape, [0.7, 0.3, 0.05]), Change::Trained(training.of_denoiser()))
        .with(HEADS, LinearHead::on(&tape, [0.8, -0.1]), Change::Trained(training.of_heads()));
    networks.start();
    Trainer {
        networks,
        diffusion: Process {
            schedule: NoiseSchedule::from_alphas_cumprod(&[0.9, 0.64, 0.36, 0.0]),
            prediction: Prediction::X0,
            sizes: None,
        },
        timesteps: vec![1, 2, 3],
        end: End { last_timestep: 3, terminal: Terminal::Schedule },
        reconstruction: 0.5,
        blocks: vec!["all of it".to_owned()],
        replicas: Replicas::new(parts, 1).expect("threads"),
    }
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
const OF_STUDENT: ([f64; 5], [f64; 3]) = (
    [
        0.659_147_423_516_372_5,
        0.136_120_634_920_634_92,
        0.120_426_999_099_270_32,
        0.143_003_529_936_152_45,
        0.097_870_158_938_281_2,
    ],
    [0.509_999_998_976_760_1, -0.190_000_019_016_331_5, 0.05],
);
const OF_DISCRIMINATOR: ([f64; 3], [f64; 3], [f64; 2]) = (
    [0.632_494_335_478_411_2, 0.743_247_423_516_372_4, 0.064_829_831_504_422_34],
    [0.680_000_008_861_564_2, 0.319_999_992_691_996_47, 0.05],
    [0.780_000_021_084_834_8, -0.119_999_996_256_670_74],
);

#[test]
fn a_step_of_linear_models_by_hand() {
    for parts in [1, 2] {
        let mut trainer = trainer(parts);
        let report = trainer.step(inputs(parts), 0.01, 0.02);
        let names =
            ["loss_adv", "loss_reconstruction", "grad_norm_adv", "grad_norm_reconstruction", "grad_norm_g"];
        close(&figures(&report, names), &OF_STUDENT.0);
        close(&values(&trainer.networks, STUDENT), &OF_STUDENT.1);
        close(&figures(&report, ["loss_d_real", "loss_d_fake", "grad_norm_d"]), &OF_DISCRIMINATOR.0);
        close(&values(&trainer.networks, DISCRIMINATOR), &OF_DISCRIMINATOR.1);
        close(&values(&trainer.networks, HEADS), &OF_DISCRIMINATOR.2);
    }
}

#[test]
fn without_reconstruction_the_discriminator_alone_moves_the_student() {
    let mut trainer = Trainer { reconstruction: 0.0, ..trainer(1) };
    let report = trainer.step(inputs(1), 0.01, 0.02);
    assert!(report.get("loss_reconstruction").is_none());
    close(&figures(&report, ["loss_adv", "grad_norm_adv"]), &[OF_STUDENT.0[0], OF_STUDENT.0[2]]);
}
