//! Steps of linear models, against numbers that `reference.py` beside this file works out in float64.

use add_plugin::{Latents, NoiseSchedule, Prediction, Timesteps};
use add_recipe::slot::{HEADS, STUDENT, TEACHER};
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
    Dmd2, FAKES, OPTIMIZER_G,
    step::{Inputs, Options, Trainer},
};
use crate::{
    critic::{CriticLevels, Level},
    linear::{Linear, LinearHead, captions, pictures, values},
    student::{End, Simulation, StudentInput, Terminal},
};

/// Both samples, or each in a part of its own.
fn inputs(parts: usize) -> Vec<Inputs> {
    let part = |rows: &[usize]| {
        let range = rows[0]..rows[0] + rows.len();
        let rows_of = |x: [[f32; 2]; 2]| -> Tensor<4> { pictures(x).slice([range.clone()]) };
        let level =
            |t: [usize; 2], eps| Level { t: Timesteps::whole(rows.iter().map(|&i| t[i])), eps: rows_of(eps) };
        let Level { t: s, eps } = level([3, 3], [[-1.0, 0.5], [0.25, 2.0]]);
        Inputs {
            x_0: Latents(rows_of([[0.5, -0.25], [1.0, 0.75]])),
            captions: captions(&[0.5, -0.5]).slice(range.clone()),
            student: StudentInput { s, eps },
            simulation: None,
            matching: level([1, 2], [[0.5, 0.25], [-1.5, 1.0]]),
            guidance: [3.0, 2.0][range.clone()].to_vec(),
            denoising: level([2, 3], [[-0.5, 1.0], [0.75, -0.25]]),
            levels: Some(CriticLevels {
                fake: level([0, 1], [[1.0, -1.0], [0.5, 0.5]]),
                real: level([1, 2], [[-0.75, 0.25], [1.25, -0.5]]),
            }),
        }
    };
    [0, 1].chunks(2 / parts).map(part).collect()
}

