//! The page: our rows with mean and spread beside the paper's, and whether its order holds.

use std::{fmt::Write as _, path::Path};

use add_charts::{Point, scatter, standalone};
use serde_json::Value;

use super::rows::Row;
use crate::workspace::read_json;

/// What a run was measured by: the distance on features that no loss has seen, and how often the concept is read off.
const DISTANCE: &str = "fd-mobilenet-17";
const AGREEMENT: &str = "accuracy-concept";

/// The figures of one run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Figures {
    pub(super) distance: f64,
    pub(super) agreement: f64,
    /// Seconds that a picture takes.
    pub(super) seconds: f64,
}

impl Figures {
    /// Those of the student's `steps` in the run's `evaluation.json`.
    pub(super) fn of(folder: &Path, steps: u64) -> Result<Self, String> {
        let rows = evaluation(folder)?;
        let figure = |metric: &str, field: &str| {
            let row = rows.iter().find(|row| {
                row["model"] == "student"
                    && row["steps"] == steps
                    && row["split"] == "train"
                    && row["metric"] == metric
            });
            let value = row.and_then(|row| row[field].as_f64());
            let missing =
                || format!("{}: it has no {metric} of the student at {steps} steps", folder.display());
            value.ok_or_else(missing)
        };
        Ok(Self {
            distance: figure(DISTANCE, "value")?,
            agreement: figure(AGREEMENT, "value")?,
            seconds: figure(DISTANCE, "seconds_per_image")?,
        })
    }
}

/// The rows of a run's `evaluation.json`.
fn evaluation(folder: &Path) -> Result<Vec<Value>, String> {
    read_json(&folder.join("evaluation.json"))
}

/// Every other model of a run's evaluation as a point of the plot, such as its teacher at several steps.
pub(super) fn beside(folder: &Path) -> Result<Vec<Point>, String> {
    let rows = evaluation(folder)?;
    let others = rows
        .iter()
        .filter(|row| row["model"] != "student" && row["split"] == "train" && row["metric"] == DISTANCE);
    let point = |row: &Value| {
        let (model, steps) = (row["model"].as_str()?, row["steps"].as_u64()?);
        let label = format!("{model}, {steps} {}", if steps == 1 { "step" } else { "steps" });
        Some(Point { label, x: row["seconds_per_image"].as_f64()?, y: row["value"].as_f64()? })
    };
    Ok(others.filter_map(point).collect())
}

/// Quality against the time of a picture, as the paper's Fig. 5 has it: what was measured, by the mean over seeds, and `others`.
pub(super) fn plot(
    rows: &[&Row],
    measured: &[(String, Measured)],
    others: Vec<Point>,
) -> Result<String, String> {
    let mut points = others;
    for (recipe, measured) in measured {
        let Some(row) = rows.iter().find(|row| row.recipe == *recipe) else { continue };
        let mean = |figure: &dyn Fn(&Figures) -> f64| {
            Spread::of(&measured.seeds.iter().map(figure).collect::<Vec<_>>()).mean
        };
        points.push(Point { label: row.name.clone(), x: mean(&|f| f.seconds), y: mean(&|f| f.distance) });
    }
    let drawn = scatter(&points, "seconds a picture", DISTANCE).map_err(|error| error.to_string())?;
    Ok(standalone(&drawn))
}

/// A recipe that was run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Measured {
    /// Its learning rate, where it was chosen.
    pub(super) rate: Option<f64>,
    /// One entry a seed.
    pub(super) seeds: Vec<Figures>,
}

/// Mean and standard deviation over seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    mean: f64,
    /// `None` for a single seed.
    deviation: Option<f64>,
    seeds: usize,
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        let deviation = (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt());
        Self { mean, deviation, seeds: values.len() }
    }

    fn shown(&self, digits: usize) -> String {
        match self.deviation {
            None => format!("{:.digits$}", self.mean),
            Some(deviation) => format!("{:.digits$} ± {deviation:.digits$}", self.mean),
        }
    }

    /// The variance of the mean.
    fn variance(&self) -> Option<f64> {
        self.deviation.map(|deviation| deviation.powi(2) / self.seeds as f64)
    }
}

/// Differences below so many standard errors decide nothing.
const ERRORS: f64 = 2.0;

