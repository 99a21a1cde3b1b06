//! The stored form of the farm: a few keys a job, whatever its size, each with a version.
//!
//! `jobs/{job}` holds what was submitted; `tasks/{job}/{layer}/{chunk}` the tasks of a chunk that have a history;
//! `workers/{worker}`, `shows/{show}`, `limits/{limit}`, `invitations/{hash}` and `audit/{kind}/{chunk}` what their names
//! say; `fences` the bound below which every
//! fence was minted. Of a running attempt only its fence and its devices are stored: a worker that comes back says
//! what it runs.

mod chunk;
mod doors;
mod read;

pub(crate) use chunk::{Chunk, chunk, chunk_key};
pub(crate) use doors::{audit, invitation};
pub use read::Error;
pub(crate) use read::Records;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{JobId, WorkerId},
    job::Job,
    plan::PlanRecord,
    show::{Show, ShowSettings},
    split::{Link, Seating},
    step::{DeviceInfo, Write},
    time::Time,
    usage::Days,
    worker::{LockKind, Worker},
};

/// Fences that are written ahead, so that minting one is not a write.
pub(crate) const FENCES_AHEAD: u64 = 1024;
/// Of all records. A record of a later version is refused, one of an earlier is read.
pub(crate) const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct JobRecord {
    version: u32,
    pub(crate) plan: PlanRecord,
    pub(crate) request_id: String,
    pub(crate) number: u64,
    pub(crate) created: Time,
    pub(crate) settled: Option<Time>,
    pub(crate) cancelled: bool,
    pub(crate) paused: bool,
    pub(crate) priority: u32,
    pub(crate) device_ms: u64,
    /// By layer: why its tasks without a record are cancelled, when they are.
    pub(crate) rest: Vec<Option<String>>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) trace: String,
    /// By layer: how the farm chose to seat its tasks, once it has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) seatings: Vec<Option<Seating>>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WorkerRecord {
    version: u32,
    pub(crate) incarnation: String,
    pub(crate) host: String,
    pub(crate) build: String,
    pub(crate) tags: Vec<String>,
    pub(crate) devices: Vec<DeviceInfo>,
    pub(crate) locks: Vec<(LockKind, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) link: Option<Link>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ShowRecord {
    version: u32,
    pub(crate) settings: ShowSettings,
    /// Not of a show that is only remembered for what it used.
    #[serde(default = "set")]
    pub(crate) set: bool,
    #[serde(default, skip_serializing_if = "Days::is_empty")]
    pub(crate) forgotten: Days,
}

fn set() -> bool {
    true
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LimitRecord {
    version: u32,
    pub(crate) max: u32,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FenceRecord {
    version: u32,
    pub(crate) limit: u64,
}

pub(crate) fn job_key(id: &JobId) -> String {
    format!("jobs/{id}")
}

pub(crate) fn fences(limit: u64) -> Write {
    put("fences".to_owned(), &FenceRecord { version: VERSION, limit })
}

pub(crate) fn job(id: &JobId, job: &Job) -> Write {
    let record = JobRecord {
        version: VERSION,
        plan: job.plan.record().clone(),
        request_id: job.request_id.clone(),
        number: job.number,
        created: job.created,
        settled: job.settled,
        cancelled: job.cancelled,
        paused: job.paused,
        priority: job.priority,
        device_ms: job.device_ms,
        rest: job.layers.iter().map(|layer| layer.rest.as_deref().map(str::to_owned)).collect(),
        trace: job.trace.clone(),
        seatings: match job.layers.iter().any(|layer| layer.seating.is_some()) {
            true => job.layers.iter().map(|layer| layer.seating).collect(),
            false => Vec::new(),
        },
    };
    put(job_key(id), &record)
}

pub(crate) fn worker(id: &WorkerId, worker: &Worker) -> Write {
    let record = WorkerRecord {
        version: VERSION,
        incarnation: worker.incarnation.clone(),
        host: worker.host.clone(),
        build: worker.version.clone(),
        tags: worker.tags.clone(),
        devices: worker
            .devices
            .values()
            .map(|device| DeviceInfo { resident_models: Vec::new(), ..device.info.clone() })
            .collect(),
        locks: worker.locks.iter().map(|(kind, why)| (*kind, why.clone())).collect(),
        link: worker.link.clone(),
    };
    put(worker_key(id), &record)
}

pub(crate) fn worker_key(id: &WorkerId) -> String {
    format!("workers/{id}")
}

pub(crate) fn show(name: &str, show: &Show) -> Write {
    let Show { settings, set, forgotten, .. } = show.clone();
    put(format!("shows/{name}"), &ShowRecord { version: VERSION, settings, set, forgotten })
}

pub(crate) fn limit(name: &str, max: Option<u32>) -> Write {
    let key = format!("limits/{name}");
    match max {
        Some(max) => put(key, &LimitRecord { version: VERSION, max }),
        None => Write { key, value: None },
    }
}

fn put(key: String, record: &impl Serialize) -> Write {
    let value = serde_json::to_vec(record).expect("a record has string keys and finite numbers");
    Write { key, value: Some(value) }
}
