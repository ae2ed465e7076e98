//! One `AdamW` update of one parameter, and its moving average, each in one pass over memory.
//!
//! These are updates, not differentiable operations: on the kernels' path the tape is not consulted.

use burn::backend::{BackendTensor, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind};
use burn::tensor::{Bytes, DType, Tensor};
use burn_flex::{FlexTensor, Layout};

use crate::parallel::{SharedMut, dense, parallel_ranges, values};
use crate::simd::{LANES, Simd, Task, dispatch};
use crate::tape::{is_ours, plain};

/// The numbers of one `AdamW` step (Loshchilov and Hutter 2019), as `torch.optim.AdamW` uses them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta_1: f64,
    /// Decay of the second moment.
    pub beta_2: f64,
    /// Added to the square root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay: the parameter is first multiplied by `1 - lr * weight_decay`.
    pub weight_decay: f64,
    /// 1-based number of this step, for the bias corrections.
    pub time: u64,
    /// The gradient is multiplied by this first (global-norm clipping).
    pub grad_scale: f64,
}

/// Returns the updated `(parameter, first moment, second moment)`, all flat `[n]`.
///
/// Tensors that nobody else holds are updated in place. On the kernels' path the results carry no tape.
///
/// # Panics
/// If the lengths differ.
pub fn adamw_step(p: Tensor<1>, g: Tensor<1>, m: Tensor<1>, v: Tensor<1>, step: AdamWStep) -> [Tensor<1>; 3] {
    let n = p.dims();
    assert!(
        g.dims() == n && m.dims() == n && v.dims() == n,
        "parameter, gradient and moments of different lengths"
    );
    let tensors = [p, g, m, v].map(Tensor::into_dispatch);
    if !tensors.iter().all(takes_in_place) {
        let [p, g, m, v] = tensors.map(Tensor::from_dispatch);
        return adamw_step_reference(p, g, m, v, step);
    }
    let [p, g, m, v] = tensors.map(|t| dense(plain(t)));
    let mut updated = [Target::new(p), Target::new(m), Target::new(v)];
    let [p, m, v] = updated.each_mut().map(Target::pointers);
    let g = values(&g);
    parallel_ranges(g.len().div_ceil(CHUNK), 10 * CHUNK / LANES, |range| {
        for chunk in range {
            let first = chunk * CHUNK;
            let count = CHUNK.min(g.len() - first);
            // SAFETY: the chunks are disjoint and inside of the tensors.
            unsafe { dispatch(Update { p, g: &g[first..first + count], m, v, first, step }) };
        }
    });
    updated.map(|t| into_tensor(t.finish()))
}

/// Numbers of one unit of work.
const CHUNK: usize = 4096;

/// The same by pure operations.
#[doc(hidden)]
pub fn adamw_step_reference(
    p: Tensor<1>,
    g: Tensor<1>,
    m: Tensor<1>,
    v: Tensor<1>,
    step: AdamWStep,
) -> [Tensor<1>; 3] {
    let AdamWStep { lr, beta_1, beta_2, eps, weight_decay, time, grad_scale } = step;
    let g = g * grad_scale;
    let m = m * beta_1 + g.clone() * (1.0 - beta_1);
    let v = v * beta_2 + g.square() * (1.0 - beta_2);
    let correction_1 = 1.0 - beta_1.powf(time as f64);
    let correction_2 = 1.0 - beta_2.powf(time as f64);
    let denominator = v.clone().sqrt() / correction_2.sqrt() + eps;
    let p = p * (1.0 - lr * weight_decay) - m.clone() / denominator * (lr / correction_1);
    [p, m, v]
}

/// The moving average `average * decay + p * (1 - decay)`, both `[n]`; in place when nobody else holds `average`.
///
/// # Panics
/// If the lengths differ.
pub fn ema_lerp(average: Tensor<1>, p: Tensor<1>, decay: f64) -> Tensor<1> {
    assert_eq!(average.dims(), p.dims(), "average and parameter of different lengths");
    let tensors = [average, p].map(Tensor::into_dispatch);
    if !tensors.iter().all(takes_in_place) {
        let [average, p] = tensors.map(Tensor::<1>::from_dispatch);
        return average * decay + p * (1.0 - decay);
    }
    let [average, p] = tensors.map(|t| dense(plain(t)));
    let mut average = Target::new(average);
    let (from, to) = average.pointers();
    let p = values(&p);
    parallel_ranges(p.len().div_ceil(CHUNK), 4 * CHUNK / LANES, |range| {
        for chunk in range {
            let first = chunk * CHUNK;
            let count = CHUNK.min(p.len() - first);
            // SAFETY: the chunks are disjoint and inside of the tensors.
            unsafe { dispatch(Lerp { from, to, p: &p[first..first + count], first, decay }) };
        }
    });
    into_tensor(average.finish())
}

/// In f32 on the `flex` device, and not on a tape.
fn takes_in_place(tensor: &DispatchTensor) -> bool {
    is_ours(tensor) && tensor.autodiff == DispatchAutodiffContext::Disabled
}

fn into_tensor(tensor: FlexTensor) -> Tensor<1> {
    Tensor::from_dispatch(DispatchTensor {
        kind: DispatchTensorKind::Flex(BackendTensor::Float(tensor)),
        autodiff: DispatchAutodiffContext::Disabled,
    })
}

/// A tensor to be replaced: its own memory is the target when nobody else can see it.
struct Target {
    old: FlexTensor,
    new: Option<Vec<f32>>,
}

impl Target {
    fn new(mut old: FlexTensor) -> Self {
        let n = old.layout().num_elements();
        let whole = old.layout().start_offset() == 0;
        let in_place = whole && old.try_storage_mut::<f32>().is_some_and(|s| s.len() == n);
        Self { new: (!in_place).then(|| Vec::with_capacity(n)), old }
    }

