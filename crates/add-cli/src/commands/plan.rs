//! `add plan`: what a recipe needs in memory, arithmetic and communication, before anything is bought or begun.

use add_core::{
    device::Kernel,
    error::CoreError,
    plan::{self, KernelKind, Machine, Measures, Plan as Needs},
    read::LoadedRecipe,
    recipe::Recipe,
    rehearsal::{self, Rehearsed},
};
use clap::Args;

use super::{RecipeArgs, memory, print};
use crate::{Outcome, terminal::say};

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// GPUs that share the batch.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    gpus: u16,
    /// Memory of each GPU, such as 80GB, 24GiB or 512MB.
    #[arg(long, default_value = "80GB", value_parser = bytes)]
    memory: f64,
    /// Peak speed of each GPU in TFLOP/s [default: 989, an H100's in bf16 without sparsity; in f32 it has 67].
    #[arg(long, default_value = "989", hide_default_value = true, value_parser = positive)]
    tflops: f64,
    /// Fraction of the peak speed that is reached, 0 to 1.
    #[arg(long, default_value = "0.35", value_parser = positive)]
    utilisation: f64,
    /// Bandwidth from each GPU to its neighbour in GB/s [default: 450, NVLink 4].
    #[arg(long, default_value = "450", hide_default_value = true, value_parser = positive)]
    link: f64,
    /// Also run two steps with random weights and pictures of noise, and compare their memory with the estimate; on a GPU, list
    /// the kernels of a third.
    #[arg(long, conflicts_with = "gpus")]
    rehearse: bool,
}

/// A number above 0.
fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0);
    number.ok_or_else(|| format!("expected a number above 0, got {text:?}"))
}

/// Bytes from a number with its unit.
fn bytes(text: &str) -> Result<f64, String> {
    let units = [("GiB", 30), ("MiB", 20)].map(|(unit, power)| (unit, 2_f64.powi(power)));
    let found = units.into_iter().chain([("GB", 1e9), ("MB", 1e6)]).find_map(|(unit, factor)| {
        let number = positive(text.strip_suffix(unit)?.trim()).ok()?;
        Some(number * factor)
    });
    found.ok_or_else(|| format!("expected a size such as 80GB, 24GiB or 512MB, got {text:?}"))
}

impl Plan {
    pub(crate) fn run(&self) -> Outcome {
        let loaded = self.recipe.read(&[])?;
        let kernels = plan::kernels(&loaded.recipe);
        let needs = plan::plan(&loaded, kernels)?.among(self.gpus.into());
        let machine = Machine {
            gpus: usize::from(self.gpus),
            memory: self.memory,
            flops: 1e12 * self.tflops * self.utilisation,
            link: 1e9 * self.link,
        };
        let Recipe { batch: whole, gradient_accumulation, .. } = loaded.recipe;
        let each = share(whole, machine.gpus)?;
        // GPUs share the accumulation steps; each has at least one.
        let turns = gradient_accumulation.div_ceil(machine.gpus).min(each);
        let batch = each.div_ceil(turns);
        print(&format!(
            "{}: a batch of {whole} over {} GPUs, {each} on each, {batch} at a time\n",
            loaded.recipe.name, machine.gpus
        ));
        let measures = Measures::default();
        networks(&needs, &measures);
        tapes(&needs, &measures, batch, kernels);
        work(&needs, &measures, each, &machine, self);
        fits(&needs, batch, &machine);
        if self.rehearse {
            rehearse(&loaded, needs.peak(&measures, batch))?;
        }
        Ok(0)
    }
}

/// Samples of a batch on each GPU.
fn share(batch: usize, gpus: usize) -> Result<usize, CoreError> {
    if batch.is_multiple_of(gpus) {
        return Ok(batch / gpus);
    }
    Err(CoreError::Request(format!(
        "--gpus: expected a divisor of the batch, {batch}, got {gpus}; see --set batch=…"
    )))
}

