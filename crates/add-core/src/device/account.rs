//! The kernels that a piece of work launches on GPUs: how often each, and how long it runs.

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

/// Does `work` and lists the kernels that it launched, those that ran longest first. Every launch is waited for, so `work` takes
/// longer than it would unobserved. The list is empty where `work` uses no GPU.
#[cfg(any(feature = "cuda-unfused", feature = "wgpu"))]
pub fn observe<T>(work: impl FnOnce() -> T) -> (T, Vec<Kernel>) {
    let seen = std::sync::Arc::new(observer::Seen::default());
    let watching = cubecl::logging::LaunchObservation::new(seen.clone());
    let done = work();
    drop(watching);
    (done, seen.kernels())
}

/// Does `work`; this binary knows no GPU, so there is nothing to list.
#[cfg(not(any(feature = "cuda-unfused", feature = "wgpu")))]
pub fn observe<T>(work: impl FnOnce() -> T) -> (T, Vec<Kernel>) {
    (work(), Vec::new())
}

#[cfg(any(feature = "cuda-unfused", feature = "wgpu"))]
mod observer {
    use std::{
        collections::BTreeMap,
        sync::{Mutex, PoisonError},
    };

    use cubecl::{
        config::{TypeNameFormatLevel, type_name_format},
        logging::{Duration, LaunchObserver, TimingMethod, TimingRequest},
    };

    use super::Kernel;

    /// Launches and seconds by CubeCL's full name of a kernel.
    #[derive(Default)]
    pub(super) struct Seen(Mutex<BTreeMap<&'static str, (usize, f64)>>);

    impl Seen {
        fn change(&self, kernel: &'static str, change: impl FnOnce(&mut (usize, f64))) {
            change(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(kernel).or_default());
        }

        pub(super) fn kernels(&self) -> Vec<Kernel> {
            let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let kernel = |(name, &(launches, seconds)): (&&'static str, &(usize, f64))| Kernel {
                name: type_name_format(name, TypeNameFormatLevel::Balanced),
                launches,
                seconds,
            };
            let mut kernels: Vec<Kernel> = seen.iter().map(kernel).collect();
            kernels.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
            kernels
        }
    }

    impl LaunchObserver for Seen {
        fn launched(&self, kernel: &'static str) {
            self.change(kernel, |(launches, _)| *launches += 1);
        }

        fn timing(&self) -> TimingRequest {
            TimingRequest::Resolved
        }

        fn timed(&self, kernel: &'static str, duration: Duration, _method: TimingMethod) {
            self.change(kernel, |(_, seconds)| *seconds += duration.as_secs_f64());
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn launches_and_times_of_a_kernel_add_up_and_the_longest_is_first() {
            let seen = Seen::default();
            for (kernel, milliseconds) in [("a::Short", 1), ("b::Long<f32>", 20), ("b::Long<f32>", 30)] {
                seen.launched(kernel);
                seen.timed(kernel, Duration::from_millis(milliseconds), TimingMethod::Device);
            }
            let kernels = seen.kernels();
            assert_eq!(kernels.iter().map(|kernel| kernel.launches).collect::<Vec<_>>(), [2, 1]);
            assert!(kernels[0].name.starts_with("Long") && kernels[1].name == "Short", "{kernels:?}");
            assert!((kernels[0].seconds - 0.05).abs() < 1e-9, "{kernels:?}");
        }
    }
}
