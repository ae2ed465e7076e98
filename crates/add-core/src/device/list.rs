//! All devices of this machine that this binary can use, for `add devices`.

use std::path::Path;

use burn::tensor::{DType, Device};

use super::identity;
use crate::recipe::DeviceChoice;

/// A device of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// As a recipe names it.
    pub name: String,
    /// As it calls itself.
    pub device: String,
    /// Its driver with version; for the processor, what computes on it.
    pub driver: String,
    /// Bytes that it may hold, where that is known.
    pub memory: Option<u64>,
    /// The types in which it computes, of f32, f16, bf16 and f64.
    pub types: Vec<&'static str>,
    /// Why it cannot be used: it did not open or failed the self-test.
    pub problem: Option<String>,
}

/// Every device, GPUs first. Each is opened and tested.
pub fn list() -> Vec<Listing> {
    #[cfg(any(feature = "cuda-unfused", feature = "wgpu"))]
    let gpus = super::gpu::names().into_iter().map(gpu);
    #[cfg(not(any(feature = "cuda-unfused", feature = "wgpu")))]
    let gpus = std::iter::empty();
    gpus.chain(processor()).collect()
}

/// The features that this binary was built without, with the devices that they would add.
pub fn missing_features() -> Vec<(&'static str, &'static str)> {
    let all = [
        (cfg!(feature = "cuda-unfused"), "cuda", "NVIDIA GPUs, as Cuda(0)"),
        (
            cfg!(feature = "wgpu"),
            "wgpu",
            "GPUs through Vulkan, Metal or DirectX 12, as Wgpu(0) and WgpuSoftware()",
        ),
    ];
    all.into_iter().filter(|(built, ..)| !built).map(|(_, feature, devices)| (feature, devices)).collect()
}

#[cfg(any(feature = "cuda-unfused", feature = "wgpu"))]
fn gpu(choice: DeviceChoice) -> Listing {
    let name = choice.to_string();
    match super::gpu::opened(choice) {
        Ok(opened) => {
            let facts = opened.facts;
            let (device, driver, memory) = (facts.name, facts.driver, facts.memory);
            let mut types = types(&opened.device);
            if matches!(choice, DeviceChoice::Wgpu(_) | DeviceChoice::WgpuSoftware()) {
                // Vulkan's shaders may add in f64, and have no functions of it.
                types.retain(|name| *name != "f64");
            }
            Listing { name, device, driver, memory, types, problem: None }
        }
        Err(error) => Listing {
            name,
            device: String::new(),
            driver: String::new(),
            memory: None,
            types: Vec::new(),
            problem: Some(error.to_string()),
        },
    }
}

fn processor() -> Vec<Listing> {
    let mut names = vec![(DeviceChoice::Flex(), "this program's kernels, and Burn's flex")];
    if cfg!(not(without_ndarray)) {
        names.push((DeviceChoice::NdArray(), "Burn's ndarray: slow, for a second opinion"));
    }
    let device = identity(&Device::flex());
    let device = device.split_once(" on ").map_or(device.as_str(), |(_, name)| name);
    let listing = |(choice, driver): (DeviceChoice, &str)| {
        let opened = super::device(choice).ok()?;
        Some(Listing {
            name: choice.to_string(),
            device: device.to_owned(),
            driver: driver.to_owned(),
            memory: machine_memory(),
            types: types(&opened),
            problem: None,
        })
    };
    names.into_iter().filter_map(listing).collect()
}

fn types(device: &Device) -> Vec<&'static str> {
    let all = [(DType::F32, "f32"), (DType::F16, "f16"), (DType::BF16, "bf16"), (DType::F64, "f64")];
    all.into_iter().filter(|(dtype, _)| device.supports_dtype(*dtype)).map(|(_, name)| name).collect()
}

/// The machine's memory in bytes, as Linux states it.
fn machine_memory() -> Option<u64> {
    let text = add_files::read_text(Path::new("/proc/meminfo"), 1 << 16).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_always_there_and_says_what_it_can() {
        let all = list();
        let flex = all.iter().find(|listing| listing.name == "Flex()").expect("listed");
        assert!(flex.problem.is_none() && !flex.device.is_empty());
        assert!(["f32", "bf16", "f64"].iter().all(|name| flex.types.contains(name)), "{:?}", flex.types);
        if Path::new("/proc/meminfo").exists() {
            assert!(flex.memory.expect("stated") > 1 << 28);
        }
    }

    #[test]
    fn a_binary_without_features_names_them() {
        let missing: Vec<&str> = missing_features().into_iter().map(|(feature, _)| feature).collect();
        assert_eq!(missing.contains(&"cuda"), cfg!(not(feature = "cuda-unfused")));
        assert_eq!(missing.contains(&"wgpu"), cfg!(not(feature = "wgpu")));
    }
}
