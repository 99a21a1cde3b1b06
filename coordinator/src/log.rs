//! What the log says of attempts, with job, task and attempt as fields.

use croft_core::{
    farm::Farm,
    ids::AttemptId,
    step::{Assignment, Event},
};

/// An event, before the mind hears of it.
pub(crate) fn event(farm: &Farm, event: &Event) {
    match event {
        Event::AttemptFailed { attempt, failure, .. } => tracing::warn!(
            job = %attempt.task.job, task = name(farm, attempt), attempt = attempt.number,
            cause = failure.cause.name(), remedy = failure.remedy, "attempt failed: {}", failure.message
        ),
        Event::AttemptSaved { attempt, artifacts, .. } => tracing::debug!(
            job = %attempt.task.job, task = name(farm, attempt), attempt = attempt.number,
            files = artifacts.len(), "attempt saved"
        ),
        _ => {}
    }
}

pub(crate) fn assigned(farm: &Farm, assignment: &Assignment) {
    let Assignment { attempt, device, .. } = assignment;
    tracing::debug!(
        job = %attempt.task.job, task = name(farm, attempt), attempt = attempt.number,
        worker = %device.worker, device = device.index, "assigned"
    );
}

/// `job/layer/0001`.
pub(crate) fn name(farm: &Farm, attempt: &AttemptId) -> String {
    farm.name(&attempt.task).unwrap_or_default()
}
