//! Laws that join the losses with the plugins, for any numbers.

use std::slice;

use add_loss::{PixelReduction, diffuse, distillation, hinge_generator, input_gradients, x0};
use add_plugin::{
    Discriminator, Network, NoiseSchedule, Prediction, Prompt, StudentSample, Teacher, Timesteps, per_sample,
};
use burn::tensor::Tensor;
use heads::ProjectedHead;
use proptest::prelude::*;

use crate::testing::{random, schedule, tensor, values, weighting};

/// A teacher whose noise estimates are whatever they are.
struct Arbitrary {
    schedule: NoiseSchedule,
    caption: Vec<f64>,
    null: Vec<f64>,
    negative: Vec<f64>,
}

const SHAPE: [usize; 4] = [2, 1, 1, 2];

impl Teacher for Arbitrary {
    fn x0(&self, x_t: &Tensor<4>, t: &Timesteps) -> Tensor<4> {
        let at = self.schedule.coefficients(t, x_t);
        x0(Prediction::Epsilon, tensor(&self.caption, SHAPE), x_t.clone(), &at)
    }

    fn epsilon(&self, _x_t: &Tensor<4>, _t: &Timesteps, prompt: Prompt) -> Tensor<4> {
        let values = match prompt {
            Prompt::Caption => &self.caption,
            Prompt::Null => &self.null,
            Prompt::Negative => &self.negative,
        };
        tensor(values, SHAPE)
    }

    fn schedule(&self) -> &NoiseSchedule {
        &self.schedule
    }
}

fn four() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(-2.0..2.0_f64, 4)
}

/// `d/dx_hat_theta` of the loss under `recipe`, summed over the batch.
fn gradient(recipe: &str, teacher: &Arbitrary, x: &[f64], eps: &[f64], t: &Timesteps) -> Vec<f64> {
    let x_hat_theta = tensor(x, SHAPE);
    let at = teacher.schedule.coefficients(t, &x_hat_theta);
    let x_hat_theta_t = diffuse(x_hat_theta.clone(), tensor(eps, SHAPE), &at);
    let student = StudentSample { x_hat_theta: x_hat_theta.clone(), x_hat_theta_t, t: t.clone() };
    let plugin = weighting(recipe);
    let target = plugin.target(&student, teacher);
    let c: Vec<f64> = t.0.iter().map(|&t| plugin.weight(&teacher.schedule, t)).collect();
    let leaf = x_hat_theta.autodiff().require_grad();
    let loss = distillation(leaf.clone(), target, &c, PixelReduction::Sum).mul_scalar(c.len() as f64);
    values(leaf.grad(&loss.backward()).expect("a gradient"))
}

fn agree(got: &[f64], want: Tensor<4>) -> bool {
    got.iter().zip(values(want)).all(|(g, w)| (g - w).abs() < 1e-8 * (1.0 + w.abs()))
}

proptest! {
    #[test]
    fn under_sds_the_gradient_is_that_of_score_distillation(
        x in four(), eps in four(), caption in four(), t in prop::collection::vec(20..980_usize, 2),
    ) {
        let schedule = schedule("ScaledLinear()").tables();
        let teacher = Arbitrary { schedule, caption, null: vec![0.0; 4], negative: vec![0.0; 4] };
        let t = Timesteps::whole(t);
        let residual = tensor::<4>(&teacher.caption, SHAPE) - tensor(&eps, SHAPE);
        let sigma: Vec<f64> = t.0.iter().map(|&t| teacher.schedule.sigma(t).powi(2)).collect();
        let weighted = residual.clone() * per_sample(&sigma, &residual);
        prop_assert!(agree(&gradient("Sds()", &teacher, &x, &eps, &t), weighted));
        prop_assert!(agree(&gradient("Sds(w: One)", &teacher, &x, &eps, &t), residual));
    }

    #[test]
    fn under_nfsd_the_gradient_has_no_noise_term(
        x in four(), eps in four(), caption in four(), null in four(), negative in four(), scale in 0.0..10.0_f64,
    ) {
        let schedule = schedule("ScaledLinear()").tables();
        let teacher = Arbitrary { schedule, caption, null, negative };
        let t = Timesteps(vec![199.0, 200.0]);
        let of = |prompt| teacher.epsilon(&tensor(&x, SHAPE), &t, prompt);
        let negative = of(Prompt::Negative) * per_sample(&[0.0, 1.0], &of(Prompt::Null));
        let direction = of(Prompt::Null) - negative + (of(Prompt::Caption) - of(Prompt::Null)).mul_scalar(scale);
        let recipe = format!("Nfsd(scale: {scale:?}, w: One)");
        prop_assert!(agree(&gradient(&recipe, &teacher, &x, &eps, &t), direction));
    }

    #[test]
    fn the_exponential_gradient_vanishes_with_the_residual(x in four(), eps in four(), t in 20..980_usize) {
        let schedule = schedule("ScaledLinear()").tables();
        let teacher = Arbitrary { schedule, caption: eps.clone(), null: vec![0.0; 4], negative: vec![0.0; 4] };
        let gradient = gradient("Exponential()", &teacher, &x, &eps, &Timesteps::same(t as f64, 2));
        prop_assert!(gradient.iter().all(|g| g.abs() < 1e-9));
    }

    #[test]
    fn weights_vanish_towards_pure_noise(which in 0..4_usize) {
        let recipe = ["Exponential()", "Sds()", "Sds(w: One)", "Nfsd()"][which];
        let schedule = schedule("ZeroTerminalSnr(inner: ScaledLinear())").tables();
        prop_assert!(weighting(recipe).weight(&schedule, 999.0).abs() < f64::MIN_POSITIVE);
        prop_assert!(weighting(recipe).weight(&schedule, 998.0) > 0.0);
    }
}