/// Bytes for people.
fn size(bytes: f64) -> String {
    match bytes {
        _ if bytes >= 1e9 => format!("{:.2} GB", bytes / 1e9),
        _ if bytes >= 1e6 => format!("{:.1} MB", bytes / 1e6),
        _ => format!("{:.1} kB", bytes / 1e3),
    }
}

fn networks(needs: &Needs, measures: &Measures) {
    print(&format!(
        "{:<16} {:>13} {:>5} {:>10} {:>10} {:>10} {:>10}",
        "network", "parameters", "type", "values", "gradients", "moments", "average"
    ));
    let held = needs.held(measures);
    for network in &held {
        let or_dash = |bytes: f64| if bytes > 0.0 { size(bytes) } else { "-".to_owned() };
        print(&format!(
            "{:<16} {:>13} {:>5} {:>10} {:>10} {:>10} {:>10}",
            network.role,
            network.parameters,
            network.dtype.name(),
            size(network.values),
            or_dash(network.gradients),
            or_dash(network.moments),
            or_dash(network.average)
        ));
    }
    let total = held.iter().map(|h| h.values + h.gradients + h.moments + h.average).sum();
    print(&format!("{:<16} {:>64}\n", "together", size(total)));
}

fn tapes(needs: &Needs, measures: &Measures, batch: usize, kernels: KernelKind) {
    print("activations that a backward pass waits for      a sample        a step");
    for (name, bytes) in needs.tapes(measures).into_iter().filter(|(_, bytes)| *bytes > 0.0) {
        print(&format!("{name:<44} {:>11} {:>13}", size(bytes), size(bytes * batch as f64)));
    }
    let how = match kernels {
        KernelKind::Fused => "with this project's kernels: the input of every layer, once",
        KernelKind::Pure => {
            "on this device: the input of every layer, and what normalisations and activations make on their way"
        }
    };
    print(&format!("({how}; attention keeps no scores. Not all live at once.)\n"));
}

fn work(needs: &Needs, measures: &Measures, batch: usize, machine: &Machine, given: &Plan) {
    print(&format!("{:<24} {:>7} {:>16}", "arithmetic of a sample", "passes", "TFLOP"));
    let parts = needs.work(measures);
    for part in &parts {
        print(&format!("{:<24} {:>7} {:>16.4}", part.name, part.passes, part.flops / 1e12));
    }
    let flops = batch as f64 * parts.iter().map(|part| part.flops).sum::<f64>();
    let seconds = machine.seconds(flops);
    print(&format!(
        "a step: {:.3} TFLOP on each GPU, {seconds:.3} s at {:.0} % of {} TFLOP/s (an assumption, not a measurement)",
        flops / 1e12,
        100.0 * given.utilisation,
        given.tflops
    ));
    sent("gradients", needs.gradient_bytes(measures), machine, given);
    if machine.gpus > 1 && needs.spread_bytes(measures) > 0.0 {
        sent("updated values", needs.spread_bytes(measures), machine, given);
    }
}

/// What each GPU sends so that all have the sum of `bytes`.
fn sent(what: &str, bytes: f64, machine: &Machine, given: &Plan) {
    let sent = machine.all_reduce_bytes(bytes);
    print(&format!(
        "{what}: each GPU sends {} a step, 2 (n - 1) / n of them in f32, {:.3} s at {} GB/s if nothing is computed meanwhile",
        size(sent),
        sent / machine.link,
        given.link
    ));
}

