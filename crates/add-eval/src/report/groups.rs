//! Which curves share a chart, and in which order the charts come.

use std::collections::BTreeMap;

use super::chart::{COLOURS, Curve};
use super::log::MetricsLog;

/// A chart to draw.
pub(super) struct Group {
    pub(super) title: String,
    /// What to look for; empty where the title says it.
    pub(super) note: &'static str,
    pub(super) curves: Vec<Curve>,
}

/// A known group: title, note, and the keys that belong to it (`lr_*` means all that begin with `lr_`).
type Rule = (&'static str, &'static str, &'static [&'static str]);

/// In the order of the page; the first rule that names a key takes it.
const RULES: [Rule; 11] = [
    (
        "Student loss",
        "What the generator minimises, and its adversarial and distillation terms.",
        &["loss_g", "loss_adv", "loss_distill"],
    ),
    (
        "Discriminator loss",
        "Hinge on real and on generated pictures; the total adds the weighted R1 penalty.",
        &["loss_d", "loss_d_*"],
    ),
    ("Loss", "", &["loss", "loss_*"]),
    ("R1 penalty", "Squared gradient of the heads at real features.", &["r1", "r1_*"]),
    (
        MEAN_LOGITS,
        "Real should stay above generated, but not run away from it.",
        &["logits_real", "logits_fake"],
    ),
    (
        MEAN_SIGNS,
        "Near 1 for both, the heads have won and teach no more; near one half with logits near 0, they are dead.",
        &["sign_real", "sign_fake"],
    ),
    (
        "Gradient norms at the picture",
        "Of the two terms of the student's loss; they should stay within a factor of 30.",
        &["grad_norm_adv", "grad_norm_distill"],
    ),
    (
        "Balance of the student's terms",
        "Adversarial gradient norm over that of distillation, at the picture.",
        &["grad_ratio"],
    ),
    ("Gradient norms of the weights", "", &["grad_norm*"]),
    ("Learning rate", "", &["lr", "lr_*"]),
    ("Time", "Seconds.", &["seconds", "seconds_*"]),
];

const MEAN_LOGITS: &str = "Logits, mean over heads";
const MEAN_SIGNS: &str = "Share of logits on their side of zero, mean over heads";

/// The known keys with one value for each head begin so.
const BY_HEAD: [&str; 3] = ["logits", "sign_", "r1_heads"];

/// All curves of the log in charts of at most eight, known groups first.
pub(super) fn group(log: &MetricsLog) -> Vec<Group> {
    // By place on the page: known rules, then arrays, then the rest by name.
    let mut charts: BTreeMap<(usize, String), Vec<Curve>> = BTreeMap::new();
    let mut arrays: BTreeMap<&str, Vec<&[(f64, f64)]>> = BTreeMap::new();
    for ((key, index), points) in &log.curves {
        if index.is_some() {
            arrays.entry(key).or_default().push(points);
            continue;
        }
        let place = match rule_of(key) {
            Some(rule) => (rule, RULES[rule].0.to_owned()),
            None => (RULES.len() + 1, stem(key).to_owned()),
        };
        charts.entry(place).or_default().push(Curve { label: key.clone(), points: points.clone() });
    }
    for (key, items) in arrays {
        let of = if BY_HEAD.iter().any(|begins| key.starts_with(begins)) { "head" } else { "item" };
        let curves = items
            .iter()
            .enumerate()
            .map(|(index, points)| Curve { label: format!("{of} {index}"), points: points.to_vec() });
        charts.insert((RULES.len(), format!("{key}, by {of}")), curves.collect());
        if let Some(rule) = rule_of(key).filter(|&rule| [MEAN_LOGITS, MEAN_SIGNS].contains(&RULES[rule].0)) {
            let mean = Curve { label: key.to_owned(), points: mean_of(&items) };
            charts.entry((rule, RULES[rule].0.to_owned())).or_default().push(mean);
        }
    }
    let mut groups = Vec::new();
    for ((place, title), curves) in charts {
        match &curves[..] {
            [only] if place > RULES.len() => groups.extend(split(place, &only.label.clone(), curves)),
            _ => groups.extend(split(place, &title, curves)),
        }
    }
    groups
}

