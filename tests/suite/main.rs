//! The cross-crate suite: what the parts do together.
//!
//! `snapshots` pins what a user reads: resolved recipes, the plugin table, error reports. `runs` trains tiny models
//! in-process: a run is a function of its recipe, and a resumed run continues it to the bit; `ranks` shares such runs, and
//! `sharded` their optimisers' states too.
//! `binary` is `add` as a person calls it: exit codes and messages. `hostile` gives it damaged files, `fuzz` gives every
//! reader damaged bytes, and `golden` holds a checkpoint that every later build must read. `devices` asks for GPUs that
//! are not there, and plans for them. `external` builds `add` in a crate outside of the workspace, with a plugin of its own.
//! `evaluations` measures folders and models without a student, against the reference libraries' figures.
//! `dit` is a backbone of its own in one file.
//! `cfg_aware`, `consistency`, `diffusion_gan`, `dmd2` and `reflow` distil a model into one of a few steps.
//! `autoencoder` trains a codec, scales its latents and measures what it makes of pictures.
//! `adapters` trains a student beside its base, `dtypes` one that computes in bf16.
//! `loras` merges changes of every naming and writes them for others; `weights` reads what released models state,
//! `doctor` says what files are.
//! `pictures` and `captions` give it what people have: kinds of pictures, names, lists, long prompts.
//! `sampling` asks for pictures in every way that `sample` knows, and `living` is about terminals, signals and shells.
//! `streams` closes and fills its standard streams, and `resuming` ends, goes on with and exports runs by their commands.
//! `progressive` distils in stages and is resumed between and within them.
//! `browser` types, draws and watches on the server's page in Chromium.
//! `serving` asks a server for pictures in every way that it answers, within and beyond its limits.
//! `study` shows pictures to voters and counts their votes.
//! `stores` trains from shards, a failing web server and a bucket, served by `loopback`.

// Linking the umbrella links every plugin.
use plugins as _;

mod adapters;
mod autoencoder;
mod binary;
mod browser;
mod captions;
mod cfg_aware;
mod consistency;
mod devices;
mod diffusion_gan;
mod dit;
mod dmd2;
mod doctor;
mod dtypes;
mod evaluations;
mod exports;
mod external;
mod fuzz;
mod fuzz_data;
mod fuzz_pickles;
mod golden;
mod hostile;
mod living;
mod loopback;
mod loras;
mod methods;
mod pictures;
mod progressive;
mod ranks;
mod reflow;
mod released;
mod resuming;
mod runs;
mod sampling;
mod serving;
mod sharded;
mod snapshots;
mod stores;
mod streams;
mod study;
mod weights;

/// The pairs of two lists, which must be equally long.
fn pairs<A, B>(a: impl IntoIterator<Item = A>, b: impl IntoIterator<Item = B>) -> Vec<(A, B)> {
    let (a, b): (Vec<A>, Vec<B>) = (a.into_iter().collect(), b.into_iter().collect());
    assert_eq!(a.len(), b.len(), "one list is longer than the other");
    a.into_iter().zip(b).collect()
}

/// The workspace's root.
fn root() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the suite lies in the workspace")
}
