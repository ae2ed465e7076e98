//! SIGINT and SIGTERM: finish the step, write a checkpoint, exit with the signal's code.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use add_core::error::CoreError;
use signal_hook::consts::{SIGINT, SIGTERM};

/// Notes the first signal.
pub(crate) struct Signals {
    stop: Arc<AtomicBool>,
    which: Arc<AtomicUsize>,
}

impl Signals {
    /// Starts listening. A second SIGINT ends the process at once.
    pub(crate) fn listen() -> Result<Self, CoreError> {
        let (stop, which) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        for signal in [SIGINT, SIGTERM] {
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

    /// 130 after SIGINT, 143 after SIGTERM.
    pub(crate) fn exit_code(&self) -> u8 {
        128 + self.which.load(Ordering::Relaxed) as u8
    }
}