proptest! {
    /// A group is normalised by itself, so its neighbours in the batch do not matter.
    #[test]
    fn groups_do_not_see_each_other(tokens in 1_usize..12, seed in any::<u64>()) {
        let mut heads = ProjectedHead::default().build(&[5], 0, seed, &burn::tensor::Device::flex()).expect("heads");
        heads.map_parameters(&mut |_, _, value| value.cast(burn::tensor::DType::F64));
        let (a, b) = (random([8, 5, tokens], 1), random([8, 5, tokens], 2));
        let logits = |h: Tensor<3>| values(heads.logits(&[h], None)[0].0.clone());
        let together = logits(Tensor::cat(vec![a.clone(), b.clone()], 0));
        let apart = [logits(a), logits(b)].concat();
        prop_assert!(together.iter().zip(apart).all(|(x, y)| (x - y).abs() < 1e-12));
    }

    /// Circular convolutions know no first token.
    #[test]
    fn logits_turn_with_the_tokens(tokens in 1_usize..12, turn in 0_usize..12, seed in any::<u64>()) {
        let mut heads = ProjectedHead::default().build(&[4], 0, seed, &burn::tensor::Device::flex()).expect("heads");
        heads.map_parameters(&mut |_, _, value| value.cast(burn::tensor::DType::F64));
        let turn = turn % tokens;
        let rotate = |h: Tensor<3>| {
            if turn == 0 { return h; }
            Tensor::cat(vec![h.clone().narrow(2, turn, tokens - turn), h.narrow(2, 0, turn)], 2)
        };
        let h = random([3, 4, tokens], 3);
        let logits = |h: Tensor<3>| heads.logits(&[h], None)[0].0.clone().reshape([1, 3, tokens]);
        let (then, first) = (values(logits(rotate(h.clone()))), values(rotate(logits(h)).reshape([3, tokens])));
        prop_assert!(then.iter().zip(first).all(|(x, y)| (x - y).abs() < 1e-12));
    }

    /// The student's step: gradients reach the features, never the heads.
    #[test]
    fn the_generators_loss_leaves_the_heads_alone(seed in any::<u64>()) {
        let device = burn::tensor::Device::flex().autodiff();
        let mut heads = ProjectedHead::default().build(&[4], 0, seed, &device).expect("heads");
        heads.map_parameters(&mut |_, _, value| value.cast(burn::tensor::DType::F64));
        let leaf = random([3, 4, 5], 4).autodiff().require_grad();
        let loss = hinge_generator(&heads.frozen().logits(slice::from_ref(&leaf), None), add_loss::Reduction::Mean);
        let mut gradients = loss.backward();
        prop_assert!(heads.take_gradients(&mut gradients).is_empty());
        prop_assert!(leaf.grad(&gradients).is_some());
        let direct = input_gradients(&heads, &[random([3, 4, 5], 4)], None);
        // L_G is minus the mean of the logits, R1's gradient that of their sum.
        let scaled = values(direct[0].clone().div_scalar(-15.0));
        let own = values(leaf.grad(&gradients).expect("a gradient"));
        prop_assert!(own.iter().zip(scaled).all(|(x, y)| (x - y).abs() < 1e-12));
    }
}
