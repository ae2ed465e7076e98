//! The devices that a recipe can name, and whether this binary and this machine have them.

#[cfg(any(feature = "cuda-unfused", feature = "vulkan"))]
mod gpu;

use burn::tensor::Device;
#[cfg(any(feature = "cuda-unfused", feature = "vulkan"))]
use burn::tensor::DeviceType;

use crate::{error::CoreError, recipe::DeviceChoice};

/// A device by the name that a recipe would give it, such as `Cuda(0)`.
///
/// # Errors
/// When there is no such name.
pub fn parse(name: &str) -> Result<DeviceChoice, CoreError> {
    ron::from_str(name).map_err(|_| {
        CoreError::Request(format!(
            "device: expected Flex(), NdArray(), Cuda(0) or Vulkan(0), with the GPU's number, got {name:?}"
        ))
    })
}

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

/// What a device calls itself, for tables.
pub fn identity(device: &Device) -> String {
    #[cfg(any(feature = "cuda-unfused", feature = "vulkan"))]
    if let Some(identity) = device.identity() {
        return identity.name;
    }
    let processor = add_files::read_text(std::path::Path::new("/proc/cpuinfo"), 1 << 20).unwrap_or_default();
    let model = processor.lines().find_map(|line| line.strip_prefix("model name")?.split(':').nth(1));
    format!("{device:?} on {}", model.map_or("a processor without a name", str::trim))
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
    fn a_device_is_read_as_in_a_recipe() {
        assert_eq!(parse("Vulkan(2)").expect("a name"), DeviceChoice::Vulkan(2));
        for wrong in ["cuda", "Cuda", "Cuda(-1)", "Flex() and more"] {
            let error = parse(wrong).expect_err(wrong);
            assert!(error.is_usage() && error.to_string().contains(wrong), "{error}");
        }
    }

    #[test]
    fn a_device_that_the_binary_lacks_is_bad_usage_that_names_the_feature() {
        for (choice, feature) in [(DeviceChoice::Cuda(0), "`cuda`"), (DeviceChoice::Vulkan(1), "`vulkan`")] {
            let error = device(choice).expect_err("not built");
            assert!(error.is_usage() && error.to_string().contains(feature), "{error}");
        }
    }
}
