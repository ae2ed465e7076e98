//! The devices that a recipe can name, and whether this binary and this machine have them.

mod account;
#[cfg(any(feature = "cuda-unfused", feature = "wgpu"))]
mod gpu;
#[cfg(any(feature = "cuda-unfused", feature = "wgpu"))]
mod kept;
mod list;
#[cfg(any(feature = "cuda-unfused", feature = "wgpu", test))]
mod self_test;
#[cfg(feature = "wgpu")]
mod software;

use std::sync::OnceLock;

use add_train::ranks::{Collective, Threads};
use burn::tensor::{
    DType, Device, Tensor,
    distributed::{ReduceOperation, all_reduce},
};
use tracing::info;

use crate::{
    error::CoreError,
    recipe::{DeviceChoice, Recipe},
};

pub use account::{Account, Kernel};
pub use list::{Listing, list, missing_features};

/// A device by the name that a recipe would give it, such as `Cuda(0)`.
///
/// # Errors
/// When there is no such name.
pub fn parse(name: &str) -> Result<DeviceChoice, CoreError> {
    ron::from_str(name).map_err(|_| {
        CoreError::Request(format!(
            "device: expected Flex(), NdArray(), Cuda(0), Wgpu(0), WgpuSoftware() or Auto(), where 0 is the GPU's number, got \
             {name:?}; `add devices` lists those that are here"
        ))
    })
}

/// The plain device of a recipe, with the process's kernels as the recipe states them.
///
/// # Errors
/// As [`device`], and when the device lacks a type that the recipe states.
pub fn of(recipe: &Recipe) -> Result<Device, CoreError> {
    add_kernels::allow_winograd(recipe.kernels.winograd);
    add_kernels::allow_bf16_products(recipe.kernels.bf16_products);
    let device = device(recipe.device)?;
    if recipe.dtype.are_f32() || device.supports_dtype(DType::BF16) {
        return Ok(device);
    }
    let choice = resolve(recipe.device);
    Err(CoreError::Request(format!(
        "dtype: expected F32 for every network: {choice}, {}, does not compute in bf16",
        identity(&device)
    )))
}

/// The device that a name stands for: another one for `Auto()` alone.
pub fn resolve(choice: DeviceChoice) -> DeviceChoice {
    static CHOSEN: OnceLock<DeviceChoice> = OnceLock::new();
    if choice != DeviceChoice::Auto() {
        return choice;
    }
    *CHOSEN.get_or_init(|| {
        let (chosen, device) = best_gpu().unwrap_or((DeviceChoice::Flex(), Device::flex()));
        info!("device: Auto() is {chosen}, {}", identity(&device));
        chosen
    })
}

/// Does `work` on the GPU that `choice` names, and says what it asked of it. `None`, and nothing is done, where that is the
/// processor.
///
/// # Errors
/// As [`device`].
#[cfg(any(feature = "cuda-unfused", feature = "wgpu"))]
pub fn observe<T>(choice: DeviceChoice, work: impl FnOnce() -> T) -> Result<Option<(T, Account)>, CoreError> {
    let choice = resolve(choice);
    if device(choice)?.identity().is_none() {
        return Ok(None);
    }
    Ok(Some(account::observe(gpu::opened(choice)?.client, work)))
}

/// Nothing: this binary knows no GPU.
///
/// # Errors
/// As [`device`].
#[cfg(not(any(feature = "cuda-unfused", feature = "wgpu")))]
pub fn observe<T>(
    choice: DeviceChoice,
    _work: impl FnOnce() -> T,
) -> Result<Option<(T, Account)>, CoreError> {
    device(choice).map(|_| None)
}

#[cfg(any(feature = "cuda-unfused", feature = "wgpu"))]
use gpu::best as best_gpu;

#[cfg(not(any(feature = "cuda-unfused", feature = "wgpu")))]
fn best_gpu() -> Option<(DeviceChoice, Device)> {
    None
}

/// The plain device of this name.
///
/// # Errors
/// When this binary or this machine has no such device, or it cannot compute or computes wrong numbers.
#[cfg_attr(
    not(without_ndarray),
    expect(deprecated, reason = "burn-ndarray gives a second opinion for as long as there is one")
)]
pub fn device(choice: DeviceChoice) -> Result<Device, CoreError> {
    match resolve(choice) {
        DeviceChoice::Flex() | DeviceChoice::Auto() => Ok(Device::flex()),
        #[cfg(not(without_ndarray))]
        DeviceChoice::NdArray() => Ok(Device::ndarray()),
        #[cfg(without_ndarray)]
        DeviceChoice::NdArray() => Err(CoreError::Request(
            "device: NdArray(): the binary for release has no second backend for the processor; use `Flex()`, or a binary \
             from `cargo build --release`"
                .to_owned(),
        )),
        #[cfg(feature = "cuda-unfused")]
        choice @ DeviceChoice::Cuda(_) => gpu::open(choice),
        #[cfg(not(feature = "cuda-unfused"))]
        choice @ DeviceChoice::Cuda(_) => Err(not_built(choice, "cuda")),
        #[cfg(feature = "wgpu")]
        choice @ (DeviceChoice::Wgpu(_) | DeviceChoice::WgpuSoftware()) => gpu::open(choice),
        #[cfg(not(feature = "wgpu"))]
        choice @ (DeviceChoice::Wgpu(_) | DeviceChoice::WgpuSoftware()) => Err(not_built(choice, "wgpu")),
    }
}

