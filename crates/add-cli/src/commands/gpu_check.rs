//! `add gpu-check`: one command for a machine with a GPU. It compares the GPU's numbers with the reference libraries', times training
//! steps and sampling with drawn weights, and writes a table; what could not run says why.
//!
//! Every timing is a process of its own, so that one that runs out of memory ends alone and each peak is its own.

mod cases;
mod kept;

use std::{
    fs, io,
    path::PathBuf,
    process::{Command, Output},
    time::{SystemTime, UNIX_EPOCH},
};

use add_core::{device, error::CoreError, recipe::Dtype};
use add_parity::Found;
use burn::tensor::{DType, Device};
use cases::Measured;
use clap::Args;
use kept::Kept;

use super::{parity::Count, print};
use crate::{Outcome, terminal::say};

/// Arguments of `gpu-check`.
#[derive(Debug, Args)]
pub(crate) struct GpuCheck {
    /// The device, as a recipe names it.
    #[arg(long, default_value = "Cuda(0)")]
    device: String,
    /// Use tiny networks, to test the check itself on a machine without a GPU.
    #[arg(long)]
    small: bool,
    /// Folder of reference fixtures.
    #[arg(long, value_name = "FOLDER", default_value = "crates/add-parity/tests/fixtures")]
    fixtures: PathBuf,
    /// Folder of the recipes that are timed.
    #[arg(long, value_name = "FOLDER", default_value = "configs")]
    configs: PathBuf,
    /// Also write the table into this file.
    #[arg(long, value_name = "MARKDOWN")]
    out: Option<PathBuf>,
    /// Keep every result and what each process said in this folder; a call that was cut short goes on from there.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// Measure this case alone, in this process.
    #[arg(long, hide = true, value_name = "N")]
    case: Option<usize>,
}

/// A line of the table.
struct Line {
    what: String,
    result: String,
    memory: String,
    beside: String,
}

impl GpuCheck {
    pub(crate) fn run(&self) -> Outcome {
        let choice = device::parse(&self.device)?;
        let cases = cases::all(&self.configs, &self.device, self.small);
        if let Some(case) = self.case {
            let case =
                cases.get(case).ok_or_else(|| CoreError::Request(format!("--case: there is no {case}")))?;
            print(&case.measure()?.line());
            return Ok(0);
        }
        let device = device::device(choice)?;
        let identity = format!("{}, {}", self.device, device::driver(choice)?);
        let kept =
            Kept::open(self.keep.as_deref(), &format!("{identity}, add {}", env!("CARGO_PKG_VERSION")))?;
        let mut lines = Vec::new();
        let failed = self.parity(&device, &kept, &mut lines)?;
        let mut refused: Option<&String> = None;
        for (number, case) in cases.iter().enumerate() {
            if case.dtype == Dtype::BF16 && !device.supports_dtype(DType::BF16) {
                lines.push(case.refused());
                continue;
            }
            say(&case.title);
            let outcome = match refused {
                Some(series) if *series == case.series => Err("the smaller batch did not run".to_owned()),
                _ => self.measure_apart(number, &kept)?,
            };
            refused = outcome.is_err().then_some(&case.series);
            lines.push(case.line(outcome));
        }
        let table = table(&identity, &lines);
        print(&table);
        if let Some(path) = &self.out {
            fs::write(path, table).map_err(CoreError::io(path))?;
        }
        Ok(u8::from(failed > 0))
    }

