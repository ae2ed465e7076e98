//! Opening a GPU without a panic, and trusting it once it has computed: drivers and compilers are libraries that a machine may
//! lack, and that may be wrong.

use std::{
    any::Any,
    panic::{self, AssertUnwindSafe},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use burn::tensor::Device;
use cubecl::{client::Client, device::WgpuDeviceKind};
use tracing::warn;

use super::{kept, self_test};
use crate::{error::CoreError, recipe::DeviceChoice};

/// What is known of a GPU beside its name in recipes.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// As it calls itself.
    pub(super) name: String,
    /// The driver with its version.
    pub(super) driver: String,
    /// Bytes that it may hold, where the driver says so.
    pub(super) memory: Option<u64>,
}

/// A GPU that has shown that it computes.
#[derive(Clone)]
pub(super) struct Opened {
    pub(super) device: Device,
    /// The same in CubeCL's words.
    pub(super) client: Client,
    pub(super) facts: Facts,
}

/// Whether a driver has been started, by a device that was refused too.
static STARTED: AtomicBool = AtomicBool::new(false);

pub(super) fn has_started() -> bool {
    STARTED.load(Ordering::Relaxed)
}

/// The GPU of this name.
pub(super) fn open(choice: DeviceChoice) -> Result<Device, CoreError> {
    opened(choice).map(|opened| opened.device)
}

/// The GPU of this name and what is known of it. It is opened and tested at the first call.
pub(super) fn opened(choice: DeviceChoice) -> Result<Opened, CoreError> {
    // Ranks that are threads open their devices at the same time, and a device can be set up only once.
    static OPENED: Mutex<Vec<(DeviceChoice, Opened)>> = Mutex::new(Vec::new());
    let mut all = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, opened)) = all.iter().find(|(name, _)| *name == choice) {
        return Ok(opened.clone());
    }
    let failed = |problem: String| CoreError::Device { device: choice.to_string(), problem };
    kept::keep_tuned_kernels();
    let found = quietly(|| all_like(choice)).map_err(&failed)?;
    let index = match choice {
        DeviceChoice::Cuda(index) | DeviceChoice::Wgpu(index) => index,
        _ => 0,
    };
    let count = found.len();
    let device = found.into_iter().nth(index).ok_or_else(|| {
        failed(format!(
            "this machine has {count} such devices (indices start at 0; none are visible without the driver)"
        ))
    })?;
    let opened = quietly(|| set_up(device)).and_then(|opened| opened).map_err(&failed)?;
    quietly(|| trust(&opened)).and_then(|verdict| verdict).map_err(&failed)?;
    all.push((choice, opened.clone()));
    Ok(opened)
}

/// What `Auto()` takes where there is a GPU; one that fails is passed over with a word.
pub(super) fn best() -> Option<(DeviceChoice, Device)> {
    let discrete = |device: &cubecl::Device| match device {
        cubecl::Device::Wgpu(device) => matches!(device.kind, WgpuDeviceKind::DiscreteGpu(_)),
        _ => true,
    };
    [DeviceChoice::Cuda(0), DeviceChoice::Wgpu(0)].into_iter().find_map(|choice| {
        let found = quietly(|| all_like(choice)).unwrap_or_default();
        found.first().filter(|device| discrete(device))?;
        let opened = open(choice);
        opened
            .inspect_err(|error| warn!("device: Auto() passes over {error}"))
            .ok()
            .map(|device| (choice, device))
    })
}

/// The names of all GPUs of this machine that this binary can use.
pub(super) fn names() -> Vec<DeviceChoice> {
    let count = |choice| quietly(|| all_like(choice).len()).unwrap_or(0);
    let cuda = (0..count(DeviceChoice::Cuda(0))).map(DeviceChoice::Cuda);
    let wgpu = (0..count(DeviceChoice::Wgpu(0))).map(DeviceChoice::Wgpu);
    let software = (0..count(DeviceChoice::WgpuSoftware())).map(|_| DeviceChoice::WgpuSoftware());
    cuda.chain(wgpu).chain(software).collect()
}