fn fits(needs: &Needs, batch: usize, machine: &Machine) {
    let usable = machine.usable();
    print(&format!(
        "\npeak memory of each GPU, of {} usable ({:.0} % of {} are left to driver, kernels and gaps)",
        size(usable),
        100.0 * Machine::RESERVE,
        size(machine.memory)
    ));
    let own = format!("batch {batch}");
    print(&format!(
        "{:<40} {:>11} {own:>12} {:>14}",
        "measures, each on top of the last", "batch 1", "largest batch"
    ));
    let ladder = plan::ladder(machine.gpus);
    for (name, measures) in &ladder {
        let largest = match needs.largest_batch(measures, usable) {
            0 => "none".to_owned(),
            largest => largest.to_string(),
        };
        let (one, all) = (size(needs.peak(measures, 1)), size(needs.peak(measures, batch)));
        print(&format!("{name:<40} {one:>11} {all:>12} {largest:>14}"));
    }
    let enough = ladder.iter().find(|(_, measures)| needs.peak(measures, batch) <= usable);
    print(&match enough {
        Some((name, _)) => format!("{own} fits with: {}", name.trim_start_matches("+ ")),
        None => format!("{own} fits with none of them: more GPUs, or gradients added up over several passes"),
    });
    print(
        "In a recipe: `checkpointing: Blocks`, `space: Crop(…)`, `dtype: (teacher: BF16, …)`, `ema_home: Host`, \
         `dtype: (model: BF16)`, `optimizer_states: Sharded`, `adapter: Lora(…)`. Not counted: the data loader, the optimiser's temporaries, autotuning.",
    );
}

/// Does what was planned. The second step is the first with moments and average in their places.
fn rehearse(loaded: &LoadedRecipe, planned: f64) -> Result<(), CoreError> {
    // The program's own memory is not the recipe's.
    let program = add_kernels::reset_peak_resident().unwrap_or(0) as f64;
    rehearsal::check_networks(loaded)?;
    say("rehearsing two steps with drawn weights");
    let Rehearsed { first, each, account } = rehearsal::train(loaded, 1)?;
    print(&format!("\nrehearsed: steps of {first:.2} s and {each:.2} s, every figure finite"));
    let beside = |bytes: f64| {
        format!("{:+.1} % of the {} that were planned", 100.0 * (bytes / planned - 1.0), size(planned))
    };
    let taken = memory(loaded)?.map(|bytes| bytes as f64);
    print(&match (&account, taken) {
        (Some(account), _) => {
            let pools = taken
                .map_or_else(String::new, |bytes| format!("; the device's pools now take {}", size(bytes)));
            let in_use = account.in_use as f64;
            format!("{} in use at the fullest moment, {}{pools}", size(in_use), beside(in_use))
        }
        (None, Some(bytes)) => {
            let taken = (bytes - program).max(0.0);
            format!("{} taken beside the program's {}, {}", size(taken), size(program), beside(taken))
        }
        (None, None) => "this system does not say how much memory was taken".to_owned(),
    });
    if let Some(account) = account {
        list(&account.kernels);
    }
    Ok(())
}

/// Kernels of a step that are listed one by one.
const LISTED: usize = 12;

/// The kernels of a step.
fn list(kernels: &[Kernel]) {
    let together = |kernels: &[Kernel]| {
        let launches: usize = kernels.iter().map(|kernel| kernel.launches).sum();
        (launches, kernels.iter().map(|kernel| kernel.seconds).sum::<f64>())
    };
    let line = |name: &str, (launches, seconds): (usize, f64)| {
        print(&format!("{name:<56} {launches:>8} {:>12.3}", 1e3 * seconds));
    };
    print(&format!("\n{:<56} {:>8} {:>12}", "kernels of a step, each waited for", "launches", "ms"));
    let (listed, rest) = kernels.split_at(LISTED.min(kernels.len()));
    for kernel in listed {
        line(&kernel.name, (kernel.launches, kernel.seconds));
    }
    if !rest.is_empty() {
        line(&format!("{} others", rest.len()), together(rest));
    }
    line("together", together(kernels));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(bytes("80GB"), Ok(80e9));
        assert_eq!(bytes("1.5 GiB"), Ok(1_610_612_736.0));
        for wrong in ["80", "-1GB", "GB", "manyGB", "infGB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_batch_is_shared_evenly_or_refused() {
        assert!(share(128, 8).is_ok_and(|each| each == 16));
        assert!(share(128, 3).expect_err("uneven").is_usage());
    }
}
