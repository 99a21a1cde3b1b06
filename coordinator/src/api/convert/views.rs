//! What people see: jobs, tasks, workers, plans.

use croft_core::{
    ids::DeviceId,
    step::Stage,
    time::Time,
    view::{
        AttemptView, Counts, DeviceView, JobState, JobView, LayerView, StatusView, TaskState, TaskView,
        WorkerState, WorkerView,
    },
};
use croft_proto::v1;
use prost_types::Timestamp;

use super::{
    names::{device_name, job_name, task_name, worker_name},
    values,
};
use crate::updates::Progress;

pub(in crate::api) fn timestamp(time: Time) -> Timestamp {
    let seconds = i64::try_from(time.0 / 1_000).unwrap_or(i64::MAX);
    let nanos = i32::try_from(time.0 % 1_000 * 1_000_000).expect("less than a second");
    Timestamp { seconds, nanos }
}

pub(in crate::api) fn job(job: JobView) -> v1::Job {
    let state = match job.state {
        JobState::Active => v1::JobState::Active,
        JobState::Succeeded => v1::JobState::Succeeded,
        JobState::Failed => v1::JobState::Failed,
        JobState::Cancelled => v1::JobState::Cancelled,
    };
    v1::Job {
        name: job_name(&job.id),
        show: job.show,
        state: state.into(),
        priority: job.priority,
        labels: job.labels,
        create_time: Some(timestamp(job.created)),
        settle_time: job.settled.map(timestamp),
        counts: Some(counts_of(&job.counts)),
        layers: job.layers.into_iter().map(layer).collect(),
        spec_digest: job.spec_digest,
        device_ms: job.device_ms,
        eta_ms: job.eta_ms.unwrap_or(0),
    }
}

fn layer(layer: LayerView) -> v1::Layer {
    v1::Layer {
        counts: Some(counts_of(&layer.counts)),
        name: layer.name,
        model: layer.model,
        after: layer.after.unwrap_or_default(),
    }
}

fn counts_of(counts: &Counts) -> v1::TaskCounts {
    v1::TaskCounts {
        waiting: counts.waiting,
        queued: counts.queued,
        // For a counter of tasks, publication is the end of running.
        running: counts.running + counts.publishing,
        succeeded: counts.succeeded,
        failed: counts.failed,
        cancelled: counts.cancelled,
        skipped: counts.skipped,
        retried: counts.retried.iter().map(|(cause, n)| (cause.name().to_owned(), *n)).collect(),
    }
}

pub(in crate::api) fn task(task: TaskView) -> v1::Task {
    let state = match task.state {
        TaskState::Waiting => v1::TaskState::Waiting,
        TaskState::Queued => v1::TaskState::Queued,
        TaskState::Running => v1::TaskState::Running,
        TaskState::Publishing => v1::TaskState::Publishing,
        TaskState::Succeeded => v1::TaskState::Succeeded,
        TaskState::Failed => v1::TaskState::Failed,
        TaskState::Cancelled => v1::TaskState::Cancelled,
        TaskState::Skipped => v1::TaskState::Skipped,
    };
    // A task's failure happened where its last attempt ran.
    let place = task.attempts.last().map(|attempt| &attempt.device);
    v1::Task {
        name: task_name(&task.id.job, &task.layer, task.id.task),
        state: state.into(),
        axes: task.axes,
        output: task.output,
        failure: task.failure.as_ref().map(|failure| failure_at(failure, place)),
        attempts: task.attempts.into_iter().map(attempt).collect(),
        artifacts: task.published.map(|published| values::artifact(published.sidecar)).into_iter().collect(),
        wait_reason: task.wait_reason,
        seed: task.seed,
    }
}

fn failure_at(failure: &croft_core::failure::Failure, place: Option<&DeviceId>) -> v1::Failure {
    let (worker, device) = match place {
        Some(place) => (worker_name(&place.worker), device_name(&place.worker, place.index)),
        None => (String::new(), String::new()),
    };
    values::failure(failure, &worker, &device)
}

fn attempt(attempt: AttemptView) -> v1::Attempt {
    let cause = match (&attempt.failure, attempt.ended) {
        (Some(failure), _) => values::cause(failure.cause),
        (None, Some(_)) => v1::ExitCause::Ok,
        (None, None) => v1::ExitCause::Unspecified,
    };
    v1::Attempt {
        number: attempt.number,
        worker: worker_name(&attempt.device.worker),
        device: device_name(&attempt.device.worker, attempt.device.index),
        start_time: Some(timestamp(attempt.started)),
        end_time: attempt.ended.map(timestamp),
        cause: cause.into(),
        failure: attempt.failure.as_ref().map(|failure| failure_at(failure, Some(&attempt.device))),
        stage: stage_of(attempt.stage),
        step: attempt.step,
        steps: attempt.steps,
        times: Some(values::times(attempt.times)),
    }
}

fn stage_of(stage: Stage) -> i32 {
    values::stage(stage).into()
}

/// `layer` is the layer's name.
pub(in crate::api) fn progress(progress: Progress, layer: &str, label: String) -> v1::TaskProgress {
    v1::TaskProgress {
        task: task_name(&progress.task.job, layer, progress.task.task),
        attempt: progress.attempt,
        worker: worker_name(&progress.device.worker),
        device: device_name(&progress.device.worker, progress.device.index),
        stage: stage_of(progress.stage),
        step: progress.step,
        steps: progress.steps,
        label,
    }
}

pub(in crate::api) fn worker(worker: WorkerView) -> v1::Worker {
    let state = match worker.state {
        WorkerState::Ready => v1::WorkerState::Ready,
        WorkerState::Lost => v1::WorkerState::Lost,
        WorkerState::Gone => v1::WorkerState::Gone,
    };
    let device = |device: DeviceView| v1::Device {
        name: device_name(&worker.id, device.info.index),
        kind: device.info.kind,
        model: device.info.model,
        memory_bytes: device.info.memory_bytes,
        threads: device.info.threads,
        resident_models: device.info.resident_models,
        running: device.running.unwrap_or_default(),
        succeeded: device.succeeded,
        failed: device.failed,
    };
    v1::Worker {
        name: worker_name(&worker.id),
        state: state.into(),
        devices: worker.devices.into_iter().map(device).collect(),
        host: worker.host,
        version: worker.version,
        tags: worker.tags,
        seen_time: Some(timestamp(worker.seen)),
    }
}

pub(in crate::api) fn status(status: StatusView, artifacts: String) -> v1::FarmStatus {
    v1::FarmStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        workers: status.workers,
        devices: status.devices,
        devices_busy: status.devices_busy,
        jobs_active: status.jobs_active,
        tasks_queued: status.tasks_queued,
        tasks_running: status.tasks_running,
        artifacts,
    }
}
