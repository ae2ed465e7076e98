//! A recorded run through `AddTrainer::step`.

use std::collections::BTreeMap;

use add_loss::{R1Route, Reduction, resize};
use add_plugin::{Conditioning, NoiseSchedule, Pixels, Prediction};
use add_recipe::slot::{CODEC, HEADS, STUDENT};
use add_train::{distance::Space, process::Process, replicas::Replicas, report::StepReport};
use methods::add::{
    AddInputs, AddMethod, AddOptions, AddTrainer, ImageCondition, PictureView, Prompts, StudentInput,
    TeacherInput, Terminal,
};

use super::{
    networks::{heads_name, named_values, networks, student_name},
    recording::Recording,
};
use crate::{ParityError, tables::Betas};

/// A recorded run at some step.
pub(super) struct Run<'a> {
    recording: &'a Recording<'a>,
    pub(super) trainer: AddTrainer<'a>,
}

/// All parameters of `student`, `ema` and `heads` by the reference's names.
pub(super) type Values = BTreeMap<&'static str, BTreeMap<String, Vec<f64>>>;

impl<'a> Run<'a> {
    /// Before the first step.
    pub(super) fn new(recording: &'a Recording<'a>, parts: usize) -> Result<Self, ParityError> {
        Ok(Self { trainer: trainer(recording, parts)?, recording })
    }

    /// One step of training.
    pub(super) fn step(&mut self, parts: Vec<AddInputs<'_>>) -> StepReport {
        let hyper = &self.recording.config.hyper;
        self.trainer.step(parts, hyper.opt_g.lr, hyper.opt_d.lr)
    }

    /// What `step` is given.
    pub(super) fn inputs(&self, step: usize) -> Result<AddInputs<'static>, ParityError> {
        let recording = self.recording;
        let config = &recording.config;
        let size = |side: usize| -> PictureView<'static> { Box::new(move |x| resize(x, [side; 2])) };
        let student = |phase: &str| -> Result<StudentInput, ParityError> {
            Ok(StudentInput {
                s: recording.timesteps(&format!("in.s_{phase}"), step)?,
                eps: recording.input(&format!("in.eps_{phase}"), step)?,
            })
        };
        let captions =
            Conditioning::new(recording.input("in.ctx", step)?, recording.input("in.c_text", step)?);
        let pixels = Pixels(recording.input("in.x0", step)?);
        Ok(AddInputs {
            x_0: self.trainer.networks.codec(CODEC).encode(pixels.clone()),
            pixels,
            prompts: Prompts {
                null: recording.other_prompt("in.ctx_uncond", &captions)?,
                negative: recording.other_prompt("in.ctx_neg", &captions)?,
                captions,
            },
            c_text: None,
            generator: student("g")?,
            simulation: None,
            discriminator: Some(student("d")?),
            teacher: TeacherInput {
                guidance: vec![config.hyper.cfg; recording.batch],
                eps: recording.input("in.eps_t", step)?,
                t: recording.timesteps("in.t_g", step)?,
            },
            teacher_prompts: None,
            levels: None,
            draws: Vec::new(),
            real_view: size(config.feat.img_size),
            fake_view: size(config.feat.img_size),
            embedding_view: size(config.cimg.img_size),
        })
    }

    /// All parameters as they are now.
    pub(super) fn values(&self) -> Values {
        let networks = &self.trainer.networks;
        let averaged = networks.averaged_denoiser(STUDENT);
        BTreeMap::from([
            ("student", named_values(networks.denoiser(STUDENT), student_name)),
            ("ema", named_values(&*averaged, student_name)),
            ("heads", named_values(networks.heads(HEADS), heads_name)),
        ])
    }
}

fn trainer<'a>(recording: &'a Recording<'a>, parts: usize) -> Result<AddTrainer<'a>, ParityError> {
    let hyper = &recording.config.hyper;
    let batch = (parts * recording.batch) as f64;
    // After `half_life` images an old value counts half: decay^(half_life / batch) = 1/2.
    let half_life = batch * 0.5_f64.ln() / hyper.ema_decay.ln();
    Ok(AddTrainer {
        networks: networks(recording, half_life)?,
        method: AddMethod {
            // The student's last timestep holds no signal.
            student_diffusion: diffusion(&Betas::STABLE_DIFFUSION.with_zero_terminal_snr()?),
            teacher_diffusion: leaky()?,
            weighting: &*recording.weighting,
            critic: None,
            options: AddOptions {
                adversarial_weight: 1.0,
                lambda: hyper.lam,
                distance: hyper.distance(),
                space: Space::Pixel,
                heads: Reduction::Sum,
                r1: R1Route::Tangent,
                gamma: hyper.gamma,
                text_condition: true,
                normalize_condition: false,
                image_condition: ImageCondition::Always,
                teacher_steps: hyper.teacher_steps.get(),
                last_timestep: Betas::STABLE_DIFFUSION.steps - 1,
                terminal: Terminal::Schedule,
            },
        },
        replicas: Replicas::new(parts, 1)?,
    })
}

/// Student and teacher predict `v`.
fn diffusion(alphas_cumprod: &[f64]) -> Process {
    Process {
        schedule: NoiseSchedule::from_alphas_cumprod(alphas_cumprod),
        prediction: Prediction::V,
        sizes: None,
    }
}

/// The process that leaves signal at its last timestep: the teacher's.
pub(super) fn leaky() -> Result<Process, ParityError> {
    Ok(diffusion(&Betas::STABLE_DIFFUSION.alphas_cumprod()?))
}
