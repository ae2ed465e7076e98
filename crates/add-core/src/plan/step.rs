//! What one training step holds and computes.
//!
//! Memory is that of the fullest moment. The student's tape lives from its forward pass to its backward pass; between them
//! lie the heads' update, under the tapes of decoder, feature network and heads, and the distillation loss, under a second
//! tape of the decoder. A pass without a tape needs a few times its widest layer.

use add_recipe::{
    Dtype,
    passes::{Count, Tape},
    slot::ADAPTERS,
};
use add_train::{ema::Home, networks::Role, ranks::BUCKET};

use super::{
    Computation, Costed, Kind,
    cost::KernelKind,
    held::{Held, Work},
    measures::{Average, Measures, States},
    network::{dtype, passes, share, tape, trained},
    shares,
};

/// Bytes of a trained value, a gradient or a moment.
const F32: f64 = 4.0;
/// Copies of the gradients on their way between processors: the sum and a part, both padded, what is received, this rank's block
/// and the joined blocks.
const EXCHANGED: f64 = 7.0;
/// Outputs of a layer's size that a pass without a tape holds at once: the layer's input, output, and one on the way.
const AT_ONCE: f64 = 3.0;

/// What a recipe's step needs.
#[derive(Debug, Clone)]
pub struct Plan {
    networks: Vec<Costed>,
    computation: Computation,
    /// The share of each network's moments that one rank keeps where they are sharded.
    shares: Vec<f64>,
    ranks: usize,
}

impl Plan {
    pub(super) fn new(networks: Vec<Costed>, computation: Computation) -> Self {
        let shares = vec![1.0; networks.len()];
        Self { networks, computation, shares, ranks: 1 }
    }

    /// The same for each of `ranks` ranks: for the one that keeps most, where they share the optimisers' states.
    #[must_use]
    pub fn among(self, ranks: usize) -> Self {
        let ranks = ranks.max(1);
        Self { shares: shares::of_fullest(&self.networks, ranks), ranks, ..self }
    }

