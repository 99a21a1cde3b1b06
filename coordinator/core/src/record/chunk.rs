//! Tasks are stored in runs, so that a commit stays a few keys whatever the size of a job.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{VERSION, put};
use crate::{
    failure::{Cause, Failure},
    ids::{DeviceId, Fence, JobId, TaskId, WorkerId},
    job::Layer,
    step::{Artifact, Published, Stage, Times, Write},
    task::{Ended, Live, Seat, Task},
    time::Time,
    usage::Days,
    view::TaskState,
};

/// Tasks of one chunk. With a full history each and the longest texts a chunk stays below half a megabyte.
pub(crate) const CHUNK_TASKS: u32 = 32;

/// A run of tasks that are stored together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Chunk {
    pub(crate) job: JobId,
    pub(crate) layer: u32,
    pub(crate) index: u32,
}

impl Chunk {
    pub(crate) fn of(task: &TaskId) -> Self {
        Self { job: task.job.clone(), layer: task.layer, index: task.task / CHUNK_TASKS }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ChunkRecord {
    version: u32,
    pub(crate) tasks: Vec<TaskRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TaskRecord {
    pub(crate) task: u32,
    state: TaskState,
    number: u32,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    spent: BTreeMap<Cause, u32>,
    #[serde(default, skip_serializing_if = "is_zero")]
    yielded: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<Ended>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    older: Option<Box<Days>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    live: Option<LiveRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    avoid: Option<WorkerId>,
    #[serde(default, skip_serializing_if = "is_epoch")]
    not_before: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<Box<Failure>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    published: Option<Box<Published>>,
}

/// What it takes to know a running or publishing attempt again.
#[derive(Debug, Serialize, Deserialize)]
struct LiveRecord {
    number: u32,
    fence: Fence,
    devices: Vec<DeviceId>,
    /// Ranks that have saved already, while others go on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    done: Vec<u32>,
    started: Time,
    no_progress_ms: u64,
    #[serde(default, skip_serializing_if = "is_false")]
    flies: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    saved: Option<Artifact>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_epoch(time: &Time) -> bool {
    time.0 == 0
}

pub(crate) fn chunk(chunk: &Chunk, layer: &Layer) -> Write {
    let first = chunk.index * CHUNK_TASKS;
    let run = layer.tasks.range(first..first.saturating_add(CHUNK_TASKS));
    let tasks = run.map(|(at, task)| TaskRecord::of(*at, task)).collect();
    put(chunk_key(chunk), &ChunkRecord { version: VERSION, tasks })
}

pub(crate) fn chunk_key(chunk: &Chunk) -> String {
    format!("tasks/{}/{}/{:06}", chunk.job, chunk.layer, chunk.index)
}

impl TaskRecord {
    fn of(at: u32, task: &Task) -> Self {
        Self {
            task: at,
            state: task.state,
            number: task.number,
            spent: task.spent.clone(),
            yielded: task.yielded,
            attempts: task.ended.clone(),
            older: task.older.clone(),
            live: task.live.as_ref().map(|live| LiveRecord {
                number: live.number,
                fence: live.fence,
                devices: live.seats.iter().map(|seat| seat.device.clone()).collect(),
                done: if task.state == TaskState::Running { live.done() } else { Vec::new() },
                started: live.started,
                no_progress_ms: live.no_progress_ms,
                flies: live.flies,
                saved: live.saved.clone(),
            }),
            avoid: task.avoid.clone(),
            not_before: task.not_before,
            failure: task.failure.clone(),
            published: task.published.clone(),
        }
    }

    /// The number of its newest attempt.
    pub(crate) fn attempts(&self) -> u64 {
        let live = self.live.as_ref().map_or(0, |live| live.number);
        u64::from(self.number.max(live))
    }

    /// The task again; a live attempt's worker is away, and its patience begins anew at `now`.
    pub(crate) fn task(self, now: Time) -> Task {
        let live = self.live.filter(|live| !live.devices.is_empty()).map(|live| {
            let saved = self.state == TaskState::Publishing;
            let seat = |(rank, device)| Seat {
                device,
                session: None,
                done: saved || live.done.contains(&rank),
                need_bytes: 0,
            };
            Box::new(Live {
                number: live.number,
                fence: live.fence,
                seats: (0..).zip(live.devices).map(seat).collect(),
                started: live.started,
                moved: now,
                longest_gap_ms: 0,
                no_progress_ms: live.no_progress_ms,
                stage: if saved { Stage::Save } else { Stage::Load },
                stage_since: now,
                step: 0,
                steps: 0,
                times: Times::default(),
                charged_ms: None,
                flies: live.flies,
                used_ms: 0,
                counted: live.started,
                unpublished: 0,
                saved: live.saved,
            })
        });
        Task {
            state: self.state,
            number: self.number,
            spent: self.spent,
            yielded: self.yielded,
            live,
            ended: self.attempts,
            older: self.older,
            avoid: self.avoid,
            not_before: self.not_before,
            failure: self.failure,
            published: self.published,
        }
    }
}
