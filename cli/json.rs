//! The API's messages as the command line's JSON: `croft.cli/v1`. Fields are added, never renamed or removed.

use croft_proto::v1::{
    Artifact, Attempt, Device, ExitCause, Failure, Job, JobEvent, JobPlan, JobState, LayerPlan, Lock,
    LockKind, ParamValue, Stage, Task, TaskCounts, TaskProgress, TaskState, Worker, WorkerState, job_event,
    param_value,
};
use serde_json::{Value, json};

pub(crate) fn job(job: &Job) -> Value {
    json!({
        "name": job.name, "show": job.show, "state": job_state(job.state()), "priority": job.priority,
        "labels": job.labels, "createTime": time(job.create_time), "settleTime": time(job.settle_time),
        "counts": job.counts.as_ref().map(counts), "specDigest": job.spec_digest,
        "deviceMs": job.device_ms, "etaMs": job.eta_ms, "paused": job.paused, "warnings": job.warnings,
        "layers": job.layers.iter().map(|l| json!({
            "name": l.name, "model": l.model, "after": l.after, "counts": l.counts.as_ref().map(counts), "split": l.split,
        })).collect::<Vec<_>>(),
    })
}

pub(crate) fn task(task: &Task) -> Value {
    json!({
        "name": task.name, "state": task_state(task.state()), "axes": task.axes, "output": task.output,
        "seed": task.seed, "attempts": task.attempts.iter().map(attempt).collect::<Vec<_>>(),
        "failure": task.failure.as_ref().map(failure), "waitReason": task.wait_reason,
        "artifacts": task.artifacts.iter().map(artifact).collect::<Vec<_>>(),
    })
}

pub(crate) fn event(event: &JobEvent) -> Value {
    let mut value = json!({
        "sequence": event.sequence, "resumeToken": event.resume_token, "time": time(event.time),
    });
    let what = match &event.what {
        Some(job_event::What::Job(j)) => ("job", job(j)),
        Some(job_event::What::Task(t)) => ("task", task(t)),
        Some(job_event::What::Progress(p)) => ("progress", progress(p)),
        None => return value,
    };
    value[what.0] = what.1;
    value
}

pub(crate) fn worker(worker: &Worker) -> Value {
    json!({
        "name": worker.name, "state": worker_state(worker.state()), "host": worker.host,
        "version": worker.version, "tags": worker.tags, "seenTime": time(worker.seen_time),
        "locks": worker.locks.iter().map(lock).collect::<Vec<_>>(),
        "devices": worker.devices.iter().map(device).collect::<Vec<_>>(),
    })
}

fn lock(lock: &Lock) -> Value {
    json!({ "kind": lock_kind(lock.kind()), "reason": lock.reason })
}

/// `LOCKED (repair), NIMBY`.
pub(crate) fn locks(locks: &[Lock]) -> String {
    let words = locks.iter().map(|lock| match lock.reason.as_str() {
        "" => lock_kind(lock.kind()).to_owned(),
        reason => format!("{} ({reason})", lock_kind(lock.kind())),
    });
    words.collect::<Vec<_>>().join(", ")
}

fn lock_kind(kind: LockKind) -> &'static str {
    bare(kind.as_str_name(), "LOCK_KIND_")
}

pub(crate) fn plan(plan: &JobPlan) -> Value {
    json!({
        "job": plan.job, "show": plan.show, "tasks": plan.tasks, "arithmetic": plan.arithmetic,
        "layers": plan.layers.iter().map(layer_plan).collect::<Vec<_>>(),
        "sampleOutputs": plan.sample_outputs, "warnings": plan.warnings,
    })
}

fn layer_plan(layer: &LayerPlan) -> Value {
    json!({
        "name": layer.name, "model": layer.model, "after": layer.after, "tasks": layer.tasks,
        "parameters": layer.parameters, "weightsBytes": layer.weights_bytes,
        "devicesFit": layer.devices_fit, "devicesAll": layer.devices_all, "etaMs": layer.eta_ms, "split": layer.split, "memory": layer.memory,
        "params": layer.params.iter().map(|(k, v)| (k.clone(), param(v))).collect::<serde_json::Map<_, _>>(),
    })
}