    /// Where to read and where to write.
    fn pointers(&mut self) -> (SharedMut, SharedMut) {
        if let Some(new) = &mut self.new {
            return (SharedMut::new(values(&self.old).as_ptr().cast_mut()), SharedMut::new(new.as_mut_ptr()));
        }
        let p = SharedMut::new(self.old.storage_mut::<f32>().as_mut_ptr());
        (p, p)
    }

    fn finish(self) -> FlexTensor {
        match self.new {
            Some(mut new) => {
                let shape = self.old.layout().shape().clone();
                // SAFETY: the kernel wrote every number.
                unsafe { new.set_len(shape.num_elements()) };
                FlexTensor::new(Bytes::from_elems(new), Layout::contiguous(shape), DType::F32)
            }
            None => self.old,
        }
    }
}

/// Memory to read from and to write to.
type Pair = (SharedMut, SharedMut);

struct Update<'a> {
    p: Pair,
    g: &'a [f32],
    m: Pair,
    v: Pair,
    first: usize,
    step: AdamWStep,
}

impl Task for Update<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { p, g, m, v, first, step } = self;
        let AdamWStep { lr, beta_1, beta_2, eps, weight_decay, time, grad_scale } = step;
        let correction_1 = 1.0 - beta_1.powf(time as f64);
        let correction_2 = 1.0 - beta_2.powf(time as f64);
        let number = |x: f64| s.splat(x as f32);
        let (scale, keep) = (number(grad_scale), number(1.0 - lr * weight_decay));
        let (old_1, new_1) = (number(beta_1), number(1.0 - beta_1));
        let (old_2, new_2) = (number(beta_2), number(1.0 - beta_2));
        let (root_scale, eps, rate) =
            (number(1.0 / correction_2.sqrt()), number(eps), number(-lr / correction_1));
        let mut i = 0;
        while i < g.len() {
            let n = LANES.min(g.len() - i);
            let at = first + i;
            let gradient = s.mul(s.load_first(g.as_ptr().add(i), n), scale);
            let mean = s.mul_add(s.load_first(m.0.at(at), n), old_1, s.mul(gradient, new_1));
            let square =
                s.mul_add(s.load_first(v.0.at(at), n), old_2, s.mul(s.mul(gradient, gradient), new_2));
            let root = s.mul_add(s.sqrt(square), root_scale, eps);
            let parameter = s.mul(s.load_first(p.0.at(at), n), keep);
            s.store_first(p.1.at(at), s.mul_add(s.div(mean, root), rate, parameter), n);
            s.store_first(m.1.at(at), mean, n);
            s.store_first(v.1.at(at), square, n);
            i += LANES;
        }
    }
}

struct Lerp<'a> {
    from: SharedMut,
    to: SharedMut,
    p: &'a [f32],
    first: usize,
    decay: f64,
}

impl Task for Lerp<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { from, to, p, first, decay } = self;
        let (old, new) = (s.splat(decay as f32), s.splat((1.0 - decay) as f32));
        let mut i = 0;
        while i < p.len() {
            let n = LANES.min(p.len() - i);
            let p = s.mul(s.load_first(p.as_ptr().add(i), n), new);
            s.store_first(to.at(first + i), s.mul_add(s.load_first(from.at(first + i), n), old, p), n);
            i += LANES;
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::FloatDType;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{numbers, random};

    const STEP: AdamWStep = AdamWStep {
        lr: 0.01,
        beta_1: 0.9,
        beta_2: 0.999,
        eps: 1e-8,
        weight_decay: 0.05,
        time: 1,
        grad_scale: 0.7,
    };

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn three_steps_equal_those_of_the_pure_operations(n in 1_usize..20_000, shared: bool, sliced: bool) {
            let start = |seed| if sliced { random([n + 3], seed).narrow(0, 2, n) } else { random([n], seed) };
            let mut ours = [start(1), start(2), start(3).abs()];
            let mut theirs = ours.clone().map(|t| t.cast(FloatDType::F64));
            for time in 1..4 {
                let step = AdamWStep { time, ..STEP };
                let g = random([n], 10 + time);
                let held = shared.then(|| (ours.clone(), ours.clone().map(numbers)));
                let [p, m, v] = ours;
                ours = adamw_step(p, g.clone(), m, v, step);
                let [p, m, v] = theirs;
                theirs = adamw_step_reference(p, g.cast(FloatDType::F64), m, v, step);
                if let Some((held, before)) = held {
                    prop_assert!(held.map(numbers) == before, "a tensor held elsewhere was changed");
                }
            }
            for (ours, theirs) in ours.into_iter().zip(theirs) {
                for (a, b) in numbers(ours).into_iter().zip(numbers(theirs)) {
                    prop_assert!((a - b).abs() < 1e-5, "{a} for {b}");
                }
            }
        }

        #[test]
        fn moving_average_equals_its_formula(n in 1_usize..20_000, decay in 0.0..1.0) {
            let (average, p) = (random([n], 1), random([n], 2));
            let want = numbers(average.clone() * decay + p.clone() * (1.0 - decay));
            for (a, b) in numbers(ema_lerp(average, p, decay)).into_iter().zip(want) {
                prop_assert!((a - b).abs() < 1e-6, "{a} for {b}");
            }
        }
    }

    #[test]
    fn unshared_memory_is_reused() {
        let place = |t: &Tensor<1>| values(&plain(t.clone().into_dispatch())).as_ptr();
        let (p, m, v) = (random([100], 1), random([100], 2), random([100], 3).abs());
        let before = [place(&p), place(&m), place(&v)];
        let after = adamw_step(p, random([100], 4), m, v, STEP);
        assert_eq!(after.each_ref().map(place), before);
    }
}
