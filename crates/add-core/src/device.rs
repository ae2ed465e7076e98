//! The devices that a recipe can name, and whether this binary and this machine have them.

#[cfg(any(feature = "cuda-unfused", feature = "vulkan"))]
mod gpu;

use burn::tensor::Device;
#[cfg(any(feature = "cuda-unfused", feature = "vulkan"))]
use burn::tensor::DeviceType;

use crate::{error::CoreError, recipe::DeviceChoice};

/// The plain device that a recipe names.
///
/// # Errors
/// When this binary or this machine has no such device, or it cannot compute.
#[expect(deprecated, reason = "burn-ndarray gives a second opinion for as long as there is one")]
pub fn device(choice: DeviceChoice) -> Result<Device, CoreError> {
    match choice {
        DeviceChoice::Flex() => Ok(Device::flex()),
        DeviceChoice::NdArray() => Ok(Device::ndarray()),
        #[cfg(feature = "cuda-unfused")]
        DeviceChoice::Cuda(index) => gpu::open(choice, DeviceType::Cuda, index),
        #[cfg(not(feature = "cuda-unfused"))]
        DeviceChoice::Cuda(_) => Err(not_built(choice, "cuda")),
        #[cfg(feature = "vulkan")]
        DeviceChoice::Vulkan(index) => gpu::open(choice, DeviceType::Vulkan, index),
        #[cfg(not(feature = "vulkan"))]
        DeviceChoice::Vulkan(_) => Err(not_built(choice, "vulkan")),
    }
}

#[cfg(not(all(feature = "cuda-unfused", feature = "vulkan")))]
fn not_built(choice: DeviceChoice, feature: &str) -> CoreError {
    CoreError::Request(format!(
        "device: {choice:?}: this binary was built without the feature `{feature}`; use `--set device='Flex()'`, or \
         `cargo xtask --features {feature} …`"
    ))
}

#[cfg(all(test, not(any(feature = "cuda-unfused", feature = "vulkan"))))]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_the_binary_lacks_is_bad_usage_that_names_the_feature() {
        for (choice, feature) in [(DeviceChoice::Cuda(0), "`cuda`"), (DeviceChoice::Vulkan(1), "`vulkan`")] {
            let error = device(choice).expect_err("not built");
            assert!(error.is_usage() && error.to_string().contains(feature), "{error}");
        }
    }
}
