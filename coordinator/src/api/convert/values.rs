//! Small values that travel in several messages: causes, stages, files, parameters.

use croft_core::{
    failure::{Cause, Failure},
    model_card::{ParamValue, Params},
    step::{Artifact, Stage, Times},
};
use croft_proto::v1;

macro_rules! causes {
    ($($name:ident),*) => {
        pub(super) fn cause(cause: Cause) -> v1::ExitCause {
            match cause { $(Cause::$name => v1::ExitCause::$name,)* }
        }

        /// What a worker could not name is its own fault.
        fn cause_from(cause: v1::ExitCause) -> Cause {
            match cause {
                $(v1::ExitCause::$name => Cause::$name,)*
                v1::ExitCause::Unspecified | v1::ExitCause::Ok => Cause::Internal,
            }
        }
    };
}

causes!(
    OomDevice,
    OomHost,
    ModelMissing,
    ModelCorrupt,
    DeviceLost,
    CollectiveTimeout,
    StoreUnavailable,
    BadSpec,
    NanOutput,
    Yielded,
    Cancelled,
    LeaseLost,
    TimeoutTotal,
    TimeoutNoProgress,
    Crashed,
    DiskFull,
    OutputExists,
    Internal
);

/// Characters of a worker's message that are kept: it is stored with the task and shown in tables.
const WORDS_MAX: usize = 2_000;

pub(super) fn failure(failure: &Failure, worker: &str, device: &str) -> v1::Failure {
    v1::Failure {
        cause: cause(failure.cause).into(),
        message: failure.message.clone(),
        remedy: failure.remedy.clone(),
        worker: worker.to_owned(),
        device: device.to_owned(),
        rank: 0,
    }
}

pub(super) fn failure_from(failure: v1::Failure) -> Failure {
    let cause = cause_from(failure.cause());
    Failure::new(cause, words(failure.message), words(failure.remedy))
}

fn words(text: String) -> String {
    if text.len() <= WORDS_MAX { text } else { text.chars().take(WORDS_MAX).collect() }
}

pub(super) fn stage(stage: Stage) -> v1::Stage {
    match stage {
        Stage::Load => v1::Stage::Load,
        Stage::Encode => v1::Stage::Encode,
        Stage::Denoise => v1::Stage::Denoise,
        Stage::Decode => v1::Stage::Decode,
        Stage::Save => v1::Stage::Save,
    }
}

/// A stage that a newer worker may know and this coordinator does not is told as the first.
pub(super) fn stage_from(stage: v1::Stage) -> Stage {
    match stage {
        v1::Stage::Unspecified | v1::Stage::Load => Stage::Load,
        v1::Stage::Encode => Stage::Encode,
        v1::Stage::Denoise => Stage::Denoise,
        v1::Stage::Decode => Stage::Decode,
        v1::Stage::Save => Stage::Save,
    }
}

pub(super) fn times(times: Times) -> v1::AttemptTimes {
    let Times { load_ms, encode_ms, denoise_ms, decode_ms, save_ms } = times;
    v1::AttemptTimes { load_ms, encode_ms, denoise_ms, decode_ms, save_ms }
}

pub(super) fn times_from(times: v1::AttemptTimes) -> Times {
    let v1::AttemptTimes { load_ms, encode_ms, denoise_ms, decode_ms, save_ms } = times;
    Times { load_ms, encode_ms, denoise_ms, decode_ms, save_ms }
}

pub(in crate::api) fn artifact(artifact: Artifact) -> v1::Artifact {
    let Artifact { path, size_bytes, digest, media_type } = artifact;
    v1::Artifact { path, size_bytes, digest, media_type }
}

pub(super) fn artifact_from(artifact: v1::Artifact) -> Artifact {
    let v1::Artifact { path, size_bytes, digest, media_type } = artifact;
    Artifact { path, size_bytes, digest, media_type }
}

pub(super) fn params(params: &Params) -> std::collections::BTreeMap<String, v1::ParamValue> {
    let value = |value: &ParamValue| {
        let kind = match value {
            ParamValue::Flag(flag) => v1::param_value::Kind::Flag(*flag),
            ParamValue::Number(number) => v1::param_value::Kind::Number(*number),
            ParamValue::Text(text) => v1::param_value::Kind::Text(text.clone()),
        };
        v1::ParamValue { kind: Some(kind) }
    };
    params.iter().map(|(name, v)| (name.clone(), value(v))).collect()
}