/// Charts of at most [`COLOURS`] curves.
fn split(place: usize, title: &str, mut curves: Vec<Curve>) -> Vec<Group> {
    let note = RULES.get(place).map_or("", |rule| rule.1);
    let parts = curves.len().div_ceil(COLOURS);
    (1..=parts)
        .map(|part| {
            let rest = curves.split_off(curves.len().min(COLOURS));
            let curves = std::mem::replace(&mut curves, rest);
            let title = if parts > 1 { format!("{title} ({part} of {parts})") } else { title.to_owned() };
            Group { title, note, curves }
        })
        .collect()
}

fn rule_of(key: &str) -> Option<usize> {
    RULES.iter().position(|(_, _, keys)| {
        keys.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => key.starts_with(prefix),
            None => key == *pattern,
        })
    })
}

/// What an unknown key shares with its relatives: `ema_decay` and `ema_norm` go together.
fn stem(key: &str) -> &str {
    key.split(['_', '.', '/']).next().filter(|stem| !stem.is_empty()).unwrap_or(key)
}

/// Mean over the curves at each step that any of them has.
fn mean_of(curves: &[&[(f64, f64)]]) -> Vec<(f64, f64)> {
    let mut sums: BTreeMap<u64, (f64, u32)> = BTreeMap::new();
    for (step, value) in curves.iter().flat_map(|curve| curve.iter()) {
        // Steps are not negative, and the bits of such floats are in their order.
        let sum = sums.entry(step.to_bits()).or_default();
        *sum = (sum.0 + value, sum.1 + 1);
    }
    sums.into_iter().map(|(step, (sum, count))| (f64::from_bits(step), sum / f64::from(count))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(text: &str) -> Vec<(String, Vec<String>)> {
        let groups = group(&MetricsLog::parse(text.as_bytes()));
        groups.into_iter().map(|g| (g.title, g.curves.into_iter().map(|c| c.label).collect())).collect()
    }

    #[track_caller]
    fn check(text: &str, want: &[(&str, &[&str])]) {
        let want: Vec<(String, Vec<String>)> = want
            .iter()
            .map(|(title, labels)| {
                ((*title).to_owned(), labels.iter().map(|&label| label.to_owned()).collect())
            })
            .collect();
        assert_eq!(titles(text), want);
    }

    #[test]
    fn a_distillation_run_is_grouped_in_the_order_of_the_page() {
        check(
            r#"{"step":1,"lr_g":1,"r1":2,"loss_g":1,"loss_adv":1,"loss_d":3,"grad_norm_g":1,"grad_norm_adv":1,"grad_ratio":2,"logits_real":[1,2],"logits_fake":[3,4],"sign_real":[1,0],"sign_fake":[0,1],"r1_heads":[1,2]}"#,
            &[
                ("Student loss", &["loss_adv", "loss_g"]),
                ("Discriminator loss", &["loss_d"]),
                ("R1 penalty", &["r1"]),
                ("Logits, mean over heads", &["logits_fake", "logits_real"]),
                ("Share of logits on their side of zero, mean over heads", &["sign_fake", "sign_real"]),
                ("Gradient norms at the picture", &["grad_norm_adv"]),
                ("Balance of the student's terms", &["grad_ratio"]),
                ("Gradient norms of the weights", &["grad_norm_g"]),
                ("Learning rate", &["lr_g"]),
                ("logits_fake, by head", &["head 0", "head 1"]),
                ("logits_real, by head", &["head 0", "head 1"]),
                ("r1_heads, by head", &["head 0", "head 1"]),
                ("sign_fake, by head", &["head 0", "head 1"]),
                ("sign_real, by head", &["head 0", "head 1"]),
            ],
        );
    }

    #[test]
    fn unknown_keys_join_their_relatives_and_long_arrays_are_split() {
        check(
            r#"{"step":1,"loss":1,"ema_norm":1,"ema_gap":2,"odd_one":3,"v":[1,2,3,4,5,6,7,8,9]}"#,
            &[
                ("Loss", &["loss"]),
                (
                    "v, by item (1 of 2)",
                    &["item 0", "item 1", "item 2", "item 3", "item 4", "item 5", "item 6", "item 7"],
                ),
                ("v, by item (2 of 2)", &["item 8"]),
                ("ema", &["ema_gap", "ema_norm"]),
                ("odd_one", &["odd_one"]),
            ],
        );
    }

    #[test]
    fn the_mean_tolerates_a_missing_head() {
        let log =
            MetricsLog::parse(b"{\"step\":1,\"logits_real\":[1,3]}\n{\"step\":2,\"logits_real\":[null,5]}");
        let groups = group(&log);
        assert_eq!(groups[0].curves[0].points, [(1.0, 2.0), (2.0, 5.0)]);
    }
}