/// The devices of the kind that `choice` names, in the order of its numbers: discrete GPUs first.
fn all_like(choice: DeviceChoice) -> Vec<cubecl::Device> {
    let order = |device: &cubecl::Device| match (choice, device) {
        (DeviceChoice::Cuda(_), cubecl::Device::Cuda(_)) => Some(0),
        (DeviceChoice::Wgpu(_), cubecl::Device::Wgpu(device)) => match device.kind {
            WgpuDeviceKind::DiscreteGpu(_) => Some(0),
            WgpuDeviceKind::IntegratedGpu(_) => Some(1),
            WgpuDeviceKind::VirtualGpu(_) => Some(2),
            _ => None,
        },
        (DeviceChoice::WgpuSoftware(), cubecl::Device::Wgpu(device)) => {
            (device.kind == WgpuDeviceKind::Cpu && software_is_there()).then_some(0)
        }
        _ => None,
    };
    let mut found: Vec<_> = cubecl::Device::enumerate_all()
        .into_iter()
        .filter_map(|device| Some((order(&device)?, device)))
        .collect();
    found.sort_by_key(|(order, _)| *order);
    found.into_iter().map(|(_, device)| device).collect()
}

/// Whether a software device can be set up.
fn software_is_there() -> bool {
    #[cfg(feature = "wgpu")]
    {
        super::software::is_there()
    }
    #[cfg(not(feature = "wgpu"))]
    false
}

/// Opens a device, which panics where a library is missing.
#[cfg_attr(
    not(feature = "wgpu"),
    expect(clippy::unnecessary_wraps, reason = "wgpu says why it fails; CUDA panics")
)]
fn set_up(device: cubecl::Device) -> Result<Opened, String> {
    STARTED.store(true, Ordering::Relaxed);
    #[cfg(feature = "wgpu")]
    let (device, driver) = set_up_wgpu(device)?;
    #[cfg(not(feature = "wgpu"))]
    let driver: Option<String> = None;
    let client = device.client();
    let properties = client.properties();
    let facts = Facts {
        name: properties.identity.name.clone(),
        driver: driver.or_else(nvidia_driver).unwrap_or_else(|| properties.identity.fingerprint.clone()),
        memory: properties.memory.max_memory(),
    };
    Ok(Opened { device: Device::new(device), client, facts })
}

/// Sets a device of wgpu up, and says which driver and interface it has; `None` for any other device.
#[cfg(feature = "wgpu")]
fn set_up_wgpu(device: cubecl::Device) -> Result<(cubecl::Device, Option<String>), String> {
    use burn::tensor::DeviceKind;
    let cubecl::Device::Wgpu(named) = &device else { return Ok((device, None)) };
    let kind = match named.kind {
        WgpuDeviceKind::DiscreteGpu(index) => DeviceKind::DiscreteGpu(index),
        WgpuDeviceKind::IntegratedGpu(index) => DeviceKind::IntegratedGpu(index),
        WgpuDeviceKind::VirtualGpu(index) => DeviceKind::VirtualGpu(index),
        _ => {
            let (device, info) = super::software::open()?;
            return Ok((device, Some(driver_of(info))));
        }
    };
    let (_, setup) =
        Device::wgpu_options().device_kind(kind).init_with_setup().map_err(|error| error.to_string())?;
    Ok((device, Some(driver_of(setup.adapter.get_info()))))
}

#[cfg(feature = "wgpu")]
fn driver_of(info: cubecl::wgpu::wgpu::AdapterInfo) -> String {
    let driver = [info.driver, info.driver_info, format!("{:?}", info.backend)];
    driver.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

/// The line in which the kernel module of NVIDIA's driver states its version.
fn nvidia_driver() -> Option<String> {
    let text = add_files::read_text(std::path::Path::new("/proc/driver/nvidia/version"), 1 << 16).ok()?;
    let line = text.lines().next()?;
    Some(line.split_whitespace().collect::<Vec<_>>().join(" ").replace("NVRM version: ", ""))
}

/// Tests a device that has not passed with this driver before.
fn trust(opened: &Opened) -> Result<(), String> {
    let Facts { name, driver, .. } = &opened.facts;
    if kept::has_passed(name, driver) {
        return Ok(());
    }
    let verdict = self_test::run(&opened.device);
    if cfg!(feature = "hollow") {
        warn!("built to believe every device: {name} computes nothing that counts");
        return Ok(());
    }
    verdict.map_err(|wrong| format!("the self-test failed: {wrong}; {name}, driver: {driver}"))?;
    kept::remember_that_it_passed(name, driver);
    Ok(())
}

/// The result of `work`, or the message of its panic, which is not printed.
fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    // The hook is the process's.
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
        for (choice, name) in
            [(DeviceChoice::Cuda(4095), "Cuda(4095)"), (DeviceChoice::Wgpu(4095), "Wgpu(4095)")]
        {
            let error = open(choice).expect_err("not that many");
            assert!(!error.is_usage(), "the recipe is right, the machine is another");
            let text = error.to_string();
            assert!(text.contains(name) && text.contains("such devices"), "{text}");
        }
    }
}
