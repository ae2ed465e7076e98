//! Opening a GPU without a panic: drivers and compilers are libraries that a machine may lack.

use std::{
    any::Any,
    panic::{self, AssertUnwindSafe},
    sync::{Mutex, PoisonError},
};

use burn::tensor::{Device, DeviceType, Tensor};

use crate::{error::CoreError, recipe::DeviceChoice};

/// The `index`-th device of a kind, once it has shown that it can compute.
///
/// Burn opens a device at its first operation and panics where something is missing, most often NVRTC or the CUDA
/// headers that it reads. So the first operation is made here, where its panic can be told as an error.
pub(super) fn open(choice: DeviceChoice, kind: DeviceType, index: usize) -> Result<Device, CoreError> {
    let failed = |problem: String| CoreError::Device { device: format!("{choice:?}"), problem };
    let found = quietly(|| Device::enumerate(kind).into_vec()).map_err(&failed)?;
    let count = found.len();
    let device = found.into_iter().nth(index).ok_or_else(|| {
        failed(format!(
            "this machine has {count} such devices (indices start at 0; none are visible without the driver)"
        ))
    })?;
    match quietly(|| sum(&device)) {
        Ok(Ok(6.0)) => Ok(device),
        Ok(Ok(wrong)) => Err(failed(format!("it computes 1 + 2 + 3 = {wrong}"))),
        Ok(Err(problem)) | Err(problem) => Err(failed(problem)),
    }
}

/// `1 + 2 + 3`.
fn sum(device: &Device) -> Result<f32, String> {
    let sum = Tensor::<1>::from_floats([1.0, 2.0, 3.0], device).sum();
    sum.try_into_data().map_err(|error| format!("{error:?}"))?.iter::<f32>().next().ok_or_else(String::new)
}

/// The result of `work`, or the message of its panic, which is not printed.
fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    // The hook is the process's, and ranks that are threads open their devices at the same time.
    static HOOK: Mutex<()> = Mutex::new(());
    let _alone = HOOK.lock().unwrap_or_else(PoisonError::into_inner);
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    panic::set_hook(hook);
    result.map_err(|payload| message(&*payload))
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "its driver gave up without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(quietly(|| -> u8 { panic!("no {}", "NVRTC") }), Err("no NVRTC".to_owned()));
        assert_eq!(quietly(|| 3), Ok(3));
    }

    #[test]
    fn a_device_that_the_machine_lacks_is_an_error_that_counts() {
        let error = open(DeviceChoice::Cuda(4095), DeviceType::Flex, 4095).expect_err("not that many");
        assert!(!error.is_usage(), "the recipe is right, the machine is another");
        let text = error.to_string();
        assert!(text.contains("Cuda(4095)") && text.contains("1 such devices"), "{text}");
    }
}
