//! SIGINT, SIGTERM and SIGHUP (a closed terminal): finish the step, write a checkpoint, exit with the signal's code.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use add_core::error::CoreError;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Notes the first signal.
pub(crate) struct Signals {
    stop: Arc<AtomicBool>,
    which: Arc<AtomicUsize>,
}

impl Signals {
    /// Starts listening. A second SIGINT ends the process at once.
    pub(crate) fn listen() -> Result<Self, CoreError> {
        let (stop, which) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        // `nohup` has SIGHUP ignored, which is what is wanted then.
        let hung_up = (!is_ignored(SIGHUP)).then_some(SIGHUP);
        for signal in [SIGINT, SIGTERM].into_iter().chain(hung_up) {
            let register =
                signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))
                    .and_then(|_| {
                        signal_hook::flag::register_usize(signal, Arc::clone(&which), signal as usize)
                    })
                    .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)));
            register.map_err(CoreError::io("signals"))?;
        }
        Ok(Self { stop, which })
    }

    /// Set as soon as a signal came.
    pub(crate) fn stop(&self) -> &AtomicBool {
        &self.stop
    }

    /// 129 after SIGHUP, 130 after SIGINT, 143 after SIGTERM.
    pub(crate) fn exit_code(&self) -> u8 {
        128 + self.which.load(Ordering::Relaxed) as u8
    }
}

/// Whether this process was started with a signal ignored, as Linux says it; elsewhere it is taken as not ignored.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}