    /// The networks with what each holds all the time.
    pub fn held(&self, measures: &Measures) -> Vec<Held> {
        let sharded = self.are_sharded(measures);
        let of = |(network, share): (&Costed, &f64)| {
            let share = if sharded { *share } else { 1.0 };
            let of_average = if network.is_followed { 1.0 } else { share };
            let base = dtype(network, measures.frozen);
            let dtype = if network.trained { Dtype::F32 } else { base };
            let trained = if network.trained { trained(network, measures) } else { 0.0 };
            let on_device = network.average == Some(Home::Device) && measures.average == Average::AsStated;
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
                moments: 2.0 * F32 * trained * share,
                average: if on_device { F32 * trained * of_average } else { 0.0 },
            }
        };
        self.networks.iter().zip(&self.shares).map(of).collect()
    }

    /// Name and bytes for one sample of each tape of a step.
    pub fn tapes(&self, measures: &Measures) -> Vec<(&'static str, f64)> {
        let mut tapes: Vec<(&'static str, f64)> = Vec::new();
        for recorded in self.computation.passes.moments.iter().flat_map(|moment| &moment.tapes) {
            if !tapes.iter().any(|(name, _)| *name == recorded.name) {
                let one = Tape { copies: 1.0, ..recorded.clone() };
                tapes.push((recorded.name, self.recorded(&one, measures)));
            }
        }
        tapes
    }

    /// Bytes of the fullest moment with `batch` samples.
    pub fn peak(&self, measures: &Measures, batch: usize) -> f64 {
        let held = self.held(measures);
        let always: f64 = held.iter().map(|h| h.values + h.moments + h.average).sum();
        let (b, parts) = (batch as f64, self.parts());
        let gradients =
            |role: &Role| held.iter().filter(|h| h.role == *role).map(|h| h.gradients).sum::<f64>();
        let moments = self.computation.passes.moments.iter().map(|moment| {
            let tapes: f64 = moment.tapes.iter().map(|tape| self.recorded(tape, measures)).sum();
            let wide: f64 = moment.wide.iter().map(|(role, n)| n * self.widest(*role, measures)).sum();
            // Heads read features in f32.
            let hooked: f64 =
                moment.hooked.iter().map(|role| F32 * self.find(*role).map_or(0.0, |n| n.hooked)).sum();
            b * (tapes + wide + hooked) + parts * moment.gradients.iter().map(gradients).sum::<f64>()
        });
        let fullest = moments.fold(self.backward(measures, b), f64::max);
        always + fullest + self.exchanged(measures)
    }

    /// How many gradients of each value live together on a rank: of the parts side by side, and of the sum of those before.
    fn parts(&self) -> f64 {
        let Computation { replicas, accumulation, .. } = self.computation;
        let turns = accumulation.div_ceil(self.ranks);
        replicas as f64 + if turns > 1 { 1.0 } else { 0.0 }
    }

    /// Bytes in which ranks that are processors exchange gradients, some at a time; GPUs add theirs up where they lie.
    fn exchanged(&self, measures: &Measures) -> f64 {
        match self.computation.kernels {
            KernelKind::Fused if self.ranks > 1 => {
                let most = F32 * EXCHANGED * BUCKET as f64;
                most.min(EXCHANGED * self.gradient_bytes(measures))
            }
            KernelKind::Fused | KernelKind::Pure => 0.0,
        }
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
        let mut all = Vec::new();
        for pass in &self.computation.passes.work {
            all.extend(self.find(pass.role).map(|network| passes(pass, network, measures)));
            // What is trained beside values that stay is computed with them.
            if let (Count::ThereAndBack, Some(adapters)) = (pass.count, self.adapters_of(pass.role)) {
                all.push(Work { name: ADAPTERS.0, ..passes(pass, adapters, measures) });
            }
        }
        all.into_iter().filter(|work| work.flops > 0.0).collect()
    }

    /// Floating-point operations of one forward pass of the trained denoiser on one sample.
    pub fn forward_flops(&self) -> f64 {
        let main = self.computation.passes.work.iter().find(|pass| pass.count == Count::ThereAndBack);
        main.and_then(|pass| self.find(pass.role)).map_or(0.0, |network| network.cost.flops)
    }

    /// Bytes of the updated values that the GPUs send each other in a step: none where each updates all.
    pub fn spread_bytes(&self, measures: &Measures) -> f64 {
        if self.are_sharded(measures) { self.gradient_bytes(measures) } else { 0.0 }
    }

    /// Whether each rank keeps a share of the optimisers' states.
    fn are_sharded(&self, measures: &Measures) -> bool {
        measures.states == States::Sharded || !self.computation.states.are_replicated()
    }

    /// Bytes of all gradients that the GPUs add up.
    pub fn gradient_bytes(&self, measures: &Measures) -> f64 {
        self.held(measures).iter().map(|held| held.gradients).sum()
    }

    fn find(&self, role: Role) -> Option<&Costed> {
        self.networks.iter().find(|network| network.role == role)
    }

    /// The adapters beside the network of `role`: they follow it in the list.
    fn adapters_of(&self, role: Role) -> Option<&Costed> {
        let at = self.networks.iter().position(|network| network.role == role)?;
        self.networks.get(at + 1).filter(|network| network.role == ADAPTERS)
    }

    /// Bytes of a tape for one sample, with that of the adapters beside the network.
    fn recorded(&self, recorded: &Tape, measures: &Measures) -> f64 {
        let both = self.find(recorded.role).into_iter().chain(self.adapters_of(recorded.role));
        let bytes: f64 = both.map(|network| tape(network, measures)).sum();
        recorded.copies * share(recorded.share, measures) * bytes
    }

    /// Bytes of the widest layer of the network of `role` at work, for one sample.
    fn widest(&self, role: Role, measures: &Measures) -> f64 {
        self.find(role).map_or(0.0, |network| {
            let dtype = match self.computation.kernels {
                KernelKind::Fused => Dtype::F32,
                KernelKind::Pure => dtype(network, measures.tapes),
            };
            AT_ONCE * dtype.bytes() as f64 * network.cost.widest
        })
    }

    /// The fullest moment of the backward passes of the trained networks but heads: the tape goes while the gradients come.
    fn backward(&self, measures: &Measures, batch: f64) -> f64 {
        let mut fullest: f64 = 0.0;
        for network in self.networks.iter().filter(|network| network.trained && network.kind != Kind::Heads) {
            let tape = batch * tape(network, measures);
            let gradients = F32 * self.parts() * trained(network, measures);
            let (all_kept, all): (f64, f64) =
                network.profile.iter().fold((0.0, 0.0), |(k, p), layer| (k + layer.0, p + layer.1));
            let (mut left, mut made) = (1.0, 0.0);
            let mut highest: f64 = 0.0;
            for (kept, parameters) in network.profile.iter().rev() {
                highest = highest.max(tape * left + gradients * made);
                left -= kept / all_kept.max(1.0);
                made += parameters / all.max(1.0);
            }
            // Adapters are computed with the network before them.
            let wide = match network.role {
                ADAPTERS => self.base_of_adapters().map_or(0.0, |role| self.widest(role, measures)),
                role => self.widest(role, measures),
            };
            fullest = fullest.max(highest.max(gradients) + batch * wide);
        }
        fullest
    }

    /// The network that the adapters stand beside.
    fn base_of_adapters(&self) -> Option<Role> {
        let at = self.networks.iter().position(|network| network.role == ADAPTERS)?;
        self.networks.get(at.checked_sub(1)?).map(|network| network.role)
    }
}

