//! What is kept of a GPU between processes: that it passed the self-test, and which kernels were the fastest.
//!
//! Both lie in the user's cache, `$XDG_CACHE_HOME/add/devices` or `~/.cache/add/devices`. Without such a folder a device is
//! tested and tuned in every process.

use std::{
    env,
    path::{Path, PathBuf},
};

use add_files::{Cache, Key};
use cubecl::config::{CubeClRuntimeConfig, RuntimeConfig, autotune::AutotuneLevel, cache::CacheConfig};

use super::self_test;

fn folder() -> Option<PathBuf> {
    let set = env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let cache = set.or_else(|| env::home_dir().map(|home| home.join(".cache")))?;
    Some(cache.join("add").join("devices"))
}

/// Has CubeCL keep its choice of kernels in the folder, unless a `cubecl.toml` of the user names another place. A run that goes
/// on in a new process needs the same kernels: others add up in another order.
pub(super) fn keep_tuned_kernels() {
    let mut config = CubeClRuntimeConfig::from_current_dir().override_from_env();
    if let (CacheConfig::Target, Some(folder)) = (&config.environment.path, folder()) {
        // Where all kernels are compared, some are chosen that a software device else refuses.
        let all_kernels = matches!(config.autotune.level, AutotuneLevel::Full);
        let folder = if all_kernels { folder.join("all-kernels") } else { folder };
        config.environment.path = CacheConfig::Directory(folder);
    }
    // Refused from the second device on.
    CubeClRuntimeConfig::try_set(config);
}

/// Whether the device of this name and driver has passed the self-test of this version.
pub(super) fn has_passed(name: &str, driver: &str) -> bool {
    folder().is_some_and(|folder| verdicts(&folder).get(&key(name, driver), PASSED.len() as u64).is_some())
}

pub(super) fn remember_that_it_passed(name: &str, driver: &str) {
    if let Some(folder) = folder() {
        verdicts(&folder).put(&key(name, driver), PASSED);
    }
}

const PASSED: &[u8] = b"passed";

fn verdicts(folder: &Path) -> Cache {
    Cache::folder(folder.join("self-test"))
}

fn key(name: &str, driver: &str) -> Key {
    let operations = self_test::OPERATIONS.iter().map(|operation| operation.name.as_bytes());
    let version = env!("CARGO_PKG_VERSION");
    Key::of([version, name, driver].map(str::as_bytes).into_iter().chain(operations))
}
