//! Steps of linear models, against numbers that `reference.py` beside this file works out in float64.

use add_loss::{SnrWeighting, StepTimes};
use add_plugin::{Latents, NoiseSchedule, Prediction};
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

use super::{
    OPTIMIZER,
    step::{Inputs, Trainer},
};
use crate::linear::{Linear, captions, pictures, values};

/// Both samples, or each in a part of its own.
fn inputs(parts: usize, scales: Option<[f64; 2]>) -> Vec<Inputs> {
    let part = |rows: &[usize]| {
        let range = rows[0]..rows[0] + rows.len();
        let rows_of = |x: [[f32; 2]; 2]| -> Tensor<4> { pictures(x).slice([range.clone()]) };
        let places: Vec<usize> = rows.iter().map(|&i| [1, 0][i]).collect();
        Inputs {
            x: Latents(rows_of([[0.5, -0.25], [1.0, 0.75]])),
            captions: captions(&[0.5, -0.5]).slice(range.clone()),
            scales: scales.map(|scales| scales[range.clone()].to_vec()),
            eps: rows_of([[-1.0, 0.5], [0.25, 2.0]]),
            // Two sampling steps on a schedule of four timesteps.
            times: StepTimes::at(4, 2, &places),
        }
    };
    [0, 1].chunks(2 / parts).map(part).collect()
}

fn trainer(parts: usize) -> Trainer {
    let device = Device::flex();
    let config = AdamWConfig { weight_decay: 0.0, ..AdamWConfig::default() };
    let training = Training::averaged(OPTIMIZER, config, "student", 4.0, Home::Device);
    let student = Linear::on(&device.clone().autodiff(), [0.5, -0.2, 0.05]);
    let mut networks = NetworkSet::default().with(STUDENT, student, Change::Trained(training)).with(
        TEACHER,
        Linear::on(&device, [0.7, 0.3, 0.05]),
        Change::Replaced("teacher"),
    );
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
        original: 0.5,
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

/// What `reference.py` prints: the figures, then the student.
const GUIDED: ([f64; 4], [f64; 3]) = (
    [3.985_408_247_431_964, 3.783_767_622_431_964, 0.403_281_25, 14.147_489_549_215_143],
    [0.490_000_000_271_035_5, -0.190_000_000_107_590_86, 0.05],
);
const PLAIN: ([f64; 4], [f64; 3]) = (
    [0.267_303_478_126_408_2, 0.065_662_853_126_408_15, 0.403_281_25, 0.657_162_486_779_341_7],
    [0.490_000_000_172_334_1, -0.190_000_000_324_185, 0.05],
);

#[test]
fn a_guided_step_and_a_plain_one_of_linear_models_by_hand() {
    for parts in [1, 2] {
        let mut guided = trainer(parts);
        let report = guided.step(inputs(parts, Some([3.0, 5.0])), 0.01);
        close(&figures(&report, ["loss", "loss_guided", "loss_original", "grad_norm"]), &GUIDED.0);
        close(&values(&guided.networks, STUDENT), &GUIDED.1);
        let mut plain = trainer(parts);
        let report = plain.step(inputs(parts, None), 0.01);
        close(&figures(&report, ["loss", "loss_step", "loss_original", "grad_norm"]), &PLAIN.0);
        close(&values(&plain.networks, STUDENT), &PLAIN.1);
    }
}

#[test]
fn at_a_scale_of_one_a_guided_step_is_a_plain_one() {
    let mut trainer = trainer(1);
    let report = trainer.step(inputs(1, Some([1.0, 1.0])), 0.01);
    close(&figures(&report, ["loss", "loss_guided", "loss_original", "grad_norm"]), &PLAIN.0);
    close(&values(&trainer.networks, STUDENT), &PLAIN.1);
}
