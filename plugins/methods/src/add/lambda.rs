//! `lambda`, the factor of the distillation term in ADD Eq. (1).
//!
//! The paper's 2.5 belongs to a reduction that it does not state, so a recipe may state a balance instead: over its first
//! steps a run measures both gradients at `x_hat_theta`, and from then on keeps the lambda that balances them.

use std::fmt;

use add_train::{TrainError, report::StepReport, state::State};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
    ser::SerializeStructVariant,
};

/// `lambda` as a recipe states it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Lambda {
    /// The number itself.
    Fixed(f64),
    /// The number at which the adversarial gradient at `x_hat_theta` is `ratio` times as long as that of distillation,
    /// measured over the first `steps` steps.
    Balanced {
        /// Length of the adversarial gradient over that of `lambda` times distillation.
        ratio: f64,
        /// Steps over which it is measured.
        steps: u64,
    },
}

impl Lambda {
    /// Whether the term is off.
    pub fn is_off(self) -> bool {
        matches!(self, Self::Fixed(lambda) if lambda <= 0.0)
    }
}

impl Serialize for Lambda {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fixed(lambda) => serializer.serialize_f64(*lambda),
            Self::Balanced { ratio, steps } => {
                let mut variant = serializer.serialize_struct_variant("Lambda", 0, "Balanced", 2)?;
                variant.serialize_field("ratio", ratio)?;
                variant.serialize_field("steps", steps)?;
                variant.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Lambda {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOrBalance)
    }
}

struct NumberOrBalance;

impl<'de> Visitor<'de> for NumberOrBalance {
    type Value = Lambda;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or Balanced(ratio: 1, steps: 100)")
    }

    fn visit_f64<E>(self, lambda: f64) -> Result<Lambda, E> {
        Ok(Lambda::Fixed(lambda))
    }

    fn visit_u64<E>(self, lambda: u64) -> Result<Lambda, E> {
        Ok(Lambda::Fixed(lambda as f64))
    }

    fn visit_i64<E>(self, lambda: i64) -> Result<Lambda, E> {
        Ok(Lambda::Fixed(lambda as f64))
    }

    // RON reads a variant of unknown type as its fields.
    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Lambda, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            ratio: f64,
            #[serde(default = "hundred")]
            steps: u64,
        }
        let Fields { ratio, steps } = Fields::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(Lambda::Balanced { ratio, steps })
    }
}

fn hundred() -> u64 {
    100
}

/// `lambda` as a run goes.
#[derive(Debug, Clone)]
pub(super) struct Balance {
    stated: Lambda,
    /// Sum over the measured steps of `ln |g_adv| - ln |g_distill|`, the latter at `lambda = 1`, and their number.
    sum: f64,
    count: u64,
}

impl Balance {
    pub(super) fn new(stated: Lambda) -> Self {
        Self { stated, sum: 0.0, count: 0 }
    }

    /// The factor of the next step: the geometric mean over the steps that were measured; 1 before the first.
    pub(super) fn lambda(&self) -> f64 {
        match self.stated {
            Lambda::Fixed(lambda) => lambda,
            Lambda::Balanced { .. } if self.count == 0 => 1.0,
            Lambda::Balanced { ratio, .. } => (self.sum / self.count as f64).exp() / ratio,
        }
    }

    /// Takes up a step that was made with [`lambda`](Self::lambda) times `course`, and adds the first to its figures where it is
    /// measured.
    pub(super) fn measure(&mut self, report: &mut StepReport, course: f64) {
        let Lambda::Balanced { steps, .. } = self.stated else { return };
        let lambda = self.lambda();
        report.number("lambda", lambda);
        let norms = (report.get("grad_norm_adv"), report.get("grad_norm_distill"));
        if let (Some(adversarial), Some(distillation)) = norms
            && self.count < steps
        {
            let difference = adversarial.ln() - (distillation / (course * lambda)).ln();
            if difference.is_finite() {
                self.sum += difference;
                self.count += 1;
            }
        }
    }

    pub(super) fn save(&self, state: &mut State) {
        if matches!(self.stated, Lambda::Balanced { .. }) {
            state.set_number("lambda.sum", self.sum.to_bits());
            state.set_number("lambda.count", self.count);
        }
    }

    pub(super) fn load(&mut self, state: &State) -> Result<(), TrainError> {
        if matches!(self.stated, Lambda::Balanced { .. }) {
            self.sum = f64::from_bits(state.number("lambda.sum")?);
            self.count = state.number("lambda.count")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lambda_is_a_number_or_a_balance() {
        let read = |text: &str| ron::from_str::<Lambda>(text);
        assert_eq!(read("150").expect("a number"), Lambda::Fixed(150.0));
        assert_eq!(read("2.5").expect("a number"), Lambda::Fixed(2.5));
        let balanced = Lambda::Balanced { ratio: 0.5, steps: 20 };
        assert_eq!(read("Balanced(ratio: 0.5, steps: 20)").expect("a balance"), balanced);
        assert_eq!(read(&ron::to_string(&balanced).expect("written")).expect("read"), balanced);
        assert_eq!(ron::to_string(&Lambda::Fixed(150.0)).expect("written"), "150.0");
        assert!(read("Balanced(raito: 1)").is_err() && read("\"much\"").is_err());
    }

    #[test]
    fn the_balance_is_the_geometric_mean_of_the_first_steps_and_then_stays() {
        let mut balance = Balance::new(Lambda::Balanced { ratio: 2.0, steps: 2 });
        let step = |balance: &mut Balance, adversarial: f64, distillation_at_one: f64| {
            let mut report = StepReport::default();
            report.norm("grad_norm_adv", adversarial);
            report.norm("grad_norm_distill", distillation_at_one * 0.5 * balance.lambda());
            balance.measure(&mut report, 0.5);
            report.get("lambda").expect("it is reported")
        };
        assert!((step(&mut balance, 8.0, 1.0) - 1.0).abs() < 1e-12, "1 before anything is known");
        // 8 / 1 over a ratio of 2.
        assert!((step(&mut balance, 2.0, 1.0) - 4.0).abs() < 1e-12);
        // sqrt(8 * 2) over a ratio of 2, and so for ever.
        assert!((step(&mut balance, 100.0, 1.0) - 2.0).abs() < 1e-12);
        assert!((step(&mut balance, 100.0, 1.0) - 2.0).abs() < 1e-12);
        let mut state = State::default();
        balance.save(&mut state);
        let mut resumed = Balance::new(Lambda::Balanced { ratio: 2.0, steps: 2 });
        resumed.load(&state).expect("it was saved");
        assert_eq!(resumed.lambda().to_bits(), balance.lambda().to_bits());
    }
}
