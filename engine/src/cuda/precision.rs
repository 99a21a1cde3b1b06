//! How numbers are kept on a device.

use cudarc::cublaslt::sys::cudaDataType;

/// What weights and activations are stored as; sums are in f32 either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    #[default]
    Bf16,
    /// Twice the memory and a small part of the speed: for comparing with other engines.
    F32,
}

impl Precision {
    pub fn bytes(self) -> usize {
        match self {
            Self::Bf16 => 2,
            Self::F32 => 4,
        }
    }

    /// How the names of its kernels end.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
        }
    }

    pub(super) fn cublas(self) -> cudaDataType {
        match self {
            Self::Bf16 => cudaDataType::CUDA_R_16BF,
            Self::F32 => cudaDataType::CUDA_R_32F,
        }
    }
}
