//! The place of `cubecl-llvm`, without LLVM.
//!
//! `cubecl-cuda` links two compilers: one writes CUDA C++ for NVRTC, the other goes through LLVM to PTX. The second
//! needs an LLVM that a build script downloads, and a build of this project downloads nothing but crates. The feature
//! `cubecl/cuda-cpp` chooses the first; this crate has the names of the second that `cubecl-cuda` mentions, and refuses
//! to compile.

use std::{ffi::c_char, fmt};

use cubecl_core::{Compiler, ir::nvidia::SmArch, prelude::KernelDefinition};
use cubecl_environment::backtrace::BackTrace;
use cubecl_runtime::{compiler::CompilationError, kernel::BufferIOAttr};

/// Versions of PTX.
pub mod nvptx {
    /// Versions of PTX.
    pub mod ptx_version {
        use std::fmt;

        /// A version of PTX. NVRTC chooses its own, so none is ever made.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum PtxVersion {}

        impl PtxVersion {
            /// None, whatever the driver.
            pub fn for_driver(_: i32) -> Option<Self> {
                None
            }
        }

        impl fmt::Display for PtxVersion {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {}
            }
        }
    }
}

/// What both targets of the LLVM path share.
pub mod shared {
    /// What the LLVM path cannot do.
    pub mod lowered_features {
        use cubecl_core::ir::DeviceProperties;

        /// A target of LLVM.
        #[derive(Debug, Clone, Copy)]
        pub enum GpuTarget {
            /// NVIDIA's architectures.
            Nvptx,
        }

        /// Would take from a device what LLVM cannot express; NVRTC can express all of it.
        pub fn restrict_features(_: &mut DeviceProperties, _: GpuTarget) {}
    }
}

/// A target of LLVM.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LlvmTarget {
    /// NVIDIA's target of LLVM, NVPTX.
    #[default]
    Nvptx,
}

/// The compiler that is not here.
#[derive(Debug, Clone, Default)]
pub struct PlironCompiler {
    /// For what it would compile.
    pub target: LlvmTarget,
}

/// How it would compile.
#[derive(Debug, Clone, Default)]
pub struct PlironOptions {
    /// Architecture of an AMD device.
    pub arch: Option<()>,
    /// Architecture of an NVIDIA device.
    pub sm_arch: Option<SmArch>,
    /// PTX version of the output.
    pub ptx_version: Option<nvptx::ptx_version::PtxVersion>,
    /// Whether the launch parameters are constants of the grid.
    pub grid_constants: bool,
}

/// A compiled kernel.
#[derive(Debug, Clone)]
pub struct NvptxModule {
    /// PTX, ended by a zero.
    pub ptx: Vec<c_char>,
    /// Name of the function.
    pub entrypoint: String,
    /// The form before PTX.
    pub ir: String,
    /// Bytes of shared memory.
    pub shared_memory_size: usize,
    /// Which buffers are read and written.
    pub io: Vec<BufferIOAttr>,
}

/// What compiling gives.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum PlironArtifact {
    /// For NVIDIA.
    NvptxCode(NvptxModule),
}

impl fmt::Display for PlironArtifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::NvptxCode(module) = self;
        f.write_str(&module.ir)
    }
}

impl Compiler for PlironCompiler {
    type Representation = PlironArtifact;
    type CompilationOptions = PlironOptions;

    fn buffer_io(compiled: &PlironArtifact) -> Option<Vec<BufferIOAttr>> {
        let PlironArtifact::NvptxCode(module) = compiled;
        Some(module.io.clone())
    }

    fn compile(&mut self, _: KernelDefinition, _: &PlironOptions) -> Result<PlironArtifact, CompilationError> {
        Err(CompilationError::Generic {
            reason: "a kernel was to be compiled by LLVM, which this build leaves out: expected `cubecl/cuda-cpp` among its features".to_owned(),
            backtrace: BackTrace::capture(),
        })
    }

    fn extension(&self) -> &'static str {
        "ll"
    }

    fn lang_tag(&self) -> &'static str {
        "mlir"
    }
}
