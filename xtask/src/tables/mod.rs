//! `cargo xtask paper`: the rows of the paper's tables in miniature, several seeds each, and a page about them.
//!
//! What a row is stands in `configs/miniature/rows.json`. Every run has a folder; one that is done is not done again, and one
//! that was broken off goes on at its last checkpoint. Before a row is run with its seeds, its learning rate is chosen among a
//! few by short runs of the first seed.

mod page;
mod rows;
mod runs;

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;

use self::{
    page::{Figures, Measured},
    rows::Row,
    runs::{Job, Runner},
};
use crate::workspace::{built, root};

/// Arguments of `paper`.
#[derive(Debug, Args)]
pub(crate) struct Paper {
    /// Which tables, such as 1b 1d [default: all].
    tables: Vec<String>,
    /// Seeds of each row.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 3])]
    seeds: Vec<u64>,
    /// Steps of a run that is to choose a learning rate; 0 keeps the recipes' own.
    #[arg(long, default_value_t = 300)]
    tuning: u64,
    /// Override a field of every row, such as --set run.steps=300; may be repeated.
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Folder of the runs and of the page.
    #[arg(long, value_name = "FOLDER", default_value = "runs/paper")]
    out: PathBuf,
    /// Say what would be run and how long it would take, and stop.
    #[arg(long)]
    plan: bool,
}

impl Paper {
    pub(crate) fn run(&self) -> Result<(), String> {
        let rows = rows::read(&root().join("configs/miniature/rows.json"))?;
        let rows = chosen(rows, &self.tables)?;
        let runner = Runner::new(built(&["--release"])?, &self.out, &self.set);
        let recipes = distinct(&rows);
        let mut left = 0.0;
        for row in &recipes {
            left += self.cost(&runner, row)?;
        }
        say!("{} rows of {} recipes, about {} left", rows.len(), recipes.len(), duration(left));
        if self.plan {
            return Ok(());
        }
        let mut measured: Vec<(String, Measured)> = Vec::new();
        let (mut grids, mut others) = (Vec::new(), Vec::new());
        for row in recipes {
            let rate = self.tune(&runner, row)?;
            let (mut figures, mut folders) = (Vec::new(), Vec::new());
            for &seed in &self.seeds {
                let job = Job::of_seed(row, seed, rate);
                runner.run(&job)?;
                folders.push(runner.folder(&job));
                figures.push(Figures::of(&runner.folder(&job), row.steps)?);
            }
            measured.push((row.recipe.clone(), Measured { rate, seeds: figures }));
            if let Some(folder) = folders.first() {
                grids.extend(self.grid(row, folder)?.map(|grid| (row.recipe.clone(), grid)));
                // Every row has the same teacher.
                if others.is_empty() {
                    others = page::beside(folder)?;
                }
            }
            // A page after every row: whoever stops here has what is done.
            let done = |row: &&Row| measured.iter().any(|(recipe, _)| *recipe == row.recipe);
            let done: Vec<&Row> = rows.iter().filter(done).collect();
            self.write("README.md", &page::page(&done, &measured, &grids, &self.told()))?;
            self.write(page::PLOT, &page::plot(&done, &measured, others.clone())?)?;
        }
        say!("{}", self.out.join("README.md").display());
        Ok(())
    }

