//! What is said to workers, and what they say.

use bytes::Bytes;
use croft_core::{
    farm::Farm,
    ids::{AttemptId, Fence, JobId, SessionId, TaskId, WorkerId},
    split::{Link, Mode, Residency},
    step::{Assignment, DeviceInfo, Event, Joined, Output, Recipe},
    worker::LockKind,
};
use croft_proto::v1::{self, worker_message::What};

use super::{
    names::{parse_number, task_number},
    values::{artifact_from, failure_from, params, stage_from, times_from},
};
use crate::handle::Make;

/// A worker has this many devices at most.
const DEVICES_MAX: usize = 256;
const TAGS_MAX: usize = 64;
/// Characters of a host's name, a version, a device's model.
const LABEL_MAX: usize = 200;

/// An attempt by the names that people use; only the farm knows which layer that is.
#[derive(Debug, Clone)]
pub(in crate::api) struct Named {
    pub(in crate::api) job: JobId,
    layer: String,
    task: u32,
    number: u32,
    fence: Fence,
}

impl Named {
    /// `None` when the farm has no such layer.
    pub(in crate::api) fn find(&self, farm: &Farm) -> Option<AttemptId> {
        let layer = farm.layer_index(&self.job, &self.layer)?;
        let task = TaskId { job: self.job.clone(), layer, task: self.task };
        Some(AttemptId { task, number: self.number, fence: self.fence })
    }
}

/// `None` for what is no attempt at all.
pub(in crate::api) fn attempt(attempt: v1::AttemptRef) -> Option<Named> {
    Some(Named {
        job: JobId::new(&attempt.job).ok()?,
        layer: attempt.layer,
        task: parse_number(&attempt.task)?,
        number: attempt.attempt,
        fence: Fence(attempt.fence),
    })
}

/// Whose address it is.
pub(in crate::api) fn rank_address(at: &v1::RankAddress) -> (Option<Named>, u32) {
    (at.attempt.clone().and_then(attempt), rank_of(at.attempt.as_ref()))
}

/// `None` when the job was forgotten in the meantime.
pub(crate) fn attempt_ref(farm: &Farm, attempt: &AttemptId, rank: u32) -> Option<v1::AttemptRef> {
    let layer = farm.plan(&attempt.task.job)?.layers().get(attempt.task.layer as usize)?;
    Some(v1::AttemptRef {
        job: attempt.task.job.to_string(),
        layer: layer.name.clone(),
        task: task_number(attempt.task.task),
        attempt: attempt.number,
        fence: attempt.fence.0,
        rank,
    })
}

pub(crate) fn assignment(
    farm: &Farm,
    assignment: Assignment,
    gang_token: Bytes,
    traceparent: String,
) -> Option<v1::Assignment> {
    Some(v1::Assignment {
        attempt: Some(attempt_ref(farm, &assignment.attempt, assignment.rank)?),
        ranks: assignment.ranks,
        mode: split_mode(assignment.mode).into(),
        residency: residency(assignment.residency).into(),
        shares: shares(assignment.shares),
        gang_token,
        device: assignment.device.index,
        recipe: Some(recipe(assignment.recipe)),
        prefix: assignment.prefix,
        sidecar_json: assignment.sidecar,
        timeout_total_ms: assignment.timeout_total_ms,
        timeout_no_progress_ms: assignment.timeout_no_progress_ms,
        traceparent,
    })
}

fn split_mode(mode: Mode) -> v1::SplitMode {
    match mode {
        Mode::Tensor => v1::SplitMode::Tensor,
        Mode::Layers => v1::SplitMode::Layers,
        Mode::Guidance => v1::SplitMode::Guidance,
    }
}

fn residency(residency: Residency) -> v1::Residency {
    match residency {
        Residency::Resident => v1::Residency::Resident,
        Residency::Sequential => v1::Residency::Sequential,
        Residency::Streamed => v1::Residency::Streamed,
    }
}

/// None are told where all are alike.
fn shares(shares: Vec<u32>) -> Vec<u32> {
    if shares.iter().all(|share| *share == shares[0]) { Vec::new() } else { shares }
}

fn recipe(recipe: Recipe) -> v1::Recipe {
    let Output { makes: _, frames_dir, still, preview, sidecar, png_bits } = recipe.output;
    v1::Recipe {
        params: params(&recipe.params),
        model: recipe.model,
        model_digest: recipe.model_digest,
        prompt: recipe.prompt,
        negative_prompt: recipe.negative_prompt,
        seed: recipe.seed,
        dtype: recipe.dtype,
        output: Some(v1::OutputPlan { frames_dir, still, preview, sidecar, png_bits: u32::from(png_bits) }),
    }
}

