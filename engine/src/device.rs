//! Where a rank computes, and what of CUDA there is.

use std::{fmt, str::FromStr};

/// Devices of one machine at most.
const ORDINAL_MAX: usize = 255;

/// What a rank computes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The cores of this machine; numbers are f32.
    #[default]
    Cpu,
    /// An NVIDIA device; numbers are bf16.
    Cuda {
        /// Among those that CUDA shows this process.
        ordinal: usize,
    },
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda { ordinal } => write!(f, "cuda:{ordinal}"),
        }
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "cpu" {
            return Ok(Self::Cpu);
        }
        // A sign or a space would parse as a number.
        let digits = text.strip_prefix("cuda:").filter(|n| n.bytes().all(|b| b.is_ascii_digit()));
        match digits.and_then(|ordinal| ordinal.parse().ok()) {
            Some(ordinal) if ordinal <= ORDINAL_MAX => Ok(Self::Cuda { ordinal }),
            _ => Err(format!("neither `cpu` nor `cuda:N` with N of 0 to {ORDINAL_MAX}")),
        }
    }
}

/// Whether this program renders on NVIDIA devices.
#[must_use]
pub const fn has_cuda() -> bool {
    cfg!(feature = "cuda")
}

/// Versions of what ranks on NVIDIA devices load, as far as it was found on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The newest CUDA that the driver runs, such as `13.0`.
    pub cuda: String,
    /// Or why it is not to be loaded.
    pub cublas_lt: Result<String, String>,
    /// The same; wanted by gangs alone.
    pub nccl: Result<String, String>,
}

/// Why nothing of CUDA can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("this program was built without the feature `cuda`")]
    NotBuilt,
    #[error("{message}")]
    NoDriver { message: String, remedy: String },
}

/// Looks for the driver and the libraries, without making use of a device.
///
/// # Errors
/// When no rank can render on an NVIDIA device here, whichever devices there are.
pub fn probe() -> Result<Facts, Why> {
    #[cfg(feature = "cuda")]
    return cuda();
    #[cfg(not(feature = "cuda"))]
    Err(Why::NotBuilt)
}

#[cfg(feature = "cuda")]
fn cuda() -> Result<Facts, Why> {
    use crate::cuda::{cublas, driver};

    let version = driver().map_err(|absent| Why::NoDriver {
        message: absent.to_string(),
        remedy: absent.remedy().to_owned(),
    })?;
    let cublas_lt = cublas().map_err(|absent| absent.to_string());
    Ok(Facts {
        cuda: format!("{}.{}", version / 1000, version % 1000 / 10),
        cublas_lt: cublas_lt.map(|v| format!("{}.{}.{}", v / 10_000, v / 100 % 100, v % 100)),
        nccl: nccl(),
    })
}

#[cfg(all(feature = "cuda", feature = "nccl"))]
fn nccl() -> Result<String, String> {
    let version = crate::parallel::nccl::version().map_err(|trouble| trouble.to_string())?;
    Ok(format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100))
}

#[cfg(all(feature = "cuda", not(feature = "nccl")))]
fn nccl() -> Result<String, String> {
    Err("this program was built without the feature `nccl`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_named_as_it_is_written() {
        for device in [Device::Cpu, Device::Cuda { ordinal: 0 }, Device::Cuda { ordinal: 12 }] {
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        for bad in ["", "cuda", "cuda:", "cuda:-1", "cuda:+1", "cuda: 1", "cuda:256", "CPU", "gpu:0"] {
            assert!(bad.parse::<Device>().is_err(), "{bad}");
        }
    }
}