/// Whether our difference of two rows has the sign of the paper's.
fn verdict(paper: Option<f64>, ours: Spread, reference: Spread) -> &'static str {
    let Some(paper) = paper else { return "-" };
    let (Some(a), Some(b)) = (ours.variance(), reference.variance()) else {
        return "undecided: one seed";
    };
    let difference = ours.mean - reference.mean;
    if difference.abs() < ERRORS * (a + b).sqrt() {
        return "undecided";
    }
    if paper == 0.0 {
        return "the paper's are equal";
    }
    if (difference > 0.0) == (paper > 0.0) { "reproduced" } else { "contradicted" }
}

/// How far the paper's row is from its reference, where it has both.
fn difference(row: Option<f64>, reference: Option<f64>) -> Option<f64> {
    Some(row? - reference?)
}

/// A figure of the paper.
fn shown(figure: Option<f64>) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| figure.to_string())
}

/// The page of these rows; `told` says how it was made, `grids` has the pictures of a row by its recipe.
pub(super) fn page(
    rows: &[&Row],
    measured: &[(String, Measured)],
    grids: &[(String, String)],
    told: &str,
) -> String {
    let of =
        |row: &Row| measured.iter().find(|(recipe, _)| *recipe == row.recipe).map(|(_, measured)| measured);
    let spread = |row: &Row, figure: &dyn Fn(&Figures) -> f64| {
        of(row).map(|measured| Spread::of(&measured.seeds.iter().map(figure).collect::<Vec<_>>()))
    };
    let mut page = format!(
        "# The paper's tables in miniature\n\nWritten by `cargo xtask paper`. {told} Ours are the Frechet distance `{DISTANCE}` to the \
         training pictures and the share of pictures off which the judge reads the caption's concept, `{AGREEMENT}`; the \
         paper's are FID and CLIP score, and no number of one column is to be compared with one of another. Mean ± standard \
         deviation over seeds. Each row is compared with the one that its table names below: a difference of less than {ERRORS} \
         standard errors is undecided.\n"
    );
    let mut tables: Vec<&str> = rows.iter().map(|row| row.table.as_str()).collect();
    tables.dedup();
    for table in tables {
        let rows: Vec<&&Row> = rows.iter().filter(|row| row.table == table).collect();
        let reference = rows.iter().find(|row| row.reference);
        let _ = writeln!(
            page,
            "\n## Table {table}\n\n| row | learning rate | distance | concept | paper: FID | CLIP score | order by distance | order by \
             concept |\n|---|---|---|---|---|---|---|---|"
        );
        for row in &rows {
            let (Some(distance), Some(agreement)) =
                (spread(row, &|f| f.distance), spread(row, &|f| f.agreement))
            else {
                continue;
            };
            let rate = of(row).and_then(|measured| measured.rate);
            let rate = rate.map_or_else(|| "the recipe's".to_owned(), |rate| format!("{rate:e}"));
            let verdicts =
                reference.filter(|reference| reference.recipe != row.recipe).and_then(|reference| {
                    Some([
                        verdict(
                            difference(row.fid, reference.fid),
                            distance,
                            spread(reference, &|f| f.distance)?,
                        ),
                        verdict(
                            difference(row.clip_score, reference.clip_score),
                            agreement,
                            spread(reference, &|f| f.agreement)?,
                        ),
                    ])
                });
            let [by_distance, by_concept] = verdicts.unwrap_or(["-"; 2]);
            let _ = writeln!(
                page,
                "| {} | {rate} | {} | {} | {} | {} | {by_distance} | {by_concept} |",
                row.name,
                distance.shown(3),
                agreement.shown(3),
                shown(row.fid),
                shown(row.clip_score)
            );
        }
        if let Some(reference) = reference {
            let _ = writeln!(page, "\nCompared with: {}.", reference.name);
        }
        for row in &rows {
            if let Some((_, grid)) = grids.iter().find(|(recipe, _)| *recipe == row.recipe) {
                let _ = writeln!(page, "\n{}:\n\n![{}]({grid})", row.name, row.name);
            }
        }
    }
    let _ = writeln!(
        page,
        "\n## Quality and time\n\nAs in the paper's Fig. 5; lower is better.\n\n![{PLOT}]({PLOT})"
    );
    page
}

