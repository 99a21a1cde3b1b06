//! The stored form of the farm: a few keys a job, whatever its size, each with a version.
//!
//! `jobs/{job}` holds what was submitted; `tasks/{job}/{layer}/{chunk}` the tasks of a chunk that have a history. A
//! running attempt is not stored: a worker that comes back says what it runs.

use serde::Serialize;

use crate::{
    failure::Failure,
    ids::{JobId, TaskId},
    job::{Job, Layer},
    step::{Artifact, Write},
    task::Ended,
    time::Time,
    view::TaskState,
};

/// Tasks of one chunk.
pub(crate) const CHUNK_TASKS: u32 = 64;
/// Fences that are written ahead, so that minting one is not a write.
pub(crate) const FENCES_AHEAD: u64 = 1024;
const VERSION: u32 = 1;

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

#[derive(Serialize)]
struct JobRecord<'a> {
    version: u32,
    plan: &'a crate::plan::PlanRecord,
    request_id: &'a str,
    number: u64,
    created: Time,
    settled: Option<Time>,
    cancelled: bool,
    device_ms: u64,
    /// By layer: why its tasks without a record are cancelled, when they are.
    rest: Vec<Option<&'a str>>,
}

#[derive(Serialize)]
struct ChunkRecord<'a> {
    version: u32,
    tasks: Vec<TaskRecord<'a>>,
}

#[derive(Serialize)]
struct TaskRecord<'a> {
    task: u32,
    state: TaskState,
    number: u32,
    spent: u32,
    attempts: &'a [Ended],
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'a Failure>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    artifacts: &'a [Artifact],
}

pub(crate) fn job_key(id: &JobId) -> String {
    format!("jobs/{id}")
}

pub(crate) fn fences(limit: u64) -> Write {
    Write { key: "fences".to_owned(), value: Some(limit.to_string().into_bytes()) }
}

pub(crate) fn job(id: &JobId, job: &Job) -> Write {
    let record = JobRecord {
        version: VERSION,
        plan: job.plan.record(),
        request_id: &job.request_id,
        number: job.number,
        created: job.created,
        settled: job.settled,
        cancelled: job.cancelled,
        device_ms: job.device_ms,
        rest: job.layers.iter().map(|layer| layer.rest.as_deref()).collect(),
    };
    Write { key: job_key(id), value: Some(json(&record)) }
}

pub(crate) fn chunk(chunk: &Chunk, layer: &Layer) -> Write {
    let first = chunk.index * CHUNK_TASKS;
    let tasks = layer
        .tasks
        .range(first..first.saturating_add(CHUNK_TASKS))
        .map(|(at, task)| TaskRecord {
            task: *at,
            state: task.state,
            number: task.number,
            spent: task.spent,
            attempts: &task.ended,
            failure: task.failure.as_ref(),
            artifacts: &task.artifacts,
        })
        .collect();
    Write { key: chunk_key(chunk), value: Some(json(&ChunkRecord { version: VERSION, tasks })) }
}

pub(crate) fn chunk_key(chunk: &Chunk) -> String {
    format!("tasks/{}/{}/{:06}", chunk.job, chunk.layer, chunk.index)
}

fn json(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("a record has string keys and finite numbers")
}
