//! What one training step holds and computes.
//!
//! Memory is that of the fullest moment. The student's tape lives from its forward pass to its backward pass; between them
//! lie the heads' update, under the tapes of decoder, feature network and heads, and the distillation loss, under a second
//! tape of the decoder. A pass without a tape needs a few times its widest layer.

use add_train::ema::Home;

use super::{
    Costed, Habits,
    cost::{Cost, Kernels},
    measures::{Average, Decoder, Measures, Tape, Trained, Types},
};
use crate::{
    outline::{Keeps, Role},
    recipe::Dtype,
};

/// Bytes of a trained value, a gradient or a moment.
const F32: f64 = 4.0;
/// Outputs of a layer's size that a pass without a tape holds at once: the layer's input, output, and one on the way.
const AT_ONCE: f64 = 3.0;
/// Passes of the heads whose tapes live together: fakes, reals, and the reals' tangent with its primal values.
const HEAD_TAPES: f64 = 4.0;

/// Bytes that a network holds all the time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Held {
    /// Whose.
    pub role: Role,
    /// Values of its parameters and buffers.
    pub parameters: f64,
    /// What they are held in.
    pub dtype: Dtype,
    /// Bytes of its values.
    pub values: f64,
    /// Bytes of the gradients of those that are trained.
    pub gradients: f64,
    /// Bytes of the optimiser's two moments.
    pub moments: f64,
    /// Bytes of the running average on the device.
    pub average: f64,
}

/// Arithmetic of a step for one sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    /// Of what.
    pub name: &'static str,
    /// Passes, a backward pass of a trained network counting as two and of a frozen one as one.
    pub passes: f64,
    /// Floating-point operations of all of them.
    pub flops: f64,
}

/// What a recipe's step needs.
#[derive(Debug, Clone)]
pub struct Plan {
    networks: Vec<Costed>,
    habits: Habits,
}

impl Plan {
    pub(super) fn new(networks: Vec<Costed>, habits: Habits) -> Self {
        Self { networks, habits }
    }

    /// The networks with what each holds all the time.
    pub fn held(&self, measures: &Measures) -> Vec<Held> {
        let of = |network: &Costed| {
            let base = dtype(network, measures.frozen);
            let dtype = if network.trained { Dtype::F32 } else { base };
            let trained = if network.trained { trained(network, measures) } else { 0.0 };
            let on_device = network.averaged
                && measures.average == Average::AsStated
                && self.habits.average == Home::Device;
            Held {
                role: network.role,
                parameters: network.parameters,
                dtype,
                values: match network {
                    Costed { shared: true, .. } => 0.0,
                    // Adapters lie beside what stays as it is.
                    Costed { trained: true, .. } if trained < network.parameters => {
                        base.bytes() as f64 * network.parameters + F32 * trained
                    }
                    Costed { .. } => dtype.bytes() as f64 * network.parameters,
                },
                gradients: F32 * trained,
                moments: 2.0 * F32 * trained,
                average: if on_device { F32 * trained } else { 0.0 },
            }
        };
        self.networks.iter().map(of).collect()
    }

    /// Name and bytes for one sample of each tape of a step.
    pub fn tapes(&self, measures: &Measures) -> Vec<(&'static str, f64)> {
        let mut tapes =
            vec![(self.main().map_or("", |network| network.role.name()), self.main_tape(measures))];
        if self.habits.adversarial {
            tapes.extend([
                ("decoder for the heads", self.tape(Role::Codec, measures)),
                ("feature network", self.tape(Role::Features, measures)),
                ("heads, one pass", self.tape(Role::Heads, measures)),
            ]);
        }
        if self.habits.distills {
            tapes.push(("decoder for the distance", self.distance(measures)));
        }
        tapes
    }

