//! A GPU made of software, opened so that its compiler ends: Mesa's llvmpipe takes up to half a minute for a kernel that is unrolled.
//!
//! CubeCL compiles every kernel that could do an operation, times each, and keeps the fastest. On a GPU that pays. Here the
//! candidates cost a hundred times what the operation will ever take: products that pass large tiles of their operands through shared
//! memory, 2.5 to 37 seconds each on llvmpipe (Mesa 22.3.6, LLVM 15). So the device states little shared memory, which makes the
//! tiles small, and a peak that every kernel reaches, at which CubeCL stops looking. `CUBECL_AUTOTUNE_LEVEL=full` leaves
//! both alone and compares all kernels.

use std::time::Duration;

use cubecl::{
    client::Client,
    config::{CubeClRuntimeConfig, RuntimeConfig, autotune::AutotuneLevel},
    future::block_on,
    ir::{ElemType, FloatKind, IntKind, UIntKind},
    throughput::{
        DEFAULT_WORKING_SET_BYTES, MemoryAccess, MemorySpec, ThroughputKey, ThroughputMode, ThroughputValue,
        working_set_sweep,
    },
    wgpu::{RuntimeOptions, WgpuSetup, try_init_device, wgpu},
};

/// Bytes of shared memory: the least that CubeCL's product of every shape runs with.
///
/// A kernel that was chosen at one shape is taken at others like it, and where it cannot run there, that product takes its place
/// (cubek-matmul, `Strategy::launch_ref`), so it must always fit: less memory is a panic at such a shape. It shrinks its tiles
/// to the memory that is stated, down to one of 4 x 4 numbers for each of 64 threads. These 32 x 32 numbers of the result take 4 KiB in
/// f32, and 32 x 4 of each operand 1 KiB. With a bias beside them they take more; then CubeCL computes the product alone. With twice as
/// much memory the self-test takes half as long again, since larger tiles are unrolled.
const SHARED_MEMORY: u32 = 5 * 1024;

/// Types in which operations compute.
const TYPES: [ElemType; 5] = [
    ElemType::Float(FloatKind::F32),
    ElemType::Float(FloatKind::F16),
    ElemType::Float(FloatKind::BF16),
    ElemType::Int(IntKind::I32),
    ElemType::UInt(UIntKind::U32),
];

/// Sets the machine's software device up; returns it with what its driver says of itself.
pub(super) fn open() -> Result<(cubecl::Device, wgpu::AdapterInfo), String> {
    let all_kernels = matches!(CubeClRuntimeConfig::get().autotune.level, AutotuneLevel::Full);
    let setup = setup(all_kernels)?;
    let info = setup.adapter.get_info();
    let options = RuntimeOptions::try_default().map_err(|error| error.to_string())?;
    let device = cubecl::Device::Wgpu(try_init_device(setup, options).map_err(|error| error.to_string())?);
    if !all_kernels {
        take_the_first_kernel(&device.client());
    }
    Ok((device, info))
}

/// Whether the machine has a software device that can be set up: CubeCL also counts those of OpenGL, which cannot.
pub(super) fn is_there() -> bool {
    adapter().is_some()
}

fn adapter() -> Option<(wgpu::Instance, wgpu::Adapter)> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    let software = |adapter: &wgpu::Adapter| adapter.get_info().device_type == wgpu::DeviceType::Cpu;
    Some((instance, adapters.into_iter().find(software)?))
}

fn setup(all_kernels: bool) -> Result<WgpuSetup, String> {
    let (instance, adapter) = adapter().ok_or("there is no GPU made of software")?;
    let mut limits = adapter.limits();
    if !all_kernels {
        limits.max_compute_workgroup_storage_size =
            limits.max_compute_workgroup_storage_size.min(SHARED_MEMORY);
    }
    let left_out = wgpu::Features::MAPPABLE_PRIMARY_BUFFERS | wgpu::Features::all_experimental_mask();
    let request = adapter.request_device(&wgpu::DeviceDescriptor {
        required_features: adapter.features().difference(left_out),
        required_limits: limits,
        memory_hints: wgpu::MemoryHints::MemoryUsage,
        ..Default::default()
    });
    let (device, queue) = block_on(request).map_err(|error| error.to_string())?;
    let backend = adapter.get_info().backend;
    Ok(WgpuSetup { instance, adapter, device, queue, backend })
}

/// Has CubeCL take the first kernel that works on the device of `client`. What it has measured of the device before stays.
fn take_the_first_kernel(client: &Client) {
    for (mode, value) in peaks() {
        // A device that cannot be asked is tuned as any other.
        let _ = client.measure_throughput(ThroughputKey { mode }, || Ok(value));
    }
}

/// Every figure that CubeCL compares a kernel with: one operation a second of each type, memory and launches not at all.
fn peaks() -> Vec<(ThroughputMode, ThroughputValue)> {
    let slow = ThroughputValue { ops_count: 1, duration: Duration::from_secs(1) };
    let compute = TYPES.map(|dtype| (ThroughputMode::ComputeDirect { dtype }, slow));
    let accesses = [MemoryAccess::Copy, MemoryAccess::Read, MemoryAccess::Write];
    let memory = accesses.into_iter().flat_map(|access| {
        let sizes = working_set_sweep(DEFAULT_WORKING_SET_BYTES * access.buffers());
        sizes.into_iter().map(move |bytes| ThroughputMode::Memory(MemorySpec::new(access, bytes)))
    });
    let unmeasured = memory.chain([ThroughputMode::Launch]).map(|mode| (mode, ThroughputValue::ZERO));
    compute.into_iter().chain(unmeasured).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_figure_is_left_to_be_measured() {
        let peaks = peaks();
        let find = |mode| peaks.iter().find(|(found, _)| *found == mode).expect("stated").1;
        let compute = find(ThroughputMode::ComputeDirect { dtype: ElemType::Float(FloatKind::F32) });
        assert!((compute.ops_per_s() - 1.0).abs() < 1e-9, "{compute:?}");
        // What CubeCL asks for of a working set is its size rounded down to a power of two.
        for (access, bytes) in
            [(MemoryAccess::Copy, 1 << 30), (MemoryAccess::Read, 1 << 13), (MemoryAccess::Write, 1 << 20)]
        {
            assert!(find(ThroughputMode::Memory(MemorySpec::new(access, bytes))).ops_per_s().is_nan());
        }
    }
}