/// A hello, checked, with what it says to run; or why it is refused.
pub(in crate::api) fn hello(
    session: SessionId,
    hello: v1::Hello,
) -> Result<(Joined, Vec<v1::AttemptRef>), String> {
    let ours = croft_proto::PROTOCOL;
    if !(hello.protocol_min..=hello.protocol_max).contains(&ours) {
        return Err(format!(
            "this coordinator speaks protocol {ours} and the worker {} to {}: run the same version of croft on both",
            hello.protocol_min, hello.protocol_max
        ));
    }
    let worker = WorkerId::new(&hello.worker).map_err(|bad| format!("the worker's {bad}"))?;
    if hello.devices.len() > DEVICES_MAX || hello.tags.len() > TAGS_MAX {
        return Err(format!("a worker has {DEVICES_MAX} devices and {TAGS_MAX} tags at most"));
    }
    let mut devices: Vec<DeviceInfo> = hello.devices.into_iter().map(device).collect();
    devices.sort_by_key(|device| device.index);
    if let Some(twice) = devices.windows(2).find(|pair| pair[0].index == pair[1].index) {
        return Err(format!("two devices have index {}", twice[0].index));
    }
    let joined = Joined {
        session,
        worker,
        incarnation: label(hello.incarnation),
        host: label(hello.host),
        version: label(hello.version),
        tags: hello.tags.into_iter().map(label).collect(),
        devices,
        link: hello.link.and_then(link),
        running: Vec::new(),
    };
    Ok((joined, hello.running))
}

fn device(device: v1::DeviceInfo) -> DeviceInfo {
    DeviceInfo {
        index: device.index,
        kind: label(device.kind),
        model: label(device.model),
        memory_bytes: device.memory_bytes,
        threads: device.threads,
        resident_models: device.resident_models,
        gflops: device.gflops,
    }
}

/// `None` for one that carries nothing.
fn link(link: v1::Link) -> Option<Link> {
    let v1::Link { name, bytes_per_s, latency_ns } = link;
    let (bytes_per_s, latency_s) = (bytes_per_s as f64, latency_ns as f64 * 1e-9);
    (bytes_per_s > 0.0).then(|| Link { name: label(name), bytes_per_s, latency_s })
}

fn label(text: String) -> String {
    if text.len() <= LABEL_MAX { text } else { text.chars().take(LABEL_MAX).collect() }
}

/// What a worker said after its hello, as the farm's thread will understand it. A report of an attempt that the farm
/// does not know is a sign of life and no more.
pub(in crate::api) fn event(session: SessionId, what: What) -> Make {
    match what {
        // A second hello changes nothing.
        What::Hello(_) | What::Heartbeat(_) => Box::new(move |_| Some(Event::WorkerHeard { session })),
        What::Goodbye(_) => Box::new(move |_| Some(Event::WorkerLeft { session, goodbye: true })),
        What::Device(report) => Box::new(move |_| {
            let v1::DeviceReport { index, resident_models } = report;
            Some(Event::DeviceReported { session, index, resident_models })
        }),
        What::Nimby(lock) => Box::new(move |farm| {
            let worker = farm.worker_of(session)?;
            let v1::NimbyLock { on, reason, give_back } = lock;
            let reason = label(reason);
            Some(Event::WorkerSet { worker, lock: LockKind::Nimby, on, reason, give_back })
        }),
        What::Progress(progress) => {
            let stage = stage_from(progress.stage());
            let rank = rank_of(progress.attempt.as_ref());
            of_attempt(session, progress.attempt, move |attempt| Event::AttemptProgressed {
                session,
                attempt,
                rank,
                stage,
                step: progress.step,
                steps: progress.steps,
            })
        }
        What::Done(done) => {
            let rank = rank_of(done.attempt.as_ref());
            of_attempt(session, done.attempt, move |attempt| Event::AttemptSaved {
                session,
                attempt,
                rank,
                artifacts: done.artifacts.into_iter().map(artifact_from).collect(),
                times: done.times.map(times_from).unwrap_or_default(),
                peak_bytes: done.peak_memory_bytes,
            })
        }
        What::Failed(failed) => {
            let rank = rank_of(failed.attempt.as_ref());
            of_attempt(session, failed.attempt, move |attempt| Event::AttemptFailed {
                session,
                attempt,
                rank,
                failure: failure_from(failed.failure.unwrap_or_default()),
            })
        }
        // Relayed without the farm: `rendezvous`, `logs`.
        What::Address(_) | What::Log(_) => Box::new(move |_| Some(Event::WorkerHeard { session })),
    }
}

pub(in crate::api) fn rank_of(named: Option<&v1::AttemptRef>) -> u32 {
    named.map_or(0, |named| named.rank)
}

fn of_attempt(
    session: SessionId,
    named: Option<v1::AttemptRef>,
    event: impl FnOnce(AttemptId) -> Event + Send + 'static,
) -> Make {
    let named = named.and_then(attempt);
    Box::new(move |farm| {
        let found = named.and_then(|named| named.find(farm));
        Some(found.map_or(Event::WorkerHeard { session }, event))
    })
}