    /// Bytes of the fullest moment with `batch` samples.
    pub fn peak(&self, measures: &Measures, batch: usize) -> f64 {
        let held = self.held(measures);
        let always: f64 = held.iter().map(|h| h.values + h.moments + h.average).sum();
        let (b, parts) = (batch as f64, self.habits.parts);
        let widest = |network: &Costed| {
            let dtype = match self.habits.kernels {
                Kernels::Fused => Dtype::F32,
                Kernels::Pure => dtype(network, measures.tapes),
            };
            AT_ONCE * dtype.bytes() as f64 * network.cost.widest
        };
        let wide = |role: Role| self.find(role).map_or(0.0, widest);
        let student = self.main_tape(measures);
        let student_wide = self.main().map_or(0.0, widest);
        let mut moments = vec![b * (student + student_wide)];
        if self.habits.adversarial {
            let heads = HEAD_TAPES * self.tape(Role::Heads, measures);
            // The heads read features in f32.
            let looked = self.tape(Role::Codec, measures)
                + self.tape(Role::Features, measures)
                + F32 * self.habits.hooked;
            let gradients =
                parts * held.iter().filter(|h| h.role == Role::Heads).map(|h| h.gradients).sum::<f64>();
            moments.push(b * (student + looked + heads + wide(Role::Codec)) + gradients);
        }
        if self.habits.distills {
            moments.push(b * (student + self.habits.guidance_copies * wide(Role::Teacher)));
            moments.push(b * (student + self.distance(measures) + wide(self.decoder())));
        }
        moments.push(self.backward(measures, b) + b * student_wide);
        always + moments.into_iter().fold(0.0, f64::max)
    }

    /// The largest batch whose [`peak`](Self::peak) fits into `bytes`; 0 where not even one sample does.
    pub fn largest_batch(&self, measures: &Measures, bytes: f64) -> usize {
        let fits = |batch: usize| self.peak(measures, batch) <= bytes;
        let mut high = 1;
        while fits(high) && high < 1 << 20 {
            high *= 2;
        }
        let mut low = high / 2;
        while low + 1 < high {
            let middle = usize::midpoint(low, high);
            if fits(middle) { low = middle } else { high = middle }
        }
        low
    }

    /// Arithmetic of a step for one sample.
    pub fn work(&self, measures: &Measures) -> Vec<Work> {
        let Habits { adversarial, embeds_pictures, .. } = self.habits;
        let of = |condition: bool, passes: f64| if condition { passes } else { 0.0 };
        let again = |role: Role| of(self.find(role).is_some_and(|network| by_blocks(network, measures)), 1.0);
        let main = self.main().map_or(Role::Denoiser, |network| network.role);
        let decoded = self.decoded(measures);
        let codec = self.networks.iter().find(|network| network.role == Role::Codec);
        let encoder = codec.map_or(0.0, |network| network.encoder.flops);
        let own_encoder = self.networks.iter().any(|network| network.role == Role::ImageEncoder);
        let text_trained = self.networks.iter().any(|network| network.role == Role::Text && network.trained);
        let teacher = self.habits.teacher_passes * self.habits.guidance_copies;
        let work = |name, passes, flops: f64| Work { name, passes, flops: passes * flops };
        let all = [
            work(
                main.name(),
                // The gradient by values that stay as they are is not computed.
                of(self.main().is_some_and(|network| network.trained), 1.0) + 2.0 + again(main),
                self.cost(main).flops,
            ),
            work("adapters", 3.0 + again(Role::Adapters), self.cost(Role::Adapters).flops),
            work("teacher", teacher, self.cost(Role::Teacher).flops),
            work("encoder", 1.0, encoder),
            // Fakes and their gradient; student and gradient, target.
            work(
                "decoder for the heads",
                of(adversarial, 2.0 + again(Role::Codec)),
                self.cost(Role::Codec).flops,
            ),
            work(
                "decoder for the distance",
                decoded * (3.0 + again(self.decoder())),
                self.cost(self.decoder()).flops,
            ),
            work(
                "feature network",
                of(adversarial, 3.0 + again(Role::Features))
                    + of(adversarial && embeds_pictures && !own_encoder, 1.0),
                self.cost(Role::Features).flops,
            ),
            work(
                "image encoder",
                of(adversarial && embeds_pictures, 1.0),
                self.cost(Role::ImageEncoder).flops,
            ),
            // Fakes 1 + 2; reals for R1 1 + 1; tangents and values 2 + 4; the student's turn 1 + 1.
            work("heads", of(adversarial, 13.0), self.cost(Role::Heads).flops),
            work("text encoder", if text_trained { 3.0 } else { 1.0 }, self.cost(Role::Text).flops),
        ];
        all.into_iter().filter(|work| work.flops > 0.0).collect()
    }