#[cfg(test)]
mod tests {
    use add_recipe::{
        OptimizerStates, Passes,
        passes::{Moment, Pass},
        slot::{STUDENT, TEACHER},
    };

    use super::*;
    use crate::{
        outline::Keeps,
        plan::{Cost, KeptStates},
    };

    fn network(role: Role, parameters: f64, trained: bool, cost: Cost) -> Costed {
        Costed {
            role,
            parameters,
            trained,
            average: trained.then_some(Home::Device),
            is_followed: false,
            tensors: if trained { vec![parameters as usize / 4; 4] } else { Vec::new() },
            shared: false,
            keeps: Keeps::Layers,
            dtype: Dtype::F32,
            cost,
            encoder: Cost::default(),
            // Two layers: all of the tape is the first's, all of the parameters are the second's.
            profile: vec![(cost.kept, 0.0), (0.0, parameters)],
            adapters: 10.0,
            hooked: 0.0,
            kind: Kind::Denoiser,
        }
    }

    /// A student of 1,000 parameters that keeps 600 values and a teacher of the same size, called twice.
    fn distillation() -> Plan {
        let cost = Cost { flops: 50.0, kept: 600.0, widest: 10.0, kept_by_blocks: 100.0 };
        let tapes = vec![Tape::of("student", STUDENT)];
        let moment = |role, n| Moment { tapes: tapes.clone(), wide: vec![(role, n)], ..Moment::default() };
        let passes = Passes {
            work: vec![
                Pass::taped("student", STUDENT, Count::ThereAndBack),
                Pass::plain("teacher", TEACHER, 2.0),
            ],
            moments: vec![moment(STUDENT, 1.0), moment(TEACHER, 2.0)],
        };
        let states = OptimizerStates::Replicated;
        let kernels = KernelKind::Pure;
        let computation = Computation { passes, replicas: 1, accumulation: 1, states, kernels };
        let student = network(STUDENT, 1000.0, true, cost);
        let teacher = network(TEACHER, 1000.0, false, cost);
        Plan::new(vec![student, teacher], computation)
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
    fn ranks_share_moments_and_average_and_nothing_else() {
        let sharded = Measures { states: States::Sharded, ..Measures::default() };
        let held = |ranks| distillation().among(ranks).held(&sharded)[0];
        // Four tensors of 250 values: two ranks keep two each, three ranks two at most.
        for (ranks, kept) in [(1, 1000.0), (2, 500.0), (3, 500.0), (4, 250.0)] {
            let Held { values, gradients, moments, average, .. } = held(ranks);
            let expected = [4000.0, 4000.0, 8.0 * kept, 4.0 * kept];
            let got = [values, gradients, moments, average];
            assert!(
                got.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-6),
                "{ranks}: {got:?}"
            );
        }
        let whole = distillation().among(4).held(&Measures::default())[0];
        assert!((whole.moments - 8000.0).abs() < 1e-6, "the recipe says that all keep all");
        assert!(distillation().spread_bytes(&Measures::default()).abs() < 1e-9);
        assert!((distillation().spread_bytes(&sharded) - 4000.0).abs() < 1e-6);
    }

    #[test]
    fn a_rank_with_several_parts_holds_their_sum_too_and_processors_exchange_copies() {
        let plan = |accumulation, kernels, ranks| {
            let mut plan = distillation();
            plan.computation = Computation { accumulation, kernels, ..plan.computation };
            plan.among(ranks).peak(&Measures::default(), 1)
        };
        let one = plan(1, KernelKind::Pure, 1);
        // Gradients of 1,000 values.
        for (accumulation, ranks, more) in [(4, 1, 4_000.0), (4, 2, 4_000.0), (4, 4, 0.0)] {
            let got = plan(accumulation, KernelKind::Pure, ranks);
            assert!((got - one - more).abs() < 1e-6, "{accumulation} on {ranks}: {got} for {one}");
        }
        let exchanged = plan(4, KernelKind::Fused, 4) - plan(1, KernelKind::Fused, 1);
        assert!(
            (exchanged - 28_000.0).abs() < 1e-6,
            "seven copies of fewer values than are sent at a time: {exchanged}"
        );
    }

    #[test]
    fn every_measure_needs_less_than_the_one_before() {
        let plan = distillation();
        let peaks: Vec<f64> =
            super::super::ladder(1).into_iter().map(|(_, measures)| plan.peak(&measures, 4)).collect();
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
        let again = distillation().work(&Measures { tape: KeptStates::Blocks, ..Measures::default() });
        assert!((again.iter().map(|work| work.flops).sum::<f64>() - 300.0).abs() < 1e-9, "{again:?}");
    }
}
