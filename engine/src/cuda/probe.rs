//! What CUDA there is on this machine, found out without opening a device.

use cudarc::{
    cublaslt,
    driver::{result, sys},
};

/// Devices below this lack bf16 arithmetic.
pub(super) const CAPABILITY_MIN: u32 = 80;

/// Why no device can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Absent {
    #[error("libcuda.so.1 (the NVIDIA driver) was not found")]
    Driver,
    #[error("libcublasLt.so.13 was not found")]
    Cublas,
    #[error("the NVIDIA driver says: {0}")]
    Refused(String),
    #[error("the driver sees no device")]
    NoDevice,
}

impl Absent {
    /// What a person can do about it, as one sentence without a full stop.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Driver => {
                "install the NVIDIA driver 580 or a newer one; a container needs its capability `compute`"
            }
            Self::Cublas => {
                "install CUDA 13's cuBLAS (Debian: libcublas-13-0, Python: nvidia-cublas) and let the loader find it, by \
                 ldconfig or LD_LIBRARY_PATH"
            }
            Self::Refused(_) => "see `nvidia-smi`; after an update of the driver, restart the machine",
            Self::NoDevice => "see `nvidia-smi` and CUDA_VISIBLE_DEVICES",
        }
    }
}

/// The newest CUDA that the driver can do, as it writes it: 13000 for 13.0.
///
/// # Errors
/// When it is not there, or sees no device.
pub fn driver() -> Result<u32, Absent> {
    // SAFETY: loading a library runs its initialisers; these are NVIDIA's.
    if !unsafe { sys::is_culib_present() } {
        return Err(Absent::Driver);
    }
    let said = |error: cudarc::driver::DriverError| match error.0 {
        sys::CUresult::CUDA_ERROR_NO_DEVICE => Absent::NoDevice,
        _ => Absent::Refused(words(error)),
    };
    result::init().map_err(said)?;
    let mut version = 0;
    // SAFETY: the place outlives the call.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result().map_err(said)?;
    let devices = result::device::get_count().map_err(said)?;
    if devices > 0 { Ok(version.unsigned_abs()) } else { Err(Absent::NoDevice) }
}

/// cuBLASLt's version, as it writes it: 130100 for 13.1.0.
///
/// # Errors
/// When it is not there.
pub fn cublas() -> Result<u64, Absent> {
    // SAFETY: as above.
    if !unsafe { cublaslt::sys::is_culib_present() } {
        return Err(Absent::Cublas);
    }
    // SAFETY: it has no arguments.
    Ok(unsafe { cublaslt::sys::cublasLtGetVersion() } as u64)
}

/// What the driver calls an error.
pub(super) fn words(error: cudarc::driver::DriverError) -> String {
    let name = error.error_name().map(|name| name.to_string_lossy().into_owned());
    let text = error.error_string().map(|text| text.to_string_lossy().into_owned());
    match (name, text) {
        (Ok(name), Ok(text)) => format!("{text} ({name})"),
        _ => format!("{:?}", error.0),
    }
}
