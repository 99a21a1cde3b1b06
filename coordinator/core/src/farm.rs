//! The farm as one value, and the door through which everything happens to it: [`Farm::apply`].
//!
//! One file a family of events: `jobs`, `workers`, `attempts`; `schedule` and `timers` are what a tick does;
//! `views` answers questions.

mod attempts;
mod jobs;
mod schedule;
mod settle;
mod timers;
mod views;
mod workers;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use crate::{
    ids::{AttemptId, DeviceId, Fence, JobId, SessionId, TaskId, WorkerId},
    job::Job,
    pace::Pace,
    record,
    step::{Command, Event, Step, Update},
    task::Live,
    time::Time,
    worker::Worker,
};

/// What a studio may set.
#[derive(Debug, Clone)]
pub struct Config {
    /// Silence that breaks a worker's attempts, milliseconds.
    pub lease_ms: u64,
    /// Jobs remembered; past this many the oldest settled ones are forgotten.
    pub jobs_kept: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { lease_ms: 10_000, jobs_kept: 10_000 }
    }
}

/// Everything the coordinator knows.
#[derive(Debug)]
pub struct Farm {
    config: Config,
    jobs: BTreeMap<JobId, Job>,
    requests: BTreeMap<String, JobId>,
    workers: BTreeMap<WorkerId, Worker>,
    sessions: BTreeMap<SessionId, WorkerId>,
    submissions: u64,
    next_fence: u64,
    /// Fences below this are spent as far as the store knows.
    fences_written: u64,
    /// Layers with a task that could start now.
    ready: BTreeSet<Ready>,
    /// Devices that could take one.
    free: BTreeSet<DeviceId>,
    /// Queued tasks that wait out a failure.
    delayed: BTreeSet<(Time, TaskId)>,
    /// When leases and deadlines were looked at last.
    checked: Time,
    /// Wall time of attempts by model digest, for forecasts.
    paces: BTreeMap<String, Pace>,
    out: Out,
}

/// A layer with work, in the order in which layers are served: urgent first, then by submission; within a job, what
/// completes a shot goes before what begins another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Ready {
    priority: Reverse<u32>,
    submission: u64,
    layer: Reverse<u32>,
    job: JobId,
}

/// What the current call has to say, and what the next tick has to write.
#[derive(Debug, Default)]
struct Out {
    commands: Vec<Command>,
    updates: Vec<Update>,
    /// Jobs whose own record changed.
    jobs: BTreeSet<JobId>,
    /// Jobs whose counts changed.
    told: BTreeSet<JobId>,
    chunks: BTreeSet<record::Chunk>,
    forgotten: Vec<String>,
}

impl Farm {
    /// An empty farm. `fence_seed` is the first fence; it must lie above every fence that was ever minted for the same
    /// store.
    #[must_use]
    pub fn new(config: Config, fence_seed: u64) -> Self {
        Self {
            config,
            jobs: BTreeMap::new(),
            requests: BTreeMap::new(),
            workers: BTreeMap::new(),
            sessions: BTreeMap::new(),
            submissions: 0,
            next_fence: fence_seed,
            fences_written: fence_seed,
            ready: BTreeSet::new(),
            free: BTreeSet::new(),
            delayed: BTreeSet::new(),
            checked: Time::default(),
            paces: BTreeMap::new(),
            out: Out::default(),
        }
    }

