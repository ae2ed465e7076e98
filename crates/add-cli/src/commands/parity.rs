//! `add parity`: this build's numbers against recorded results of the reference libraries.

use std::{collections::BTreeMap, path::PathBuf};

use add_core::{device, error::CoreError};
use add_parity::{Found, Outcome, ParityRow, Timing};
use burn::tensor::Device;
use clap::Args;

use super::print;
use crate::Outcome as ExitCode;

/// Arguments of `parity`.
#[derive(Debug, Args)]
pub(crate) struct Parity {
    /// Folder of fixtures, searched recursively; the folder that holds a fixture names its family. With `--full`, the
    /// file of the expected outputs.
    path: PathBuf,
    /// Compare this network in its released size, with weights from a formula, such as sd15_unet.
    #[arg(long, value_name = "NETWORK", conflicts_with_all = ["family", "only"])]
    full: Option<String>,
    /// Seed of the formula; else that of the report beside the file, else 7.
    #[arg(long, value_name = "N", requires = "full")]
    seed: Option<u64>,
    /// Only this family, such as unet; may be repeated.
    #[arg(long, value_name = "NAME")]
    family: Vec<String>,
    /// Only fixtures whose name contains this.
    #[arg(long, value_name = "SUBSTRING")]
    only: Option<String>,
    /// The device of this build's numbers, as a recipe names it.
    #[arg(long, default_value = "Flex()")]
    device: String,
    /// Print failures and the counts of each family only.
    #[arg(long)]
    quiet: bool,
}

/// How many rows came to what end.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Count {
    passed: usize,
    pub(super) failed: usize,
    skipped: usize,
}

impl Parity {
    pub(crate) fn run(&self) -> ExitCode {
        let device = device::device(device::parse(&self.device)?)?;
        if let Some(network) = &self.full {
            return self.run_full(network, &device);
        }
        let mut families: BTreeMap<String, Count> = BTreeMap::new();
        for found in self.wanted()? {
            let rows = add_parity::run(&found, &device);
            let count = Count::of(&rows);
            for row in rows.iter().filter(|row| row.failure() || !self.quiet) {
                print(&line(&found.label, row));
            }
            if !self.quiet {
                print(&format!("{}: {}{}\n", found.label, count.text(), worst(&rows)));
            }
            families.entry(found.family).or_default().add(count);
        }
        let mut all = Count::default();
        for (family, count) in &families {
            if families.len() > 1 {
                print(&format!("{family}: {}", count.text()));
            }
            all.add(*count);
        }
        print(&all.text());
        Ok(u8::from(all.failed > 0))
    }

    fn run_full(&self, network: &str, device: &Device) -> ExitCode {
        let full = add_parity::run_full(network, &self.path, self.seed, device)
            .map_err(|error| CoreError::Request(error.to_string()))?;
        for row in full.rows.iter().filter(|row| row.failure() || !self.quiet) {
            print(&line(network, row));
        }
        for Timing { part, fill_s, forward_s } in &full.timings {
            print(&format!("{part}: weights made in {fill_s:.1} s, forward {forward_s:.2} s"));
        }
        if let Some(peak) = add_kernels::peak_resident() {
            let gib = peak as f64 / f64::from(1 << 30);
            print(&format!("peak memory {gib:.2} GiB"));
        }
        let count = Count::of(&full.rows);
        print(&count.text());
        Ok(u8::from(count.failed > 0))
    }

    /// The fixtures that were asked for.
    fn wanted(&self) -> Result<Vec<Found>, CoreError> {
        let all = add_parity::find(&self.path).map_err(|error| CoreError::Request(error.to_string()))?;
        let of_family = |found: &Found| self.family.is_empty() || self.family.contains(&found.family);
        let of_name = |found: &Found| self.only.as_ref().is_none_or(|part| found.label.contains(part));
        let wanted: Vec<Found> =
            all.iter().filter(|found| of_family(found) && of_name(found)).cloned().collect();
        if wanted.is_empty() {
            let labels: Vec<&str> = all.iter().map(|found| found.label.as_str()).collect();
            let problem = format!("no fixture matches the filters; there are {}", labels.join(", "));
            return Err(CoreError::Request(problem));
        }
        Ok(wanted)
    }
}

impl Count {
    pub(super) fn of(rows: &[ParityRow]) -> Self {
        let mut count = Self::default();
        for row in rows {
            if row.passed() {
                count.passed += 1;
            } else if row.was_skipped() {
                count.skipped += 1;
            } else {
                count.failed += 1;
            }
        }
        count
    }

    pub(super) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    pub(super) fn text(self) -> String {
        let Self { passed, failed, skipped } = self;
        format!("{passed} passed, {failed} failed, {skipped} skipped")
    }

    /// From its text.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut numbers = text.split(", ").map(|part| part.split(' ').next().and_then(|n| n.parse().ok()));
        let mut next = || numbers.next().flatten();
        Some(Self { passed: next()?, failed: next()?, skipped: next()? })
    }
}

/// Fixture, tensor, largest absolute difference, tolerance, verdict.
fn line(label: &str, row: &ParityRow) -> String {
    let verdict = match &row.outcome {
        Outcome::Compared { difference, tolerance } => {
            let verdict = if row.passed() { "ok" } else { "FAILED" };
            format!("{difference:>9.2e} {tolerance:>9.2e} {verdict}")
        }
        Outcome::Failed(problem) => format!("{:>9} {:>9} FAILED: {problem}", "-", "-"),
        Outcome::Skipped(reason) => format!("{:>9} {:>9} skipped: {reason}", "-", "-"),
    };
    format!("{label:<28} {:<52} {verdict}", row.tensor)
}

/// The row that came nearest to its tolerance, among those that have one.
fn worst(rows: &[ParityRow]) -> String {
    let share = |row: &ParityRow| match row.outcome {
        Outcome::Compared { difference, tolerance } if tolerance > 0.0 => Some(difference / tolerance),
        _ => None,
    };
    let shares = rows.iter().filter_map(|row| Some((row, share(row)?)));
    let worst = shares.max_by(|(_, a), (_, b)| a.total_cmp(b));
    worst.map_or_else(String::new, |(row, share)| {
        format!("; the worst is {} at {share:.2} of its tolerance", row.tensor)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_read_from_its_text() {
        let count = Count { passed: 12, failed: 3, skipped: 4 };
        let read = Count::read(&count.text()).expect("its own text");
        assert_eq!((read.passed, read.failed, read.skipped), (12, 3, 4));
        assert!(Count::read("12 passed").is_none() && Count::read("").is_none());
    }
}