    /// Floating-point operations of one forward pass of the trained network on one sample.
    pub fn forward_flops(&self) -> f64 {
        self.main().map_or(0.0, |network| network.cost.flops)
    }

    /// Bytes of all gradients that the GPUs add up.
    pub fn gradient_bytes(&self, measures: &Measures) -> f64 {
        self.held(measures).iter().map(|held| held.gradients).sum()
    }

    /// The student, or the denoiser in pretraining.
    fn main(&self) -> Option<&Costed> {
        self.networks.iter().find(|network| matches!(network.role, Role::Student | Role::Denoiser))
    }

    fn find(&self, role: Role) -> Option<&Costed> {
        self.networks.iter().find(|network| network.role == role)
    }

    fn cost(&self, role: Role) -> Cost {
        self.find(role).map_or_else(Cost::default, |network| network.cost)
    }

    /// Bytes on a network's tape for one sample.
    fn tape(&self, role: Role, measures: &Measures) -> f64 {
        self.find(role).map_or(0.0, |network| tape(network, measures))
    }

    /// Bytes on the tape of what is trained, beside what stays as it is.
    fn main_tape(&self, measures: &Measures) -> f64 {
        self.main().map_or(0.0, |network| tape(network, measures)) + self.tape(Role::Adapters, measures)
    }

    /// What decodes for the distance.
    fn decoder(&self) -> Role {
        self.find(Role::DistillationCodec).map_or(Role::Codec, |network| network.role)
    }

    /// Part of a picture that is decoded for the distance.
    fn decoded(&self, measures: &Measures) -> f64 {
        match measures.decoder {
            Decoder::AsStated => self.habits.decoded,
            Decoder::Crop => self.habits.decoded.min(0.25),
        }
    }

    /// Bytes on the tape of the decoder for the distance.
    fn distance(&self, measures: &Measures) -> f64 {
        self.decoded(measures) * self.tape(self.decoder(), measures)
    }

    /// The fullest moment of the student's backward pass: the tape goes while the gradients come.
    fn backward(&self, measures: &Measures, batch: f64) -> f64 {
        let mut fullest: f64 = 0.0;
        for network in self.networks.iter().filter(|network| network.trained && network.role != Role::Heads) {
            let tape = batch * tape(network, measures);
            let gradients = F32 * self.habits.parts * trained(network, measures);
            let (all_kept, all): (f64, f64) =
                network.profile.iter().fold((0.0, 0.0), |(k, p), layer| (k + layer.0, p + layer.1));
            let (mut left, mut made) = (1.0, 0.0);
            for (kept, parameters) in network.profile.iter().rev() {
                fullest = fullest.max(tape * left + gradients * made);
                left -= kept / all_kept.max(1.0);
                made += parameters / all.max(1.0);
            }
            fullest = fullest.max(gradients);
        }
        fullest
    }
}

/// Values that are trained of a network.
fn trained(network: &Costed, measures: &Measures) -> f64 {
    match (measures.trained, network.role) {
        (Trained::Adapters(rank), Role::Student | Role::Denoiser) => rank as f64 * network.adapters,
        _ => network.parameters,
    }
}

/// Whether a network's tape keeps the inputs of its blocks alone.
fn by_blocks(network: &Costed, measures: &Measures) -> bool {
    match (measures.tape, network.role) {
        // Heads have no blocks.
        (_, Role::Heads) | (Tape::AsStated, _) => network.keeps == Keeps::Blocks,
        (Tape::Blocks, _) => true,
    }
}