/// `count` ranks, threads of this process: the first on the device that a recipe names, the others on those that follow it.
/// CUDA's devices add up gradients among themselves, through NCCL; others leave that to the host.
///
/// # Errors
/// When one of them cannot be had.
pub fn ranks(choice: DeviceChoice, count: usize) -> Result<Vec<Threads>, CoreError> {
    match resolve(choice) {
        first @ DeviceChoice::Cuda(_) if count > 1 => {
            let devices = (0..count).map(|rank| device(first.of_rank(rank))).collect::<Result<_, _>>()?;
            Ok(Threads::on(devices))
        }
        _ => Ok(Threads::new(count)),
    }
}

/// Tests the all-reduce of all ranks' devices, where gradients are added on them: the sum of a one from each.
pub(crate) fn check_sum(choice: DeviceChoice, ranks: &dyn Collective) -> Result<(), CoreError> {
    let Some(devices) = ranks.devices() else { return Ok(()) };
    let one = Tensor::<1>::ones([1], &devices[ranks.rank()]);
    let sum = all_reduce(one, ReduceOperation::Sum, devices.to_vec()).resolve().try_into_data();
    let problem = match sum.map(|sum| sum.iter::<f32>().next()) {
        Ok(Some(sum)) if (sum - devices.len() as f32).abs() < 0.5 => return Ok(()),
        Ok(sum) => {
            format!("all-reduce test over {n} devices returned {sum:?}, expected {n}", n = devices.len())
        }
        Err(error) => {
            format!("all-reduce test over {} devices failed (is NCCL installed?): {error:?}", devices.len())
        }
    };
    Err(CoreError::Device { device: choice.to_string(), problem })
}

/// What a device calls itself, for tables.
pub fn identity(device: &Device) -> String {
    #[cfg(any(feature = "cuda-unfused", feature = "wgpu"))]
    if let Some(identity) = device.identity() {
        return identity.name;
    }
    let processor = add_files::read_text(std::path::Path::new("/proc/cpuinfo"), 1 << 20).unwrap_or_default();
    let model = processor.lines().find_map(|line| line.strip_prefix("model name")?.split(':').nth(1));
    format!("{device:?} on {}", model.map_or("a processor without a name", str::trim))
}

/// What a device calls itself, with its driver and its version.
///
/// # Errors
/// As [`device`].
pub fn driver(choice: DeviceChoice) -> Result<String, CoreError> {
    let device = device(choice)?;
    #[cfg(any(feature = "cuda-unfused", feature = "wgpu"))]
    if device.identity().is_some() {
        let gpu::Facts { name, driver, .. } = gpu::opened(resolve(choice))?.facts;
        return Ok(format!("{name}, driver {driver}"));
    }
    Ok(identity(&device))
}

/// Whether this process has started a GPU's driver, whose threads last as long as the process.
pub fn has_started_driver() -> bool {
    #[cfg(any(feature = "cuda-unfused", feature = "wgpu"))]
    let started = gpu::has_started();
    #[cfg(not(any(feature = "cuda-unfused", feature = "wgpu")))]
    let started = false;
    started
}

#[cfg(not(all(feature = "cuda-unfused", feature = "wgpu")))]
fn not_built(choice: DeviceChoice, feature: &str) -> CoreError {
    CoreError::Request(format!(
        "device: {choice}: this binary was built without the feature `{feature}`; expected `device: Flex()`, or a \
         binary of `cargo xtask --features {feature} …`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_read_as_in_a_recipe() {
        assert_eq!(parse("Wgpu(2)").expect("a name"), DeviceChoice::Wgpu(2));
        for choice in [
            DeviceChoice::Flex(),
            DeviceChoice::NdArray(),
            DeviceChoice::Cuda(1),
            DeviceChoice::Wgpu(3),
            DeviceChoice::WgpuSoftware(),
            DeviceChoice::Auto(),
        ] {
            assert_eq!(parse(&choice.to_string()).expect("its own name"), choice);
        }
        for wrong in ["cuda", "Vulkan(0)", "Cuda", "Cuda(-1)", "Flex() and more"] {
            let error = parse(wrong).expect_err(wrong);
            assert!(error.is_usage() && error.to_string().contains(wrong), "{error}");
        }
    }

    #[test]
    fn ranks_have_gpus_of_their_own_and_share_a_processor() {
        assert_eq!(DeviceChoice::Cuda(2).of_rank(3), DeviceChoice::Cuda(5));
        assert_eq!(DeviceChoice::Flex().of_rank(3), DeviceChoice::Flex());
        let on_the_processor = ranks(DeviceChoice::Flex(), 3).expect("threads");
        assert_eq!(on_the_processor.iter().map(Collective::rank).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(
            on_the_processor.iter().all(|rank| rank.devices().is_none()),
            "added up on the host, in order"
        );
        assert!(ranks(DeviceChoice::Cuda(4095), 2).is_err(), "no machine has so many");
    }

    #[cfg(not(any(feature = "cuda-unfused", feature = "wgpu")))]
    #[test]
    fn without_a_gpu_auto_is_the_processor() {
        assert_eq!(resolve(DeviceChoice::Auto()), DeviceChoice::Flex());
        assert_eq!(device(DeviceChoice::Auto()).expect("there is one"), Device::flex());
        assert_eq!(ranks(DeviceChoice::Auto(), 2).expect("threads").len(), 2);
    }

    #[test]
    fn a_device_that_the_binary_lacks_is_bad_usage_that_names_the_feature() {
        let all = [
            (cfg!(feature = "cuda-unfused"), DeviceChoice::Cuda(0), "`cuda`"),
            (cfg!(feature = "wgpu"), DeviceChoice::Wgpu(1), "`wgpu`"),
            (cfg!(feature = "wgpu"), DeviceChoice::WgpuSoftware(), "`wgpu`"),
        ];
        for (_, choice, feature) in all.into_iter().filter(|(built, ..)| !built) {
            let error = device(choice).expect_err("not built");
            assert!(error.is_usage() && error.to_string().contains(feature), "{error}");
        }
    }
}
