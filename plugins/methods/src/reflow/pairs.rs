//! Pairs of noise and of the picture that the teacher makes of it, kept until each has been used so often.

use std::collections::BTreeMap;

use add_plugin::{Conditioning, Denoiser, Sampler, SamplerContext, Start, Timesteps};
use add_train::process::{Process, guided_from_outside};
use burn::tensor::Tensor;

use super::Pool;

/// A part of a batch of pairs, on the plain device.
#[derive(Debug, Clone)]
pub(super) struct Pairs {
    /// Noise `[B, C, H, W]`.
    pub(super) eps: Tensor<4>,
    /// What the teacher makes of it, clean latents of that shape.
    pub(super) x_0: Tensor<4>,
    /// The captions, encoded.
    pub(super) captions: Conditioning,
    /// How far the teacher's trajectories were from straight, the mean over batch, values and calls.
    pub(super) curvature: Tensor<1>,
}

/// The teacher that makes pairs.
pub(super) struct Maker<'a> {
    pub(super) teacher: Box<dyn Denoiser>,
    pub(super) diffusion: &'a Process,
    pub(super) sampler: &'a dyn Sampler,
    pub(super) steps: usize,
    pub(super) guidance: f64,
    /// The empty caption for each sample.
    pub(super) null: Conditioning,
}

impl Maker<'_> {
    /// The pairs of noise `eps` `[B, C, H, W]` under these captions.
    ///
    /// What the trajectories' flow `u` is at each call is compared with the whole way, `E|u - (eps - x_0)|^2`: the measure of
    /// straightness of Liu et al. 2022, by the solver's own calls.
    pub(super) fn make(&self, eps: Tensor<4>, captions: Conditioning) -> Pairs {
        let scales = vec![self.guidance; captions.batch()];
        let mut flows = Vec::new();
        let mut call = |x_t: Tensor<4>, t: &Timesteps| {
            let (process, teacher) = (self.diffusion, &*self.teacher);
            let output =
                guided_from_outside(process, teacher, x_t.clone(), t, &captions, &self.null, &scales);
            let at = process.schedule.coefficients(t, &x_t);
            flows.push(add_loss::flow(process.prediction, output.clone(), x_t.clone(), &at));
            process.estimate(output, x_t, t)
        };
        let mut context = SamplerContext {
            steps: self.steps,
            schedule: &self.diffusion.schedule,
            student_timesteps: &[],
            noise: eps.clone(),
            start: Start::Noise,
            // `check` has refused samplers that ask for it.
            fresh_noise: &mut |_| eps.zeros_like(),
        };
        let x_0 = self.sampler.sample(&mut context, &mut call);
        let calls = flows.len().max(1) as f64;
        let each = flows.into_iter().map(|u| add_loss::straight_flow(u, x_0.clone(), eps.clone()));
        let sum = each.reduce(|sum, one| sum + one).unwrap_or_else(|| eps.clone().mean().zeros_like());
        Pairs { eps, x_0, captions, curvature: sum.mul_scalar(1.0 / calls) }
    }
}

/// Where a step of a stage finds its pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The batch of captions that they are made from, which no other pairs share.
    pub(super) batch: u64,
    /// The first batch of the round that it is kept with.
    pub(super) round: u64,
    /// Whether they are used for the first time.
    pub(super) is_new: bool,
}

impl Pool {
    /// The place of step `done` of a stage that began at step `first`.
    pub(super) fn place(&self, first: u64, done: u64) -> Place {
        let (batches, uses) = (self.batches.max(1), self.uses.max(1));
        let (round, within) = (done / (batches * uses), done % (batches * uses));
        let round = first + round * batches;
        Place { batch: round + within % batches, round, is_new: within < batches }
    }
}

/// The pairs that are kept, by the batch of captions that they are made from; each batch in its parts.
#[derive(Debug, Default)]
pub(super) struct Kept(BTreeMap<u64, Vec<Pairs>>);

impl Kept {
    /// The parts of the pairs of `place`, made by `make` where they are not there: a resumed run makes those again that it uses
    /// again. Pairs of earlier rounds are let go.
    pub(super) fn take<E>(
        &mut self,
        place: Place,
        pool: Pool,
        make: impl FnOnce(u64) -> Result<Vec<Pairs>, E>,
    ) -> Result<Vec<Pairs>, E> {
        self.0.retain(|&batch, _| batch >= place.round);
        if let Some(kept) = self.0.get(&place.batch) {
            return Ok(kept.clone());
        }
        let made = make(place.batch)?;
        if pool.uses > 1 {
            self.0.insert(place.batch, made.clone());
        }
        Ok(made)
    }

    /// Lets all pairs go: the teacher is another one now.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_batch_is_used_so_often_and_then_replaced() {
        let pool = Pool { batches: 2, uses: 3 };
        let places: Vec<(u64, bool)> =
            (0..14).map(|done| pool.place(100, done)).map(|place| (place.batch, place.is_new)).collect();
        let round = |a, b| [(a, true), (b, true), (a, false), (b, false), (a, false), (b, false)];
        assert_eq!(places[..6], round(100, 101));
        assert_eq!(places[6..12], round(102, 103));
        assert_eq!(places[12..], [(104, true), (105, true)]);
        let single = Pool { batches: 4, uses: 1 };
        assert!((0..9).all(|done| single.place(7, done).batch == 7 + done));
    }

    #[test]
    fn pairs_are_made_once_a_round_and_no_more_are_kept_than_a_round_has() {
        let pool = Pool { batches: 2, uses: 3 };
        let (mut kept, mut made) = (Kept::default(), Vec::new());
        for done in 0..14 {
            let nothing = |batch| -> Result<Vec<Pairs>, ()> {
                made.push(batch);
                Ok(Vec::new())
            };
            kept.take(pool.place(100, done), pool, nothing).expect("it never fails");
            assert!(kept.0.len() <= 2, "{:?}", kept.0.keys());
        }
        assert_eq!(made, [100, 101, 102, 103, 104, 105]);
    }
}
