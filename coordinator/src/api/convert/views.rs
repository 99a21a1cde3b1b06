//! What people see: jobs, tasks, workers, plans.

use croft_core::{
    ids::DeviceId,
    split::Seating,
    step::Stage,
    time::Time,
    view::{
        AttemptView, Counts, DeviceView, JobState, JobView, LayerView, LimitView, ShowView, StatusView,
        TaskState, TaskView, Wait, WaitReason, WorkerState, WorkerView,
    },
    worker::LockKind,
};
use croft_proto::v1;
use prost_types::Timestamp;

use super::{
    names::{device_name, job_name, task_name, worker_name},
    values,
};
use crate::{state::Standing, updates::Progress};

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
        paused: job.paused,
        warnings: Vec::new(),
    }
}

fn layer(layer: LayerView) -> v1::Layer {
    v1::Layer {
        counts: Some(counts_of(&layer.counts)),
        name: layer.name,
        model: layer.model,
        after: layer.after.unwrap_or_default(),
        split: layer.seating.map_or_else(String::new, Seating::words),
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
        running: device.running,
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
        locks: worker.locks.into_iter().map(lock).collect(),
    }
}

fn lock((kind, reason): (LockKind, String)) -> v1::Lock {
    let kind = match kind {
        LockKind::Locked => v1::LockKind::Locked,
        LockKind::Nimby => v1::LockKind::Nimby,
        LockKind::Draining => v1::LockKind::Draining,
    };
    v1::Lock { kind: kind.into(), reason }
}

pub(in crate::api) fn show(show: ShowView) -> v1::Show {
    v1::Show {
        name: format!("shows/{}", show.name),
        weight: show.settings.weight,
        max_devices: show.settings.max_devices.unwrap_or(0),
        devices: show.devices,
        device_seconds: show.used_ms as f64 / 1e3,
        jobs_active: show.jobs_active,
    }
}

pub(in crate::api) fn limit(limit: LimitView) -> v1::Limit {
    v1::Limit { name: format!("limits/{}", limit.name), max: limit.max, used: limit.used }
}

/// `example` is the task's name as people say it.
pub(in crate::api) fn wait(tasks: u64, example: &str, wait: Wait) -> v1::WaitExplanation {
    let reason = match wait.reason {
        WaitReason::Settled => v1::WaitReason::Settled,
        WaitReason::Running => v1::WaitReason::Running,
        WaitReason::Next => v1::WaitReason::Next,
        WaitReason::Layer => v1::WaitReason::Layer,
        WaitReason::Backoff => v1::WaitReason::Backoff,
        WaitReason::Paused => v1::WaitReason::Paused,
        WaitReason::NoWorker => v1::WaitReason::NoWorker,
        WaitReason::NoFit => v1::WaitReason::NoFit,
        WaitReason::Locked => v1::WaitReason::Locked,
        WaitReason::Avoided => v1::WaitReason::Avoided,
        WaitReason::Busy => v1::WaitReason::Busy,
        WaitReason::Reserved => v1::WaitReason::Reserved,
        WaitReason::Limit => v1::WaitReason::Limit,
        WaitReason::Quota => v1::WaitReason::Quota,
        WaitReason::Turn => v1::WaitReason::Turn,
    };
    let example = match example.split('/').collect::<Vec<_>>()[..] {
        [job, layer, task] => format!("jobs/{job}/layers/{layer}/tasks/{task}"),
        _ => example.to_owned(),
    };
    v1::WaitExplanation {
        reason: reason.into(),
        words: wait.words,
        tasks,
        example,
        since_time: Some(timestamp(wait.since)),
        nearest: wait.nearest,
        unusable: wait.unusable,
    }
}

pub(in crate::api) fn status(
    status: StatusView,
    artifacts: String,
    standing: &Standing,
    advertise: &str,
    trouble: Option<String>,
    state_store: &str,
) -> v1::FarmStatus {
    let (role, leader, epoch) = match standing {
        Standing::Leader { epoch } => (v1::CoordinatorRole::Leader, advertise.to_owned(), epoch.0),
        Standing::Follower { leader } => {
            (v1::CoordinatorRole::Follower, leader.clone().unwrap_or_default(), 0)
        }
    };
    v1::FarmStatus {
        role: role.into(),
        leader,
        epoch,
        trouble: trouble.unwrap_or_default(),
        state_store: state_store.to_owned(),
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
