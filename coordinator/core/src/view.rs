//! What people ask of the farm, as plain values: a picture of one moment, made by [`crate::farm::Farm`].

use std::collections::BTreeMap;

use crate::{
    failure::{Cause, Failure},
    ids::{DeviceId, JobId, TaskId, WorkerId},
    mutant::{self, Mutant},
    show::ShowSettings,
    split::Seating,
    step::{DeviceInfo, Published, Stage, Times},
    time::Time,
    worker::LockKind,
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
///                                '-> Failed            any unsettled -> Cancelled | Skipped
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
    /// Somebody decided that it is not needed; what waits for it goes on.
    Skipped,
}

impl TaskState {
    /// Whether nothing more will happen by itself.
    #[must_use]
    pub fn settled(self) -> bool {
        match self {
            Self::Waiting | Self::Queued | Self::Running | Self::Publishing => false,
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::Skipped => true,
        }
    }

    /// Whether what waits for it may go on.
    #[must_use]
    pub fn done(self) -> bool {
        matches!(self, Self::Succeeded) || (self == Self::Skipped && !mutant::on(Mutant::SkipNotDone))
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
    pub skipped: u64,
    /// Attempts that ended badly and were tried again, by cause.
    pub retried: BTreeMap<Cause, u64>,
}

impl Counts {
    /// All tasks.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.unsettled() + self.succeeded + self.failed + self.cancelled + self.skipped
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
            TaskState::Skipped => &mut self.skipped,
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
        self.skipped += other.skipped;
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
    pub paused: bool,
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
    /// How its tasks are seated, once that is decided.
    pub seating: Option<Seating>,
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
    /// What it left, once it is published.
    pub published: Option<Published>,
    /// In words, why it has not started; empty for a task that has.
    pub wait_reason: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct AttemptView {
    pub number: u32,
    /// Of rank 0.
    pub device: DeviceId,
    pub ranks: u32,
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
    /// Who keeps work from it, and why.
    pub locks: BTreeMap<LockKind, String>,
    pub devices: Vec<DeviceView>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DeviceView {
    pub info: DeviceInfo,
    /// The attempts that it runs, as `job/layer/0001#2`: one, or several shots in flight.
    pub running: Vec<String>,
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

/// Where the spans of a job's attempts belong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traced {
    /// As it came with the submission.
    pub parent: String,
    /// Each attempt is a trace of its own, which only names the submission's.
    pub apart: bool,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// Devices that are ready.
    pub devices: u32,
    /// Those of them that hold a rank of it.
    pub devices_fit: u32,
    /// How it lies in their memory, and what it needs there, a line each.
    pub memory: Vec<String>,
    /// Which ways to split it were looked at, where there was a choice: a line each, the best last.
    pub split: Vec<String>,
    /// Why it would wait.
    pub warning: Option<String>,
    /// Milliseconds; `None` when nothing like it was measured.
    pub eta_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ShowView {
    pub name: String,
    pub settings: ShowSettings,
    /// Devices that it holds now.
    pub devices: u32,
    /// Device milliseconds used since the coordinator started.
    pub used_ms: u64,
    /// Jobs of it that are not settled.
    pub jobs_active: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitView {
    pub name: String,
    /// `None` for one that jobs name and nobody defined.
    pub max: Option<u32>,
    pub used: u32,
}

/// Why a task waits, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaitReason {
    /// It does not: it is settled.
    Settled,
    /// It does not: it runs or is being published.
    Running,
    /// The next tick starts it.
    Next,
    /// For another layer.
    Layer,
    /// For a pause after a failure.
    Backoff,
    Paused,
    /// No worker is connected.
    NoWorker,
    /// No device of the farm could ever take it.
    NoFit,
    /// Those that could are locked.
    Locked,
    /// Those that could are on hold or avoided after failures.
    Avoided,
    /// Those that could are busy.
    Busy,
    /// Those that could are kept for a task that needs several.
    Reserved,
    /// A limit is used up.
    Limit,
    /// Its show holds as many devices as it may.
    Quota,
    /// Others go first.
    Turn,
}

/// Why a task waits, and what would have to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    pub reason: WaitReason,
    pub words: String,
    /// Devices that could take it, those that come free soonest first, in words.
    pub nearest: Vec<String>,
    /// Devices that cannot, in words.
    pub unusable: Vec<String>,
    /// Since when it waits.
    pub since: Time,
}
