//! What people ask of the farm, as plain values: a picture of one moment, made by [`crate::farm::Farm`].

use std::collections::BTreeMap;

use crate::{
    failure::{Cause, Failure},
    ids::{DeviceId, JobId, TaskId, WorkerId},
    step::{Artifact, DeviceInfo, Stage, Times},
    time::Time,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobState {
    Active,
    Succeeded,
    Failed,
    Cancelled,
}

/// Where a task stands.
///
/// ```text
/// Waiting(after) -> Queued -> Running -> Publishing -> Succeeded
///                     ^----------+-----------'  a retry by cause
///                                '-> Failed            any unsettled -> Cancelled
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum TaskState {
    Waiting,
    Queued,
    Running,
    Publishing,
    Succeeded,
    Failed,
    Cancelled,
}

impl TaskState {
    /// Whether nothing more will happen by itself.
    #[must_use]
    pub fn settled(self) -> bool {
        match self {
            Self::Waiting | Self::Queued | Self::Running | Self::Publishing => false,
            Self::Succeeded | Self::Failed | Self::Cancelled => true,
        }
    }
}

/// Tasks by state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    pub waiting: u64,
    pub queued: u64,
    pub running: u64,
    pub publishing: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub cancelled: u64,
    /// Attempts that ended badly and were tried again, by cause.
    pub retried: BTreeMap<Cause, u64>,
}

impl Counts {
    /// All tasks.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.unsettled() + self.succeeded + self.failed + self.cancelled
    }

    #[must_use]
    pub fn unsettled(&self) -> u64 {
        self.waiting + self.queued + self.running + self.publishing
    }

    pub(crate) fn of(&mut self, state: TaskState) -> &mut u64 {
        match state {
            TaskState::Waiting => &mut self.waiting,
            TaskState::Queued => &mut self.queued,
            TaskState::Running => &mut self.running,
            TaskState::Publishing => &mut self.publishing,
            TaskState::Succeeded => &mut self.succeeded,
            TaskState::Failed => &mut self.failed,
            TaskState::Cancelled => &mut self.cancelled,
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.waiting += other.waiting;
        self.queued += other.queued;
        self.running += other.running;
        self.publishing += other.publishing;
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        for (cause, n) in &other.retried {
            *self.retried.entry(*cause).or_default() += n;
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct JobView {
    pub id: JobId,
    pub show: String,
    pub state: JobState,
    pub priority: u32,
    pub labels: BTreeMap<String, String>,
    pub created: Time,
    pub settled: Option<Time>,
    pub counts: Counts,
    pub layers: Vec<LayerView>,
    /// sha256, hex.
    pub spec_digest: String,
    /// Device milliseconds spent by all ended attempts.
    pub device_ms: u64,
    /// Milliseconds until done by the measured pace; `None` while nothing was measured.
    pub eta_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LayerView {
    pub name: String,
    pub model: String,
    pub after: Option<String>,
    pub counts: Counts,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TaskView {
    pub id: TaskId,
    pub layer: String,
    pub state: TaskState,
    pub axes: BTreeMap<String, String>,
    /// The folder of a clip's frames, or a still's file.
    pub output: String,
    pub seed: u64,
    pub attempts: Vec<AttemptView>,
    /// Why it failed or was cancelled.
    pub failure: Option<Failure>,
    /// Its published files.
    pub artifacts: Vec<Artifact>,
    /// In words, why it has not started; empty for a task that has.
    pub wait_reason: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct AttemptView {
    pub number: u32,
    pub device: DeviceId,
    pub started: Time,
    pub ended: Option<Time>,
    /// `None` while it runs or when it succeeded; see `ended`.
    pub failure: Option<Failure>,
    pub stage: Stage,
    pub step: u32,
    pub steps: u32,
    pub times: Times,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerState {
    Ready,
    /// Silent past its lease, or its stream broke and it has not come back yet.
    Lost,
    /// Said goodbye.
    Gone,
}

#[derive(Debug, Clone, PartialEq)]
pub struct WorkerView {
    pub id: WorkerId,
    pub state: WorkerState,
    pub host: String,
    pub version: String,
    pub tags: Vec<String>,
    pub seen: Time,
    pub devices: Vec<DeviceView>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DeviceView {
    pub info: DeviceInfo,
    /// The attempt that it runs, as `job/layer/0001#2`.
    pub running: Option<String>,
    pub succeeded: u64,
    pub failed: u64,
    /// In words, why it gets no work although it is free; empty otherwise.
    pub held: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatusView {
    pub workers: u32,
    pub devices: u32,
    pub devices_busy: u32,
    pub jobs_active: u64,
    pub tasks_queued: u64,
    pub tasks_running: u64,
}

/// Which tasks of a job: everything that is set must match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector {
    pub states: Vec<TaskState>,
    /// Axis values: `seed` = `7`, `product.text` = `canvas tote`.
    pub axes: BTreeMap<String, String>,
    pub layer: Option<String>,
    /// Indexes, counted from 0; empty for all.
    pub tasks: Vec<u32>,
}

/// How much longer a layer would take on this farm, for a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forecast {
    /// Devices that are ready.
    pub devices: u32,
    /// Milliseconds; `None` when nothing like it was measured.
    pub eta_ms: Option<u64>,
}