fn trainer(parts: usize) -> Trainer {
    let (plain, tape) = (Device::flex(), Device::flex().autodiff());
    let config = AdamWConfig { weight_decay: 0.0, ..AdamWConfig::default() };
    let method = Dmd2 { generator: config, fakes: config, ..Dmd2::default() };
    let student = Training::averaged(OPTIMIZER_G, config, "student", 4.0, Home::Device);
    let training = method.fakes();
    let mut networks = NetworkSet::default()
        .with(STUDENT, Linear::on(&tape, [0.5, -0.2, 0.05]), Change::Trained(student))
        .with(TEACHER, Linear::on(&plain, [0.7, 0.3, 0.05]), Change::Frozen)
        .with(FAKES, Linear::on(&tape, [0.7, 0.3, 0.05]), Change::Trained(training.of_denoiser()))
        .with(HEADS, LinearHead::on(&tape, [0.8, -0.1]), Change::Trained(training.of_heads()));
    networks.start();
    let diffusion = Process {
        schedule: NoiseSchedule::from_alphas_cumprod(&[0.9, 0.64, 0.36, 0.0]),
        prediction: Prediction::X0,
        sizes: None,
    };
    Trainer {
        networks,
        teacher_diffusion: diffusion.clone(),
        diffusion,
        null: captions(&[0.25]),
        blocks: vec!["all of it".to_owned()],
        options: Options {
            end: End { last_timestep: 3, terminal: Terminal::Schedule },
            weight: 0.5,
            discriminator_weight: 0.25,
        },
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

const OF_STUDENT: [&str; 5] = ["loss_match", "loss_adv", "grad_norm_match", "grad_norm_adv", "grad_norm_g"];
const OF_FAKES: [&str; 4] = ["loss_fakes", "loss_d_real", "loss_d_fake", "grad_norm_d"];

/// What `reference.py` prints: of each step the figures, then the denoiser of fakes and the head.
const FIRST: ([f64; 4], [f64; 3], [f64; 2]) = (
    [0.622_194_5, 0.649_818_011_891_309_3, 0.736_211_040_586_314, 0.683_316_889_035_252_6],
    [0.680_000_000_453_505_4, 0.280_000_000_383_313_6, 0.05],
    [0.780_000_025_011_162_8, -0.119_999_982_409_825_62],
);
const SECOND: ([f64; 4], [f64; 3], [f64; 2]) = (
    [0.603_301_570_385_891_4, 0.663_554_615_903_938_6, 0.720_794_614_733_933_5, 0.664_434_107_802_743_1],
    [0.660_029_543_088_554_1, 0.260_008_475_924_184_8, 0.05],
    [0.760_205_114_628_547_8, -0.139_443_360_877_616_63],
);
const STUDENT_MOVES: ([f64; 5], [f64; 3]) = (
    [
        0.037_616_343_601_588_67,
        0.677_286_524_191_803_5,
        0.137_142_888_261_821_06,
        0.058_062_742_998_263_59,
        0.197_841_518_108_214_88,
    ],
    [0.490_000_000_749_964_25, -0.190_000_000_684_196_9, 0.05],
);

#[test]
fn two_steps_of_linear_models_by_hand() {
    for parts in [1, 2] {
        let mut trainer = trainer(parts);
        let report = trainer.step(inputs(parts), None, 0.02);
        close(&figures(&report, OF_FAKES), &FIRST.0);
        assert!(report.get("loss_match").is_none(), "it is not the student's turn");
        close(&values(&trainer.networks, STUDENT), &[0.5, -0.2, 0.05]);
        close(&values(&trainer.networks, FAKES), &FIRST.1);
        close(&values(&trainer.networks, HEADS), &FIRST.2);

        let report = trainer.step(inputs(parts), Some(0.01), 0.02);
        close(&figures(&report, OF_STUDENT), &STUDENT_MOVES.0);
        close(&figures(&report, OF_FAKES), &SECOND.0);
        close(&values(&trainer.networks, STUDENT), &STUDENT_MOVES.1);
        close(&values(&trainer.networks, FAKES), &SECOND.1);
        close(&values(&trainer.networks, HEADS), &SECOND.2);
        close(&values(&trainer.networks, TEACHER), &[0.7, 0.3, 0.05]);
    }
}

#[test]
fn without_heads_the_scores_alone_move_the_student() {
    let mut trainer = trainer(1);
    let without = || {
        let mut all = inputs(1);
        all[0].levels = None;
        all
    };
    trainer.blocks = Vec::new();
    let report = trainer.step(without(), Some(0.01), 0.02);
    assert!(report.get("loss_adv").is_none() && report.get("loss_d").is_none());
    close(&figures(&report, ["loss_fakes"]), &[FIRST.0[0]]);
    close(&values(&trainer.networks, HEADS), &[0.8, -0.1]);
}

#[test]
fn a_simulated_sample_begins_at_the_students_own_picture() {
    let mut trainer = trainer(1);
    // Both at timestep 1; the second is simulated, over 3 alone: there its picture is 0.5 eps - 0.2 c.
    let at_one = |simulation| {
        let mut all = inputs(1);
        all[0].student.s = Timesteps::whole([1, 1]);
        all[0].simulation = simulation;
        all
    };
    let path = vec![(3.0, pictures([[9.0, 9.0], [-0.4, 0.6]])), (1.0, pictures([[0.0, 0.0], [0.0, 0.0]]))];
    let simulation = Simulation { rows: vec![false, true], path };
    let simulated = trainer.step(at_one(Some(simulation)), None, 0.02);
    // The same with that picture in the real one's place; the heads' real side alone still sees the real one.
    let mut in_its_place = at_one(None);
    in_its_place[0].x_0 = Latents(pictures([[0.5, -0.25], [-0.1, 0.4]]));
    let placed = self::trainer(1).step(in_its_place, None, 0.02);
    let names = ["loss_fakes", "loss_d_fake"];
    close(&figures(&simulated, names), &figures(&placed, names));
    let plain = self::trainer(1).step(at_one(None), None, 0.02);
    assert!((figures(&plain, names)[0] - figures(&simulated, names)[0]).abs() > 1e-3);
}