fn param(value: &ParamValue) -> Value {
    match &value.kind {
        Some(param_value::Kind::Number(n)) => json!(n),
        Some(param_value::Kind::Text(t)) => json!(t),
        Some(param_value::Kind::Flag(f)) => json!(f),
        None => Value::Null,
    }
}

fn counts(counts: &TaskCounts) -> Value {
    json!({
        "waiting": counts.waiting, "queued": counts.queued, "running": counts.running,
        "succeeded": counts.succeeded, "failed": counts.failed, "cancelled": counts.cancelled,
        "skipped": counts.skipped, "retried": counts.retried,
    })
}

fn attempt(attempt: &Attempt) -> Value {
    let times = attempt.times.map(|t| {
        json!({ "loadMs": t.load_ms, "encodeMs": t.encode_ms, "denoiseMs": t.denoise_ms,
                "decodeMs": t.decode_ms, "saveMs": t.save_ms })
    });
    json!({
        "number": attempt.number, "worker": attempt.worker, "device": attempt.device,
        "startTime": time(attempt.start_time), "endTime": time(attempt.end_time),
        "cause": cause(attempt.cause()), "failure": attempt.failure.as_ref().map(failure),
        "stage": stage(attempt.stage()), "step": attempt.step, "steps": attempt.steps, "times": times,
    })
}

fn failure(failure: &Failure) -> Value {
    json!({
        "cause": cause(failure.cause()), "message": failure.message, "remedy": failure.remedy,
        "worker": failure.worker, "device": failure.device, "rank": failure.rank,
    })
}

fn artifact(artifact: &Artifact) -> Value {
    json!({
        "path": artifact.path, "sizeBytes": artifact.size_bytes, "digest": artifact.digest,
        "mediaType": artifact.media_type,
    })
}

fn progress(progress: &TaskProgress) -> Value {
    json!({
        "task": progress.task, "attempt": progress.attempt, "worker": progress.worker,
        "device": progress.device, "stage": stage(progress.stage()), "step": progress.step,
        "steps": progress.steps, "label": progress.label,
    })
}

fn device(device: &Device) -> Value {
    json!({
        "name": device.name, "kind": device.kind, "model": device.model, "memoryBytes": device.memory_bytes,
        "threads": device.threads, "residentModels": device.resident_models, "running": device.running,
        "succeeded": device.succeeded, "failed": device.failed,
    })
}

fn time(at: Option<prost_types::Timestamp>) -> Option<String> {
    at.map(|t| t.to_string())
}

/// `ACTIVE`, `SUCCEEDED` …
pub(crate) fn job_state(state: JobState) -> &'static str {
    bare(state.as_str_name(), "JOB_STATE_")
}

/// `QUEUED`, `RUNNING` …
pub(crate) fn task_state(state: TaskState) -> &'static str {
    bare(state.as_str_name(), "TASK_STATE_")
}

/// `READY`, `LOST` …
pub(crate) fn worker_state(state: WorkerState) -> &'static str {
    bare(state.as_str_name(), "WORKER_STATE_")
}

/// `OOM_DEVICE`, `CRASHED` …; empty while nothing ended.
pub(crate) fn cause(cause: ExitCause) -> &'static str {
    match cause {
        ExitCause::Unspecified => "",
        _ => bare(cause.as_str_name(), "EXIT_CAUSE_"),
    }
}

/// `DENOISE`, `DECODE` …; empty before the first.
pub(crate) fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Unspecified => "",
        _ => bare(stage.as_str_name(), "STAGE_"),
    }
}

fn bare(name: &'static str, prefix: &str) -> &'static str {
    name.strip_prefix(prefix).unwrap_or(name)
}
