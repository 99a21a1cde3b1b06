//! The worker's words on the wire, made in one place.

use croft_proto::v1::{
    Artifact, AttemptDone, AttemptFailed, AttemptProgress, AttemptRef, AttemptTimes, DeviceReport, ExitCause,
    Failure, Goodbye, Heartbeat, Hello, NimbyLock, RankAddress, RankFailed, RankProgress, WorkerMessage,
    worker_message::What,
};

pub(crate) fn message(what: What) -> WorkerMessage {
    WorkerMessage { what: Some(what) }
}

pub(crate) fn hello(hello: Hello) -> WorkerMessage {
    message(What::Hello(hello))
}

pub(crate) fn heartbeat() -> WorkerMessage {
    message(What::Heartbeat(Heartbeat {}))
}

pub(crate) fn goodbye() -> WorkerMessage {
    message(What::Goodbye(Goodbye {}))
}

/// What runs is given back: an owner who comes back wants the machine, not a queue.
pub(crate) fn nimby(reason: Option<String>) -> WorkerMessage {
    let on = reason.is_some();
    message(What::Nimby(NimbyLock { on, reason: reason.unwrap_or_default(), give_back: on }))
}

pub(crate) fn progress(attempt: &AttemptRef, at: &RankProgress) -> WorkerMessage {
    message(What::Progress(AttemptProgress {
        attempt: Some(attempt.clone()),
        stage: at.stage,
        step: at.step,
        steps: at.steps,
    }))
}

/// Where the others of its gang reach a rank.
pub(crate) fn address(attempt: &AttemptRef, address: &str) -> WorkerMessage {
    message(What::Address(RankAddress { attempt: Some(attempt.clone()), address: address.to_owned() }))
}

pub(crate) fn done(attempt: &AttemptRef, artifacts: Vec<Artifact>, times: AttemptTimes) -> WorkerMessage {
    message(What::Done(AttemptDone {
        attempt: Some(attempt.clone()),
        artifacts,
        times: Some(times),
        ..AttemptDone::default()
    }))
}

pub(crate) fn failed(attempt: &AttemptRef, failure: Failure) -> WorkerMessage {
    message(What::Failed(AttemptFailed { attempt: Some(attempt.clone()), failure: Some(failure) }))
}

pub(crate) fn resident(index: u32, resident_models: Vec<String>) -> WorkerMessage {
    message(What::Device(DeviceReport { index, resident_models }))
}

/// A failure of one device of this worker.
pub(crate) fn failure(
    worker: &str,
    device: u32,
    rank: u32,
    cause: ExitCause,
    message: impl Into<String>,
    remedy: impl Into<String>,
) -> Failure {
    Failure {
        cause: cause.into(),
        message: message.into(),
        remedy: remedy.into(),
        worker: worker.to_owned(),
        device: device.to_string(),
        rank,
    }
}

/// A rank's failure, with where it happened.
pub(crate) fn of_rank(worker: &str, device: u32, rank: u32, failed: RankFailed) -> Failure {
    failure(worker, device, rank, failed.cause(), failed.message, failed.remedy)
}
