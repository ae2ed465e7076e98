//! `chaos`: kills, damages and signals against a tiny run of the real binary, which must end to the bit like the
//! run that nothing befell.

mod damages;
mod disk;
mod kills;
mod ranks;
mod signals;
mod soak;
mod stage;
mod subject;

use clap::Args;

use self::{
    stage::Stage,
    subject::{ALL, Tormented},
};

/// Arguments of `chaos`.
#[derive(Debug, Args)]
pub(crate) struct Chaos {
    /// How often a run is killed and resumed; a third of the kills aim inside of a checkpoint's write.
    #[arg(long, default_value_t = 100)]
    kills: usize,
    /// How often the newest checkpoint is damaged: a flipped bit or a cut, in each of its files in turn.
    #[arg(long, default_value_t = 200)]
    damages: usize,
    /// How often a run gets SIGINT or SIGTERM.
    #[arg(long, default_value_t = 20)]
    signals: usize,
    /// Steps of a long run whose memory and open files are watched; 0 for none.
    #[arg(long, default_value_t = 2000)]
    soak: u64,
    /// Only what concerns a run that so many MPI processes share; wants mpirun, an MPI library and libclang.
    #[arg(long)]
    ranks: Option<usize>,
    /// The recipe that is run, made tiny.
    #[arg(long, default_value = ALL[0].recipe, value_parser = tormented)]
    recipe: Tormented,
    /// Seed of the moments, places and bits.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl Chaos {
    pub(crate) fn run(&self) -> Result<(), String> {
        if let Some(ranks) = self.ranks {
            return ranks::run(ranks);
        }
        let mut stage = Stage::open(self.recipe, self.seed)?;
        let kills = kills::run(&mut stage, self.kills)?;
        let damages = damages::run(&mut stage, self.damages)?;
        let signals = signals::run(&mut stage, self.signals)?;
        let disk = disk::run(&mut stage)?;
        let soak = soak::run(&mut stage, self.soak)?;
        say!("{kills}, {damages}, {signals}, {disk}, {soak}");
        match stage.failures() {
            0 => Ok(()),
            n => Err(format!("{n} did not hold; the lines above say which (seed {})", self.seed)),
        }
    }
}

/// The recipe of this file.
fn tormented(file: &str) -> Result<Tormented, String> {
    let known = ALL.map(|tormented| tormented.recipe).join(" or ");
    let found = ALL.into_iter().find(|tormented| tormented.recipe == file);
    found.ok_or_else(|| format!("expected {known}, got {file}"))
}
