//! Which curves share a chart, and in which order the charts come.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use add_charts::{COLOURS, Curve};
use serde::{Serialize, Serializer};

use super::log::MetricsLog;

/// A chart to draw.
pub(super) struct Group {
    pub(super) title: String,
    /// What to look for; empty where the title says it.
    pub(super) note: &'static str,
    pub(super) curves: Vec<Curve>,
}

/// Figures that belong on one chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChartRule {
    /// The chart's title.
    pub title: &'static str,
    /// What to look for; empty where the title says it.
    pub note: &'static str,
    /// The figures' names in `metrics.jsonl`; `lr_*` means all that begin with `lr_`.
    pub keys: &'static [&'static str],
    /// What the values of a figure with several of them are.
    pub items: Items,
}

/// What the values of a figure with several of them are; each has a curve on a chart of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Items {
    /// Nothing in particular.
    Unnamed,
    /// One for each of these, such as `head`.
    Each(&'static str),
    /// The same, and their mean is on the rule's chart.
    WithMean(&'static str),
}

/// How the report shows the figures of a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presentation {
    /// What was trained, as a heading.
    pub title: &'static str,
    /// Figures whose last tenth stands at the top of the page.
    pub headline: &'static [&'static str],
    /// The charts in the order of the page, before those of any run; the first rule that names a figure takes it.
    pub charts: &'static [ChartRule],
}

impl Default for Presentation {
    fn default() -> Self {
        Self { title: "Training run", headline: &["loss"], charts: &[] }
    }
}

impl ChartRule {
    /// A chart of figures with one value each.
    pub const fn new(title: &'static str, note: &'static str, keys: &'static [&'static str]) -> Self {
        Self { title, note, keys, items: Items::Unnamed }
    }

    /// The same for figures with several values.
    #[must_use]
    pub const fn with(self, items: Items) -> Self {
        Self { items, ..self }
    }
}

/// The charts of any run.
const COMMON: [ChartRule; 4] = [
    ChartRule::new("Loss", "", &["loss", "loss_*"]),
    ChartRule::new("Gradient norms of the weights", "", &["grad_norm*"]),
    ChartRule::new("Learning rate", "", &["lr", "lr_*"]),
    ChartRule::new("Time", "Seconds.", &["seconds", "seconds_*"]),
];

/// A chart by what it shows, before any value is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layout {
    /// The chart's title.
    pub title: String,
    /// What to look for; empty where the title says it.
    pub note: &'static str,
    /// Its curves in the order of their colours, at most eight.
    pub curves: Vec<LaidOut>,
}

/// One curve of a [`Layout`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LaidOut {
    /// What the legend calls it.
    pub label: String,
    /// Where its values come from.
    pub figure: Source,
}

/// Where the values of a curve come from, in a line of `metrics.jsonl`. As text: `loss_g`, `logits_real/0`,
/// `logits_real/mean`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The number of this name.
    Number(String),
    /// The value at this place of the list of this name.
    Item(String, usize),
    /// The mean over the list of this name.
    Mean(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(name) => f.write_str(name),
            Self::Item(name, place) => write!(f, "{name}/{place}"),
            Self::Mean(name) => write!(f, "{name}/mean"),
        }
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The charts of figures with these names, in the order of the page: those of the method, those of any run, each list by its
/// items, and the rest by name. A figure with several values is named once for each, with its place.
pub fn layout(figures: &BTreeSet<(String, Option<usize>)>, method: &[ChartRule]) -> Vec<Layout> {
    let rules: Vec<ChartRule> = method.iter().chain(&COMMON).copied().collect();
    // By place on the page: known rules, then arrays, then the rest by name.
    let mut charts: BTreeMap<(usize, String), Vec<LaidOut>> = BTreeMap::new();
    let mut arrays: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (key, index) in figures {
        if let Some(index) = index {
            arrays.entry(key).or_default().push(*index);
            continue;
        }
        let place = match rule_of(&rules, key) {
            Some(rule) => (rule, rules[rule].title.to_owned()),
            None => (rules.len() + 1, stem(key).to_owned()),
        };
        let curve = LaidOut { label: key.clone(), figure: Source::Number(key.clone()) };
        charts.entry(place).or_default().push(curve);
    }
    for (key, items) in arrays {
        let rule = rule_of(&rules, key);
        let of = match rule.map_or(Items::Unnamed, |rule| rules[rule].items) {
            Items::Unnamed => "item",
            Items::Each(of) | Items::WithMean(of) => of,
        };
        let item = |at| LaidOut { label: format!("{of} {at}"), figure: Source::Item(key.to_owned(), at) };
        charts.insert((rules.len(), format!("{key}, by {of}")), items.into_iter().map(item).collect());
        if let Some(rule) = rule.filter(|&rule| matches!(rules[rule].items, Items::WithMean(_))) {
            let mean = LaidOut { label: key.to_owned(), figure: Source::Mean(key.to_owned()) };
            charts.entry((rule, rules[rule].title.to_owned())).or_default().push(mean);
        }
    }
    let mut layouts = Vec::new();
    for ((place, title), curves) in charts {
        let note = rules.get(place).map_or("", |rule| rule.note);
        match &curves[..] {
            [only] if place > rules.len() => layouts.extend(split(note, &only.label.clone(), curves)),
            _ => layouts.extend(split(note, &title, curves)),
        }
    }
    layouts
}