    /// Writes a file of the page.
    fn write(&self, name: &str, text: &str) -> Result<(), String> {
        let path = self.out.join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The last sample grid of a row's run, copied beside the page, by its name; `None` where the run drew none.
    fn grid(&self, row: &Row, folder: &Path) -> Result<Option<String>, String> {
        let drawn = fs::read_dir(folder.join("samples")).into_iter().flatten().flatten();
        let Some(last) = drawn.map(|entry| entry.path()).max() else { return Ok(None) };
        let name = format!("{}.png", row.recipe.trim_end_matches(".ron").replace('/', "-"));
        fs::copy(&last, self.out.join(&name)).map_err(|error| format!("{}: {error}", last.display()))?;
        Ok(Some(name))
    }

    /// The learning rate with which `row` is run; `None` for its recipe's own.
    fn tune(&self, runner: &Runner, row: &Row) -> Result<Option<f64>, String> {
        let mut best: Option<(f64, f64)> = None;
        for rate in self.rates(row) {
            let job = Job::of_rate(row, self.seeds.first().copied().unwrap_or(1), rate, self.tuning);
            runner.run(&job)?;
            let distance = Figures::of(&runner.folder(&job), row.steps)?.distance;
            if best.is_none_or(|(least, _)| distance < least) {
                best = Some((distance, rate));
            }
        }
        Ok(best.map(|(_, rate)| rate))
    }

    /// The learning rates that are tried for a row.
    fn rates(&self, row: &Row) -> Vec<f64> {
        if self.tuning == 0 { Vec::new() } else { row.rates.clone() }
    }

    /// Seconds that a row will take from here.
    fn cost(&self, runner: &Runner, row: &Row) -> Result<f64, String> {
        let seed = self.seeds.first().copied().unwrap_or(1);
        let rates = self.rates(row);
        let tuning: Vec<Job> = rates.iter().map(|&rate| Job::of_rate(row, seed, rate, self.tuning)).collect();
        // Which rate will be chosen does not matter to the time.
        let of_seed = |&seed: &u64| {
            let tried = rates.iter().map(|&rate| Job::of_seed(row, seed, Some(rate)));
            let done = tried.chain([Job::of_seed(row, seed, None)]).find(|job| runner.is_done(job));
            done.unwrap_or_else(|| Job::of_seed(row, seed, None))
        };
        let jobs: Vec<Job> = tuning.into_iter().chain(self.seeds.iter().map(of_seed)).collect();
        runner.cost(row, &jobs)
    }

    /// What the page says of how it was made.
    fn told(&self) -> String {
        let seeds: Vec<String> = self.seeds.iter().map(u64::to_string).collect();
        let mut told = vec![format!("Seeds {}.", seeds.join(", "))];
        if self.tuning > 0 {
            told.push(format!(
                "Each row's learning rate is the best of those in `configs/miniature/rows.json` by the distance after {} steps of the \
                 first seed.",
                self.tuning
            ));
        }
        if !self.set.is_empty() {
            told.push(format!("Every recipe with `{}`.", self.set.join("`, `")));
        }
        told.join(" ")
    }
}

/// The rows of these tables, all without one.
fn chosen(rows: Vec<Row>, tables: &[String]) -> Result<Vec<Row>, String> {
    for table in tables {
        if !rows.iter().any(|row| row.table == *table) {
            let mut known: Vec<&str> = rows.iter().map(|row| row.table.as_str()).collect();
            known.dedup();
            return Err(format!("no table {table:?}; expected some of {}", known.join(", ")));
        }
    }
    Ok(rows.into_iter().filter(|row| tables.is_empty() || tables.contains(&row.table)).collect())
}

/// One row for each recipe: tables share some.
fn distinct(rows: &[Row]) -> Vec<&Row> {
    let mut all: Vec<&Row> = Vec::new();
    for row in rows {
        if !all.iter().any(|other| other.recipe == row.recipe) {
            all.push(row);
        }
    }
    all
}

/// Seconds for people.
fn duration(seconds: f64) -> String {
    match seconds {
        _ if seconds >= 5400.0 => format!("{:.1} hours", seconds / 3600.0),
        _ if seconds >= 90.0 => format!("{:.0} minutes", seconds / 60.0),
        _ => format!("{seconds:.0} seconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_rows_name_recipes_that_are_there_and_one_reference_a_table() {
        let rows = rows::read(&root().join("configs/miniature/rows.json")).unwrap();
        for row in &rows {
            assert!(root().join("configs").join(&row.recipe).is_file(), "{}", row.recipe);
            let references = rows.iter().filter(|other| other.table == row.table && other.reference).count();
            assert_eq!(references, 1, "table {}", row.table);
        }
        let shared = distinct(&rows).iter().filter(|row| row.recipe == "emoji.ron").count();
        assert_eq!(shared, 1, "what tables share is run once");
    }

    #[test]
    fn a_table_that_is_none_is_refused_with_those_that_are() {
        let rows = || rows::read(&root().join("configs/miniature/rows.json")).unwrap();
        assert!(chosen(rows(), &["1d".to_owned()]).unwrap().iter().all(|row| row.table == "1d"));
        assert!(chosen(rows(), &["9z".to_owned()]).unwrap_err().contains("1b, 1c, 1d"));
    }

    #[test]
    fn time_is_said_in_units_that_fit() {
        assert_eq!([20.0, 600.0, 9000.0].map(duration), ["20 seconds", "10 minutes", "2.5 hours"]);
    }
}
