//! Wire values to the engine's and back. The only place where a rank knows both.

use std::any::Any;

use croft_engine::{
    error::{Class, Error},
    parallel::{Broken, Fault},
    progress::Stage,
    request::{Params, Value},
    residency::Residency,
};
use croft_proto::v1::{self, ExitCause, RankFailed, param_value};

pub(crate) fn stage(stage: Stage) -> v1::Stage {
    match stage {
        Stage::Load => v1::Stage::Load,
        Stage::Encode => v1::Stage::Encode,
        Stage::Denoise => v1::Stage::Denoise,
        Stage::Decode => v1::Stage::Decode,
        Stage::Save => v1::Stage::Save,
    }
}

pub(crate) fn residency(residency: v1::Residency) -> Residency {
    match residency {
        v1::Residency::Resident | v1::Residency::Unspecified => Residency::Resident,
        v1::Residency::Sequential => Residency::Sequential,
        v1::Residency::Streamed => Residency::Streamed,
    }
}

/// A recipe's parameters. One without a value is left out, and so takes the model's default.
pub(crate) fn params(recipe: &v1::Recipe) -> Params {
    let value = |value: &v1::ParamValue| match value.kind.as_ref()? {
        param_value::Kind::Number(number) => Some(Value::Number(*number)),
        param_value::Kind::Text(text) => Some(Value::Text(text.clone())),
        param_value::Kind::Flag(flag) => Some(Value::Flag(*flag)),
    };
    recipe.params.iter().filter_map(|(name, v)| Some((name.clone(), value(v)?))).collect()
}

/// A failure of a rank that held `peak` bytes of its device at most; 0 where that is not known.
pub(crate) fn failed(id: u64, error: &Error, peak: u64) -> RankFailed {
    let cause = match error.class() {
        Class::Request => ExitCause::BadSpec,
        Class::ModelMissing => ExitCause::ModelMissing,
        Class::ModelCorrupt => ExitCause::ModelCorrupt,
        Class::NanOutput => ExitCause::NanOutput,
        Class::Cancelled => ExitCause::Cancelled,
        Class::Oom => ExitCause::OomHost,
        Class::OomDevice => ExitCause::OomDevice,
        Class::Device => ExitCause::DeviceLost,
        Class::Gang => ExitCause::CollectiveTimeout,
        Class::Internal => ExitCause::Internal,
    };
    let peer_lost = matches!(error, Error::Gang(Broken { fault: Fault::Lost(_), .. }));
    let mut message = error.to_string();
    if cause == ExitCause::OomDevice && peak > 0 {
        message.push_str(&format!("; the rank held {} of its device at most", gib(peak)));
    }
    let remedy = match cause {
        ExitCause::OomDevice => {
            "fewer frames or pixels, vae_tiling: true, or more ranks need less; others may hold some of it, see `nvidia-smi`"
                .to_owned()
        }
        _ => error.remedy(),
    };
    RankFailed { id, cause: cause.into(), message, remedy, peer_lost }
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

/// What a panic said.
pub(crate) fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no words".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_memory_ran_out_is_said_with_what_was_held() {
        let error = Error::OutOfMemory { what: "latents".to_owned(), bytes: 1 << 20 };
        let host = failed(7, &error, 3 << 30);
        assert_eq!((host.cause(), host.message), (ExitCause::OomHost, error.to_string()));
        let error = Error::DeviceMemory {
            what: "latents".to_owned(),
            bytes: 1 << 20,
            held: 20 << 30,
            total: 24 << 30,
        };
        let device = failed(7, &error, 21 << 30);
        assert_eq!(device.cause(), ExitCause::OomDevice);
        assert_eq!(device.message, format!("{error}; the rank held 21.0 GiB of its device at most"));
        assert_eq!(failed(7, &error, 0).message, error.to_string());
        let other = failed(7, &Error::Cancelled, 1);
        assert_eq!((other.cause(), other.message.as_str()), (ExitCause::Cancelled, "cancelled"));
    }
}