    /// Lets something happen. See [`Step`] for what the shell does with the answer.
    pub fn apply(&mut self, now: Time, event: Event) -> Step {
        let mut writes = Vec::new();
        match event {
            Event::JobSubmitted { request_id, plan } => self.job_submitted(now, request_id, *plan),
            Event::JobCancelled { job, now: at_once } => self.job_cancelled(now, &job, at_once),
            Event::TasksRetried { job, tasks } => self.tasks_retried(now, &job, &tasks),
            Event::WorkerJoined(joined) => self.worker_joined(now, *joined),
            Event::WorkerHeard { session } => {
                self.heard(now, session);
            }
            Event::WorkerLeft { session, goodbye } => self.worker_left(now, session, goodbye),
            Event::DeviceReported { session, index, resident_models } => {
                self.device_reported(now, session, index, resident_models);
            }
            Event::AttemptProgressed { session, attempt, stage, step, steps } => {
                self.attempt_progressed(now, session, &attempt, stage, (step, steps));
            }
            Event::AttemptSaved { session, attempt, artifacts, times } => {
                self.attempt_saved(now, session, &attempt, artifacts, times);
            }
            Event::AttemptFailed { session, attempt, failure } => {
                self.attempt_failed(now, session, &attempt, failure);
            }
            Event::Published { attempt, outcome } => self.published(now, &attempt, outcome),
            Event::Tick => {
                self.check_timers(now);
                self.schedule(now);
                writes = self.writes();
                let told = std::mem::take(&mut self.out.told);
                self.out.updates.extend(told.into_iter().map(|job| Update::Job { job }));
            }
        }
        Step {
            writes,
            commands: std::mem::take(&mut self.out.commands),
            updates: std::mem::take(&mut self.out.updates),
        }
    }

    /// Where `attempt` saves, relative to the store.
    #[must_use]
    pub fn prefix(&self, attempt: &AttemptId) -> String {
        let layer = self
            .jobs
            .get(&attempt.task.job)
            .and_then(|job| job.plan.layers().get(attempt.task.layer as usize))
            .map_or("unknown", |layer| layer.name.as_str());
        let TaskId { job, task, .. } = &attempt.task;
        format!(".attempts/{job}/{layer}/{:04}/{}-{:x}", task + 1, attempt.number, attempt.fence.0)
    }

    /// The live attempt that `attempt` names, if it is still the one that may report.
    fn live(&mut self, attempt: &AttemptId) -> Option<&mut Live> {
        let layer = self.jobs.get_mut(&attempt.task.job)?.layers.get_mut(attempt.task.layer as usize)?;
        layer.tasks.get_mut(&attempt.task.task)?.live.as_mut().filter(|live| live.fence == attempt.fence)
    }

    /// Fences rise and are never minted twice, whatever was forgotten or restarted in between.
    fn mint(&mut self) -> Fence {
        let fence = Fence(self.next_fence);
        self.next_fence += 1;
        fence
    }

    /// Brings `ready` in line with one layer after it changed.
    fn refresh(&mut self, id: &JobId, layer: u32) {
        let Some(job) = self.jobs.get(id) else { return };
        let key = Ready {
            priority: Reverse(job.plan.priority()),
            submission: job.number,
            layer: Reverse(layer),
            job: id.clone(),
        };
        if job.layers[layer as usize].has_ready() {
            self.ready.insert(key);
        } else {
            self.ready.remove(&key);
        }
    }

    /// Notes that a task changed: it is written with the next tick, and watchers hear of it.
    fn changed(&mut self, task: &TaskId) {
        self.out.chunks.insert(record::Chunk::of(task));
        self.out.updates.push(Update::Task { task: task.clone() });
        self.out.told.insert(task.job.clone());
        self.refresh(&task.job, task.layer);
    }

    /// Notes that a job itself changed: made, cancelled, settled.
    fn job_changed(&mut self, job: &JobId) {
        self.out.jobs.insert(job.clone());
        self.out.told.insert(job.clone());
    }

    /// Everything that changed since the last tick, one write a key.
    fn writes(&mut self) -> Vec<crate::step::Write> {
        let mut writes = Vec::new();
        if self.next_fence > self.fences_written {
            self.fences_written = self.next_fence + record::FENCES_AHEAD;
            writes.push(record::fences(self.fences_written));
        }
        for job in std::mem::take(&mut self.out.jobs) {
            if let Some(known) = self.jobs.get(&job) {
                writes.push(record::job(&job, known));
            }
        }
        for chunk in std::mem::take(&mut self.out.chunks) {
            if let Some(job) = self.jobs.get(&chunk.job) {
                writes.push(record::chunk(&chunk, &job.layers[chunk.layer as usize]));
            }
        }
        writes.extend(self.out.forgotten.drain(..).map(|key| crate::step::Write { key, value: None }));
        writes
    }
}