/// The plot's file, beside the page.
pub(super) const PLOT: &str = "quality-and-time.svg";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn spread(values: &[f64]) -> Spread {
        Spread::of(values)
    }

    #[test]
    fn mean_and_deviation_by_hand() {
        let three = spread(&[1.0, 2.0, 3.0]);
        assert_eq!((three.mean, three.deviation), (2.0, Some(1.0)));
        assert_eq!((three.shown(2), spread(&[1.0]).shown(2)), ("2.00 ± 1.00".to_owned(), "1.00".to_owned()));
    }

    #[test]
    fn an_order_is_reproduced_contradicted_or_undecided() {
        let [low, high, wide] = [&[1.0, 1.1, 0.9][..], &[2.0, 2.1, 1.9], &[0.0, 3.0, 3.0]].map(spread);
        assert_eq!(verdict(Some(5.0), high, low), "reproduced");
        assert_eq!(verdict(Some(-5.0), high, low), "contradicted");
        assert_eq!(verdict(Some(5.0), wide, low), "undecided");
        assert_eq!(verdict(Some(5.0), high, spread(&[1.0])), "undecided: one seed");
        assert_eq!(verdict(Some(0.0), high, low), "the paper's are equal");
        assert_eq!(verdict(difference(None, Some(20.0)), high, low), "-");
    }

    #[test]
    fn the_page_has_a_table_of_what_was_run_alone() {
        let row = |name: &str, reference: bool, fid: f64| -> Row {
            let text = format!(
                r#"{{"table": "1d", "row": "{name}", "recipe": "{name}.ron", "reference": {reference}, "fid": {fid}, "clip_score": 0.3}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let figures = |distance: f64| Figures { distance, agreement: 0.4, seconds: 0.01 };
        let measured = |values: [f64; 3]| Measured { rate: Some(5e-5), seeds: values.map(figures).to_vec() };
        let all = [
            ("a.ron".to_owned(), measured([2.0, 2.1, 1.9])),
            ("b.ron".to_owned(), measured([1.0, 1.1, 0.9])),
        ];
        let rows = [row("a", false, 30.0), row("b", true, 20.0)];
        let grids = [("b.ron".to_owned(), "b.png".to_owned())];
        let page = page(&rows.iter().collect::<Vec<_>>(), &all, &grids, "Seeds 1, 2, 3.");
        assert!(page.contains("![b](b.png)") && !page.contains("![a]"), "{page}");
        let others = vec![Point { label: "teacher, 25 steps".to_owned(), x: 0.2, y: 1.5 }];
        let plot = plot(&rows.iter().collect::<Vec<_>>(), &all, others).unwrap();
        assert!(plot.matches("<circle").count() == 3 && plot.contains("teacher, 25 steps"), "{plot}");
        assert!(
            page.contains("| a | 5e-5 | 2.000 ± 0.100 | 0.400 ± 0.000 | 30 | 0.3 | reproduced | undecided |"),
            "{page}"
        );
        assert!(page.contains("| b | 5e-5 | 1.000 ± 0.100 | 0.400 ± 0.000 | 20 | 0.3 | - | - |"), "{page}");
    }

    #[test]
    fn figures_are_those_of_the_student_at_its_steps() {
        let folder = tempfile::tempdir().unwrap();
        let row = |model: &str, steps: u64, metric: &str, value: f64| serde_json::json!({"model": model, "steps": steps, "split": "train", "metric": metric, "value": value, "seconds_per_image": 0.25});
        let rows = [
            row("teacher", 1, DISTANCE, 9.0),
            row("student", 4, DISTANCE, 8.0),
            row("student", 1, DISTANCE, 2.5),
            row("student", 1, AGREEMENT, 0.4),
        ];
        fs::write(folder.path().join("evaluation.json"), Value::from(rows.to_vec()).to_string()).unwrap();
        assert_eq!(
            Figures::of(folder.path(), 1),
            Ok(Figures { distance: 2.5, agreement: 0.4, seconds: 0.25 })
        );
        assert_eq!(
            beside(folder.path()).unwrap(),
            [Point { label: "teacher, 1 step".to_owned(), x: 0.25, y: 9.0 }]
        );
        assert!(Figures::of(folder.path(), 4).unwrap_err().contains(AGREEMENT));
        assert!(Figures::of(&folder.path().join("none"), 1).is_err());
    }
}
