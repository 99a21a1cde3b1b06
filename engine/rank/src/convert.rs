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

pub(crate) fn failed(id: u64, error: &Error) -> RankFailed {
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
    RankFailed { id, cause: cause.into(), message: error.to_string(), remedy: error.remedy(), peer_lost }
}

/// What a panic said.
pub(crate) fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no words".to_owned())
}
