//! What a piece of work asks of a GPU: its kernels, and its memory at the fullest moment.

/// What a piece of work asked of a GPU.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// The kernels that were launched, those that ran longest first.
    pub kernels: Vec<Kernel>,
    /// Bytes of the device's memory that were in use at the fullest moment; the pools around them take more.
    pub in_use: u64,
}

/// What all launches of one kernel came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Kernel {
    /// CubeCL's name of it, shortened.
    pub name: String,
    /// How often it was launched.
    pub launches: usize,
    /// Seconds that all its launches ran.
    pub seconds: f64,
}

impl Account {
    /// How many kernels were launched.
    pub fn launches(&self) -> usize {
        self.kernels.iter().map(|kernel| kernel.launches).sum()
    }
}

#[cfg(any(feature = "cuda-unfused", feature = "wgpu"))]
pub(super) use observer::observe;

#[cfg(any(feature = "cuda-unfused", feature = "wgpu"))]
mod observer {
    use std::{
        collections::BTreeMap,
        sync::{Arc, Mutex, PoisonError},
    };

    use cubecl::{
        MemoryScope,
        client::Client,
        config::{TypeNameFormatLevel, type_name_format},
        logging::{Duration, LaunchObservation, LaunchObserver, TimingMethod, TimingRequest},
    };

    use super::{Account, Kernel};

    /// Does `work` on the GPU of `client` and says what it asked of it. Every launch is waited for, so it takes longer than it
    /// would unobserved.
    pub(in crate::device) fn observe<T>(client: Client, work: impl FnOnce() -> T) -> (T, Account) {
        let in_use = move || client.memory_report(MemoryScope::Device).usage().bytes_in_use;
        let watch = Arc::new(Watch { in_use, seen: Mutex::default() });
        let watching = LaunchObservation::new(watch.clone());
        let done = work();
        drop(watching);
        (done, watch.account())
    }

    /// Asks `in_use` for the bytes in use at every launch.
    struct Watch<F> {
        in_use: F,
        seen: Mutex<Seen>,
    }

    #[derive(Default)]
    struct Seen {
        /// Launches and seconds by CubeCL's full name of a kernel.
        kernels: BTreeMap<&'static str, (usize, f64)>,
        in_use: u64,
    }

    impl<F> Watch<F> {
        fn account(&self) -> Account {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let kernel = |(name, &(launches, seconds)): (&&'static str, &(usize, f64))| Kernel {
                name: type_name_format(name, TypeNameFormatLevel::Balanced),
                launches,
                seconds,
            };
            let mut kernels: Vec<Kernel> = seen.kernels.iter().map(kernel).collect();
            kernels.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
            Account { kernels, in_use: seen.in_use }
        }
    }

    impl<F: Fn() -> u64 + Send + Sync> LaunchObserver for Watch<F> {
        fn launched(&self, kernel: &'static str) {
            let in_use = (self.in_use)();
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.kernels.entry(kernel).or_default().0 += 1;
            seen.in_use = seen.in_use.max(in_use);
        }

        fn timing(&self) -> TimingRequest {
            TimingRequest::Resolved
        }

        fn timed(&self, kernel: &'static str, duration: Duration, _method: TimingMethod) {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.kernels.entry(kernel).or_default().1 += duration.as_secs_f64();
        }
    }

    #[cfg(test)]
    mod tests {
        use std::sync::atomic::{AtomicU64, Ordering};

        use super::*;

        #[test]
        fn launches_and_times_of_a_kernel_add_up_and_the_longest_is_first() {
            let in_use = AtomicU64::new(0);
            let grow = || [7, 30, 20][in_use.fetch_add(1, Ordering::Relaxed) as usize];
            let watch = Watch { in_use: grow, seen: Mutex::default() };
            for (kernel, milliseconds) in [("a::Short", 1), ("b::Long<f32>", 20), ("b::Long<f32>", 30)] {
                watch.launched(kernel);
                watch.timed(kernel, Duration::from_millis(milliseconds), TimingMethod::Device);
            }
            let account = watch.account();
            assert_eq!((account.launches(), account.in_use), (3, 30));
            let [long, short] = &account.kernels[..] else { panic!("{account:?}") };
            assert!(long.name.starts_with("Long") && short.name == "Short", "{account:?}");
            assert!(long.launches == 2 && (long.seconds - 0.05).abs() < 1e-9, "{account:?}");
        }
    }
}