    /// A line for each family of fixtures; returns how many tensors failed.
    fn parity(&self, device: &Device, kept: &Kept, lines: &mut Vec<Line>) -> Result<usize, CoreError> {
        let not_measured = |why: String| Line {
            what: "parity with the reference libraries".to_owned(),
            result: format!("not measured: {why}"),
            memory: "-".to_owned(),
            beside: String::new(),
        };
        let found = match add_parity::find(&self.fixtures) {
            Ok(found) => found,
            Err(error) => {
                lines.push(not_measured(error.to_string()));
                return Ok(0);
            }
        };
        let mut families: Vec<&str> = found.iter().map(|found| found.family.as_str()).collect();
        families.sort_unstable();
        families.dedup();
        let mut failed = 0;
        for family in families {
            let name = format!("parity-{family}.txt");
            let before = kept.get(&name).and_then(|text| Count::read(text.lines().last()?));
            let count = match before {
                Some(count) => count,
                None => of_family(&found, family, device, kept, &name)?,
            };
            failed += count.failed;
            lines.push(Line {
                what: format!("parity, {family}"),
                result: count.text(),
                memory: "-".to_owned(),
                beside: "tolerances of the processor's comparison".to_owned(),
            });
        }
        Ok(failed)
    }

    /// The figures of a case that another process measures, or measured in an earlier call.
    fn measure_apart(&self, case: usize, kept: &Kept) -> Result<Result<Measured, String>, CoreError> {
        let name = format!("case-{case:02}.txt");
        if let Some(measured) = kept.get(&name).and_then(|text| Measured::read(&text)) {
            return Ok(Ok(measured));
        }
        let output = match self.process(case) {
            Ok(output) => output,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let [figures, told] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        kept.put(&name.replace(".txt", "-said.txt"), &told)?;
        let measured = Measured::read(&figures).filter(|_| output.status.success());
        if measured.is_some() {
            kept.put(&name, &figures)?;
        }
        Ok(measured.ok_or_else(|| {
            let reason =
                told.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no reason given");
            format!("{reason} ({})", output.status)
        }))
    }

    /// A process that measures a case.
    fn process(&self, case: usize) -> io::Result<Output> {
        let program = std::env::current_exe()?;
        let mut command = Command::new(program);
        command.args(["gpu-check", "--device", &self.device, "--case", &case.to_string()]);
        command.arg("--configs").arg(&self.configs).args(self.small.then_some("--small"));
        command.output()
    }
}

/// Compares a family of fixtures; its failed rows are kept too.
fn of_family(
    found: &[Found],
    family: &str,
    device: &Device,
    kept: &Kept,
    name: &str,
) -> Result<Count, CoreError> {
    let (mut count, mut lines) = (Count::default(), Vec::new());
    for found in found.iter().filter(|found| found.family == family) {
        let rows = add_parity::run(found, device);
        for row in rows.iter().filter(|row| row.failure()) {
            lines.push(format!("{} {}: {:?}", found.label, row.tensor, row.outcome));
        }
        count.add(Count::of(&rows));
    }
    lines.push(count.text());
    kept.put(name, &lines.join("\n"))?;
    Ok(count)
}

/// The results as a table in Markdown.
fn table(device: &str, lines: &[Line]) -> String {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400);
    let (year, month, day) = date(days);
    let rows = lines.iter().map(|line| {
        let Line { what, result, memory, beside } = line;
        let cells = [what, result, memory, beside].map(|cell| cell.replace('|', "/"));
        format!("| {} |\n", cells.join(" | "))
    });
    format!(
        "Device: {device}; {year}-{month:02}-{day:02}; add {}. Weights are drawn. In bf16: every frozen \
         network, and the student with f32 values; heads and losses in f32.\n\n| what | result | memory | beside it |\n|---|---|---|---|\n{}",
        env!("CARGO_PKG_VERSION"),
        rows.collect::<String>()
    )
}

/// Year, month and day of the Gregorian calendar, `days` after 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut left) = (1970, days);
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let months = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in months {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(20_783), (2026, 11, 26));
    }

    #[test]
    fn a_cell_cannot_break_the_table() {
        let cell = |text: &str| text.to_owned();
        let line = Line { what: cell("a|b"), result: cell("1"), memory: cell("-"), beside: cell("") };
        assert!(table("x", &[line]).ends_with("| a/b | 1 | - |  |\n"));
    }
}
