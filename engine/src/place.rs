//! Where a pipeline computes: on this machine's cores, or on a device that is open.

use crate::device::Device;
use crate::error::Error;

#[cfg(feature = "cuda")]
use {
    crate::cuda::{Gpu, Precision},
    std::sync::Arc,
};

/// Opened once, and shared by all that is loaded there.
#[derive(Clone, Debug, Default)]
pub enum Place {
    #[default]
    Cpu,
    #[cfg(feature = "cuda")]
    Cuda(Arc<Gpu>),
}

impl Place {
    /// # Errors
    /// `NoDevice` with what is missing, `Device` with what the driver says.
    pub fn open(device: Device) -> Result<Self, Error> {
        match device {
            Device::Cpu => Ok(Self::Cpu),
            #[cfg(feature = "cuda")]
            Device::Cuda { ordinal } => Ok(Self::Cuda(Gpu::open(ordinal, Precision::Bf16)?)),
            #[cfg(not(feature = "cuda"))]
            Device::Cuda { .. } => Err(Error::NoDevice {
                message: "this program was built without the feature `cuda`".into(),
                remedy: "install the build that `deploy/cuda/build` makes".into(),
            }),
        }
    }

    /// The most bytes of the device that were held at once, since `forget_most`; none where there is no device.
    #[must_use]
    pub fn most_held(&self) -> Option<u64> {
        match self {
            Self::Cpu => None,
            #[cfg(feature = "cuda")]
            Self::Cuda(gpu) => Some(gpu.most_held()),
        }
    }

    /// Counts the most that is held from now on.
    pub fn forget_most(&self) {
        match self {
            Self::Cpu => {}
            #[cfg(feature = "cuda")]
            Self::Cuda(gpu) => gpu.forget_most(),
        }
    }
}