/// The charts of a log with their points.
pub(super) fn group(log: &MetricsLog, method: &[ChartRule]) -> Vec<Group> {
    let figures = log.curves.keys().cloned().collect();
    let layouts = layout(&figures, method).into_iter();
    layouts
        .map(|Layout { title, note, curves }| {
            let curve = |LaidOut { label, figure }| Curve { label, points: points(log, figure) };
            Group { title, note, curves: curves.into_iter().map(curve).collect() }
        })
        .collect()
}

fn points(log: &MetricsLog, figure: Source) -> Vec<(f64, f64)> {
    let one = |key| log.curves.get(&key).cloned().unwrap_or_default();
    match figure {
        Source::Number(key) => one((key, None)),
        Source::Item(key, at) => one((key, Some(at))),
        Source::Mean(key) => {
            let items = log.curves.range((key.clone(), Some(0))..=(key, Some(usize::MAX)));
            mean_of(&items.map(|(_, points)| points.as_slice()).collect::<Vec<_>>())
        }
    }
}

/// Charts of at most [`COLOURS`] curves.
fn split(note: &'static str, title: &str, mut curves: Vec<LaidOut>) -> Vec<Layout> {
    let parts = curves.len().div_ceil(COLOURS);
    (1..=parts)
        .map(|part| {
            let rest = curves.split_off(curves.len().min(COLOURS));
            let curves = std::mem::replace(&mut curves, rest);
            let title = if parts > 1 { format!("{title} ({part} of {parts})") } else { title.to_owned() };
            Layout { title, note, curves }
        })
        .collect()
}

fn rule_of(rules: &[ChartRule], key: &str) -> Option<usize> {
    rules.iter().position(|rule| {
        rule.keys.iter().any(|pattern| match pattern.strip_suffix('*') {
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

    const RULES: [ChartRule; 3] = [
        ChartRule::new("Both losses", "Together.", &["loss_a", "loss_b"]),
        ChartRule::new("Logits, mean over heads", "", &["logits_*"]).with(Items::WithMean("head")),
        ChartRule::new("R1", "", &["r1", "r1_*"]).with(Items::Each("head")),
    ];

    fn titles(text: &str) -> Vec<(String, Vec<String>)> {
        let groups = group(&MetricsLog::parse(text.as_bytes()), &RULES);
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
    fn a_methods_charts_come_first_then_those_of_any_run_then_each_head() {
        check(
            r#"{"step":1,"lr_g":1,"r1":2,"loss_b":1,"loss_a":1,"loss_c":3,"grad_norm_g":1,"logits_x":[1,2],"r1_heads":[1,2]}"#,
            &[
                ("Both losses", &["loss_a", "loss_b"]),
                ("Logits, mean over heads", &["logits_x"]),
                ("R1", &["r1"]),
                ("Loss", &["loss_c"]),
                ("Gradient norms of the weights", &["grad_norm_g"]),
                ("Learning rate", &["lr_g"]),
                ("logits_x, by head", &["head 0", "head 1"]),
                ("r1_heads, by head", &["head 0", "head 1"]),
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
    fn each_curve_says_where_its_values_come_from() {
        let figures = [("logits_x", Some(0)), ("logits_x", Some(1)), ("loss_a", None)];
        let figures = figures.map(|(name, at)| (name.to_owned(), at)).into();
        let layouts = layout(&figures, &RULES);
        let named: Vec<Vec<String>> = layouts
            .iter()
            .map(|chart| chart.curves.iter().map(|curve| curve.figure.to_string()).collect())
            .collect();
        assert_eq!(named, [vec!["loss_a"], vec!["logits_x/mean"], vec!["logits_x/0", "logits_x/1"]]);
    }

    #[test]
    fn the_mean_tolerates_a_missing_head() {
        let log =
            MetricsLog::parse(b"{\"step\":1,\"logits_real\":[1,3]}\n{\"step\":2,\"logits_real\":[null,5]}");
        let groups = group(&log, &RULES);
        assert_eq!(groups[0].curves[0].points, [(1.0, 2.0), (2.0, 5.0)]);
    }
}
