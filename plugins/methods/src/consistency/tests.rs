//! Steps of linear models, against numbers that `reference.py` beside this file works out in float64.

use add_loss::ConsistencyDistance;
use add_plugin::{Latents, NoiseSchedule, Prediction, Timesteps};
use add_recipe::slot::{STUDENT, TEACHER};
use add_train::{
    ema::Home,
    networks::{Averaging, Change, NetworkSet, Training},
    optimizer::AdamWConfig,
    process::Process,
    replicas::Replicas,
    report::StepReport,
};
use burn::tensor::Device;

use super::{ConsistencyInputs, ConsistencyOptions, ConsistencyTrainer, OPTIMIZER, TARGET};
use crate::linear::{Linear, captions, pictures};

/// What the network begins as; it predicts the noise.
const NETWORK: [f32; 3] = [0.3, -0.2, 0.05];

fn inputs() -> ConsistencyInputs {
    ConsistencyInputs {
        x_0: Latents(pictures([[0.5, -0.25], [1.0, 0.75]])),
        captions: captions(&[0.5, -0.5]),
        t: Timesteps::whole([2, 1]),
        eps: pictures([[-1.0, 0.5], [0.25, 2.0]]),
        guidance: vec![3.0, 5.0],
    }
}

/// The part of each sample by itself.
fn halves() -> Vec<ConsistencyInputs> {
    let half = |i: usize| {
        let ConsistencyInputs { x_0, captions, t, eps, guidance } = inputs();
        ConsistencyInputs {
            x_0: Latents(x_0.0.narrow(0, i, 1)),
            captions: captions.slice(i..i + 1),
            t: Timesteps(vec![t.0[i]]),
            eps: eps.narrow(0, i, 1),
            guidance: vec![guidance[i]],
        }
    };
    vec![half(0), half(1)]
}

fn trainer(replicas: usize, distance: ConsistencyDistance) -> ConsistencyTrainer {
    let device = Device::flex();
    let training = Training {
        optimizer: OPTIMIZER,
        config: AdamWConfig { weight_decay: 0.1, ..AdamWConfig::default() },
        file: "student",
        prefix: "",
        average: Some(Averaging { file: "ema", half_life: 4.0, home: Home::Device }),
    };
    let mut networks = NetworkSet::default()
        .with(STUDENT, Linear::on(&device.clone().autodiff(), NETWORK), Change::Trained(training))
        .with(TEACHER, Linear::on(&device, NETWORK), Change::Frozen)
        .with(TARGET, Linear::on(&device, NETWORK), Change::Follows(STUDENT));
    networks.start();
    let average = networks.average_mut(OPTIMIZER).expect("the student has one");
    *average = average.clone().constant();
    let diffusion = Process {
        schedule: NoiseSchedule::from_alphas_cumprod(&[0.9, 0.64, 0.36]),
        prediction: Prediction::Epsilon,
        sizes: None,
    };
    let options = ConsistencyOptions { skip: 1, timestep_scaling: 0.5, distance, target: TARGET };
    ConsistencyTrainer {
        networks,
        teacher_diffusion: diffusion.clone(),
        diffusion,
        null: captions(&[0.25]),
        options,
        replicas: Replicas::new(replicas, 1).expect("threads"),
    }
}

fn values(trainer: &ConsistencyTrainer, role: add_train::networks::Role) -> Vec<f64> {
    let mut all = Vec::new();
    trainer.networks.denoiser(role).for_each_parameter(&mut |_, _, value| {
        all = value.into_data().iter::<f64>().collect();
    });
    all
}

#[track_caller]
fn close(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    assert!(got.iter().zip(want).all(|(got, want)| (got - want).abs() < 2e-6), "{got:?}, expected {want:?}");
}

fn figures(report: &StepReport) -> [f64; 3] {
    ["loss", "gap", "grad_norm"].map(|name| report.get(name).expect("a figure"))
}

/// What `reference.py` prints: of each step loss, gap and norm of the gradient, then student and average.
const STEPS: [([f64; 3], [f64; 3], [f64; 3]); 2] = [
    (
        [0.145_993_315_802_576_82, 0.243_638_775_927_603_77, 0.524_699_751_231_596_3],
        [0.309_699_999_734_783_96, -0.209_799_999_714_927_85, 0.039_950_000_995_540_41],
        [0.302_841_064_144_810_5, -0.202_870_353_460_876_15, 0.047_056_423_442_511_85],
    ),
    (
        [0.141_358_331_565_622_75, 0.246_016_424_645_124_74, 0.494_720_656_402_105_05],
        [0.319_356_889_190_252_24, -0.219_532_225_512_618_56, 0.043_126_195_418_106_76],
        [0.307_678_437_303_729_8, -0.207_750_502_797_568_9, 0.045_905_286_305_773],
    ),
];

#[test]
fn two_steps_of_a_linear_model_by_hand() {
    let mut trainer = trainer(1, ConsistencyDistance::Huber(0.1));
    for (told, student, average) in STEPS {
        let report = trainer.step(vec![inputs()], 0.01);
        close(&figures(&report), &told);
        close(&values(&trainer, STUDENT), &student);
        close(&values(&trainer, TARGET), &average);
        close(&values(&trainer, TEACHER), &[0.3, -0.2, 0.05]);
    }
}

#[test]
fn a_batch_in_two_parts_takes_the_same_steps() {
    let mut trainer = trainer(2, ConsistencyDistance::Huber(0.1));
    for (told, student, average) in STEPS {
        let report = trainer.step(halves(), 0.01);
        close(&figures(&report), &told);
        close(&values(&trainer, STUDENT), &student);
        close(&values(&trainer, TARGET), &average);
    }
}

#[test]
fn a_target_that_is_the_student_itself_moves_with_it() {
    let mut trainer = trainer(1, ConsistencyDistance::Huber(0.1));
    trainer.options.target = STUDENT;
    close(&figures(&trainer.step(vec![inputs()], 0.01)), &STEPS[0].0);
    let second = figures(&trainer.step(vec![inputs()], 0.01));
    assert!((second[0] - STEPS[1].0[0]).abs() > 1e-4, "{second:?} is what the average gives");
}

#[test]
fn contrasts_are_standard_deviations() {
    let mut trainer = trainer(1, ConsistencyDistance::SquaredL2());
    let report = trainer.step(vec![inputs()], 0.01);
    // 0.5, -0.25, 1 and 0.75 about their mean of 0.5: 0, 0.5625, 0.25 and 0.0625, a mean of 0.21875.
    close(&[report.get("contrast_real").expect("a figure")], &[0.218_75_f64.sqrt()]);
    let [loss, gap, _] = figures(&report);
    assert!((loss - gap * gap).abs() < 1e-6, "{loss} {gap}");
}