/// Bytes on a network's tape for one sample.
fn tape(network: &Costed, measures: &Measures) -> f64 {
    let kept = if by_blocks(network, measures) { network.cost.kept_by_blocks } else { network.cost.kept };
    dtype(network, measures.tapes).bytes() as f64 * kept
}

/// What a network computes in.
fn dtype(network: &Costed, types: Types) -> Dtype {
    match (types, network.role) {
        (Types::AsStated, _) | (_, Role::Heads) => network.dtype,
        (Types::Bf16, _) => Dtype::BF16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(role: Role, parameters: f64, trained: bool, cost: Cost) -> Costed {
        Costed {
            role,
            parameters,
            trained,
            averaged: role == Role::Student,
            shared: false,
            keeps: Keeps::Layers,
            dtype: Dtype::F32,
            cost,
            encoder: Cost::default(),
            // Two layers: all of the tape is the first's, all of the parameters are the second's.
            profile: vec![(cost.kept, 0.0), (0.0, parameters)],
            adapters: 10.0,
        }
    }

    /// A student of 1,000 parameters that keeps 600 values and a teacher of the same size.
    fn distillation() -> Plan {
        let cost = Cost { flops: 50.0, kept: 600.0, widest: 10.0, kept_by_blocks: 100.0 };
        let habits = Habits {
            parts: 1.0,
            adversarial: false,
            distills: true,
            average: Home::Device,
            kernels: Kernels::Pure,
            decoded: 0.0,
            embeds_pictures: false,
            teacher_passes: 1.0,
            guidance_copies: 2.0,
            hooked: 0.0,
        };
        let student = network(Role::Student, 1000.0, true, cost);
        let teacher = network(Role::Teacher, 1000.0, false, cost);
        Plan::new(vec![student, teacher], habits)
    }

    #[test]
    fn the_fullest_moment_is_counted_by_hand() {
        // Student: values, two moments, average: 16,000 bytes; teacher: 4,000.
        let always = 20_000.0;
        // Backward: gradients of the last layer, 4,000, come while the tape of the first, 2,400, waits; a pass is
        // 3 x 4 x 10 bytes wide.
        let got = distillation().peak(&Measures::default(), 1);
        assert!((got - (always + 4_000.0 + 2_400.0 + 120.0)).abs() < 1e-6, "{got}");
    }

    #[test]
    fn every_measure_needs_less_than_the_one_before() {
        let plan = distillation();
        let peaks: Vec<f64> =
            super::super::ladder().into_iter().map(|(_, measures)| plan.peak(&measures, 4)).collect();
        // Nothing is decoded here, so a crop changes nothing.
        let less = |pair: &[f64]| pair[1] <= pair[0];
        assert!(peaks.windows(2).all(less) && peaks[6] < 0.6 * peaks[0], "{peaks:?}");
    }

    #[test]
    fn the_largest_batch_fits_and_the_next_does_not() {
        let (plan, measures) = (distillation(), Measures::default());
        let batch = plan.largest_batch(&measures, 100_000.0);
        assert!(plan.peak(&measures, batch) <= 100_000.0 && plan.peak(&measures, batch + 1) > 100_000.0);
        assert_eq!(plan.largest_batch(&measures, 20_000.0), 0, "not even the networks fit");
    }

    #[test]
    fn a_step_is_three_students_and_two_teachers() {
        let work = distillation().work(&Measures::default());
        let total: f64 = work.iter().map(|work| work.flops).sum();
        assert!((total - 250.0).abs() < 1e-9, "{work:?}");
        let again = distillation().work(&Measures { tape: Tape::Blocks, ..Measures::default() });
        assert!((again.iter().map(|work| work.flops).sum::<f64>() - 300.0).abs() < 1e-9, "{again:?}");
    }
}
