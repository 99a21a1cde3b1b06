//! What can go wrong in the engine, said so that the reader knows which file or parameter it is and what to do.
//!
//! It never holds a message alone: every kind carries its place, so that a caller can count, compare and show it.

use crate::{parallel::Broken, progress::Stage};

/// A failure of the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("no model at `{model}`")]
    UnknownModel { model: String },
    #[error("{file}: not in the model folder")]
    Missing { file: String },
    #[error("{file}: tensor `{tensor}` is missing")]
    MissingTensor { file: String, tensor: String },
    #[error("{file}: tensor `{tensor}` has shape {found:?}, but the configuration asks for {expected:?}")]
    WrongShape { file: String, tensor: String, expected: Vec<usize>, found: Vec<usize> },
    #[error("{file}: tensor `{tensor}` is stored as {dtype}, which is not read (f32, f16 and bf16 are)")]
    WrongDtype { file: String, tensor: String, dtype: String },
    #[error("{file}: not a whole safetensors file: {detail}")]
    Truncated { file: String, detail: String },
    #[error("{file}: {} tensors are not of this architecture, first `{}`", tensors.len(), tensors.first().map_or("", String::as_str))]
    Unused { file: String, tensors: Vec<String> },
    #[error("{file}: `{key}`: {message}")]
    Config { file: String, key: String, message: String },
    #[error("{what} is not supported")]
    Unsupported { what: String, remedy: String },
    #[error("`{param}`: {message}")]
    BadRequest { param: String, message: String, remedy: String },
    #[error("{stage} gave numbers that are not finite{}", step.map_or(String::new(), |s| format!(" at step {s}")))]
    NanOutput {
        stage: Stage,
        /// The denoising step, from 1.
        step: Option<u32>,
    },
    #[error("cancelled")]
    Cancelled,
    #[error("the gang broke: {0}")]
    Gang(#[from] Broken),
    #[error("not enough memory for {what}: {bytes} bytes")]
    OutOfMemory { what: String, bytes: u64 },
    #[error(
        "not enough memory on the device for {what}: {} beside {} that this rank holds of the device's {}",
        sized(*bytes),
        sized(*held),
        sized(*total)
    )]
    DeviceMemory { what: String, bytes: u64, held: u64, total: u64 },
    #[error("no device to compute on: {message}")]
    NoDevice { message: String, remedy: String },
    #[error("the device failed at {what}: {message}")]
    Device { what: String, message: String },
    #[error("{file}: {source}")]
    Io { file: String, source: std::io::Error },
}

/// Of a device, as people reckon.
fn sized(bytes: u64) -> String {
    if bytes < 1 << 30 {
        format!("{} MiB", bytes.div_ceil(1 << 20))
    } else {
        format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
    }
}

/// Who can do something about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The request is wrong; another one to the same model can succeed.
    Request,
    /// The model is not there, or not all of it.
    ModelMissing,
    /// The model is there but cannot be what it says it is.
    ModelCorrupt,
    /// The arithmetic left the numbers.
    NanOutput,
    Cancelled,
    Oom,
    OomDevice,
    /// The device cannot be used, or no more.
    Device,
    /// Another rank of the gang did not keep up.
    Gang,
    /// None of the above: the machine or the engine itself.
    Internal,
}

impl Error {
    pub fn class(&self) -> Class {
        match self {
            Self::BadRequest { .. } => Class::Request,
            Self::UnknownModel { .. } | Self::Missing { .. } => Class::ModelMissing,
            Self::MissingTensor { .. }
            | Self::WrongShape { .. }
            | Self::WrongDtype { .. }
            | Self::Truncated { .. }
            | Self::Unused { .. }
            | Self::Config { .. }
            | Self::Unsupported { .. } => Class::ModelCorrupt,
            Self::NanOutput { .. } => Class::NanOutput,
            Self::Cancelled => Class::Cancelled,
            Self::OutOfMemory { .. } => Class::Oom,
            Self::DeviceMemory { .. } => Class::OomDevice,
            Self::NoDevice { .. } | Self::Device { .. } => Class::Device,
            Self::Gang(_) => Class::Gang,
            Self::Io { .. } => Class::Internal,
        }
    }

    /// What the reader can do about it, as one sentence without a full stop.
    pub fn remedy(&self) -> String {
        match self {
            Self::UnknownModel { .. } => {
                "give `builtin://shapes` or the absolute path of a folder in the diffusers layout".into()
            }
            Self::Missing { file } => format!("copy the whole model folder again, `{file}` with it"),
            Self::MissingTensor { file, .. } | Self::Truncated { file, .. } => {
                format!("fetch `{file}` again and compare its checksum")
            }
            Self::WrongShape { file, .. } | Self::Unused { file, .. } => {
                format!(
                    "`{file}` and its config.json belong to different models: fetch both from one release"
                )
            }
            Self::WrongDtype { .. } => "convert the file to bf16, f16 or f32".into(),
            Self::Config { file, .. } => format!("mend `{file}` or fetch it again"),
            Self::Unsupported { remedy, .. }
            | Self::BadRequest { remedy, .. }
            | Self::NoDevice { remedy, .. } => remedy.clone(),
            Self::NanOutput { .. } => {
                "lower the guidance, or check the weights against their checksum".into()
            }
            Self::Cancelled => "submit it again".into(),
            Self::OutOfMemory { .. } => {
                "ask for a smaller size or fewer frames, or use a larger machine".into()
            }
            Self::DeviceMemory { .. } => {
                "end what else holds it (see `nvidia-smi`), ask for a smaller size or fewer frames, let another residency or \
                 more ranks share the model, or use a larger device"
                    .into()
            }
            Self::Device { .. } => "see `nvidia-smi` and the kernel's log; a device that fell off its bus needs a restart".into(),
            Self::Gang(broken) => format!("see what rank {} says of itself", broken.rank),
            Self::Io { file, .. } => format!("check that `{file}` can be read by this user"),
        }
    }
}
