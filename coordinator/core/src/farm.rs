//! The farm as one value, and the door through which everything happens to it: [`Farm::apply`].
//!
//! One file a family of events: `jobs`, `shows`, `workers`, `attempts`, `doors`; `schedule` and `timers` are what a tick does;
//! `views` and `explain` answer questions; `recover` puts a farm together from its records.

mod attempts;
mod avoid;
mod doors;
mod ending;
mod explain;
mod forecast;
mod jobs;
mod lanes;
mod peaks;
mod recover;
mod schedule;
mod settle;
mod shows;
mod survey;
mod timers;
mod usage;
mod views;
mod wishes;
mod workers;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use avoid::Avoided;
use peaks::Peaks;
use schedule::Reservation;
pub use survey::Survey;

use crate::{
    audit,
    ids::{AttemptId, DeviceId, Fence, JobId, SessionId, TaskId, WorkerId},
    invitation::Invitation,
    job::{AGEING_MS, Job, Ready},
    mutant::{self, Mutant},
    pace::Pace,
    record,
    show::Show,
    split::Link,
    step::{Command, Event, Step, Update},
    task::Live,
    time::Time,
    worker::{Class, Lane, Worker},
};

/// What a studio may set.
#[derive(Debug, Clone)]
pub struct Config {
    /// Silence that breaks a worker's attempts, milliseconds.
    pub lease_ms: u64,
    /// Jobs remembered; past this many the oldest settled ones are forgotten.
    pub jobs_kept: usize,
    /// What lies between workers.
    pub between: Link,
}

impl Default for Config {
    fn default() -> Self {
        Self { lease_ms: 10_000, jobs_kept: 10_000, between: Link::between() }
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
    shows: BTreeMap<String, Show>,
    limits: BTreeMap<String, u32>,
    /// By the hash of their secrets.
    invitations: BTreeMap<String, Invitation>,
    audit: audit::Log,
    /// By show, layers with a task that could start now.
    ready: BTreeMap<String, BTreeSet<Ready>>,
    /// Devices that could take one: those of open workers that hold nothing, alike ones together.
    free: BTreeMap<Class, BTreeSet<DeviceId>>,
    /// By layer, the first devices of those on which shots of it are in flight.
    lanes: BTreeMap<(JobId, u32), BTreeSet<DeviceId>>,
    /// Attempts that share devices, as long as their time is counted.
    flights: BTreeMap<Lane, BTreeSet<AttemptId>>,
    /// Devices that are kept for tasks that need several.
    reservations: Vec<Reservation>,
    avoided: Avoided,
    /// Queued tasks that wait out a failure.
    delayed: BTreeSet<(Time, TaskId)>,
    /// Attempts that are whole and wait for the artifact store.
    unpublished: BTreeSet<(Time, AttemptId)>,
    /// When leases and deadlines were looked at last.
    checked: Time,
    /// When waiting was last counted in.
    aged: Time,
    /// Wall time of attempts by model digest, for forecasts.
    paces: BTreeMap<String, Pace>,
    peaks: Peaks,
    out: Out,
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
    workers: BTreeSet<WorkerId>,
    shows: BTreeSet<String>,
    limits: BTreeSet<String>,
    invitations: BTreeSet<String>,
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
            shows: BTreeMap::new(),
            limits: BTreeMap::new(),
            invitations: BTreeMap::new(),
            audit: audit::Log::new(),
            ready: BTreeMap::new(),
            free: BTreeMap::new(),
            lanes: BTreeMap::new(),
            flights: BTreeMap::new(),
            reservations: Vec::new(),
            avoided: Avoided::default(),
            delayed: BTreeSet::new(),
            unpublished: BTreeSet::new(),
            checked: Time::default(),
            aged: Time::default(),
            paces: BTreeMap::new(),
            peaks: Peaks::default(),
            out: Out::default(),
        }
    }

    /// Lets something happen. See [`Step`] for what the shell does with the answer.
    pub fn apply(&mut self, now: Time, event: Event) -> Step {
        let mut writes = Vec::new();
        match event {
            Event::JobSubmitted { request_id, plan, trace } => {
                self.job_submitted(now, request_id, *plan, trace);
            }
            Event::JobCancelled { job, now: at_once } => self.job_cancelled(now, &job, at_once),
            Event::TasksRetried { job, tasks } => self.tasks_retried(now, &job, &tasks),
            Event::TasksSkipped { job, tasks } => self.tasks_skipped(now, &job, &tasks),
            Event::JobPaused { job, paused } => self.job_paused(&job, paused),
            Event::JobUpdated { job, priority } => self.job_updated(&job, priority),
            Event::ShowSet { show, settings } => self.show_set(&show, settings),
            Event::LimitSet { limit, max } => self.limit_set(&limit, max),
            Event::WorkerSet { worker, lock, on, reason, give_back } => {
                self.worker_set(now, &worker, lock, on.then_some(reason), give_back);
            }
            Event::WorkerJoined(joined) => self.worker_joined(now, *joined),
            Event::WorkerHeard { session } => {
                self.heard(now, session);
            }
            Event::WorkerLeft { session, goodbye } => self.worker_left(now, session, goodbye),
            Event::DeviceReported { session, index, resident_models } => {
                self.device_reported(now, session, index, resident_models);
            }
            Event::AttemptProgressed { session, attempt, rank, stage, step, steps } => {
                self.attempt_progressed(now, session, &attempt, rank, stage, (step, steps));
            }
            Event::AttemptSaved { session, attempt, rank, artifacts, times, peak_bytes } => {
                self.peak_measured(session, &attempt, rank, peak_bytes);
                self.attempt_saved(now, session, &attempt, rank, artifacts, times);
            }
            Event::AttemptFailed { session, attempt, rank, failure } => {
                self.attempt_failed(now, session, &attempt, rank, failure);
            }
            Event::Published { attempt, outcome } => self.published(now, &attempt, outcome),
            Event::Invited { hash, name, expires } => self.invited(now, hash, name, expires),
            Event::InvitationShown { hash, request } => self.invitation_shown(now, &hash, request),
            Event::Noted(entry) => self.noted(now, *entry),
            Event::Tick => {
                self.check_timers(now);
                self.publish_due(now);
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
        let live = layer.tasks.get_mut(&attempt.task.task)?.live.as_deref_mut();
        live.filter(|live| live.fence == attempt.fence || mutant::on(Mutant::FenceIgnored))
    }

    /// Fences rise and are never minted twice, whatever was forgotten or restarted in between.
    fn mint(&mut self) -> Fence {
        let fence = Fence(self.next_fence);
        self.next_fence += 1;
        fence
    }

    /// Brings the line of ready layers up to date with one layer after it changed.
    fn refresh(&mut self, id: &JobId, layer: u32) {
        let aged = self.aged;
        let Some(job) = self.jobs.get_mut(id) else { return };
        let (number, priority, paused) = (job.number, job.priority, job.paused);
        let line = self.ready.entry(job.plan.show().to_owned()).or_default();
        let known = &mut job.layers[layer as usize];
        let ready = (!paused || mutant::on(Mutant::PauseIgnored)) && known.has_ready();
        if ready && known.in_line.is_none() {
            known.served = known.served.max(aged);
        }
        let wanted = ready.then(|| Ready {
            priority: Reverse(priority + waited_points(aged, known.served)),
            submission: number,
            layer: Reverse(layer),
            job: id.clone(),
        });
        if wanted == known.in_line {
            return;
        }
        if let Some(old) = known.in_line.take() {
            line.remove(&old);
        }
        if let Some(key) = wanted {
            known.in_line = Some(key.clone());
            if line.is_empty() {
                // A show that had nothing to do has saved nothing up.
                let behind = self.shows.values().filter(|show| show.devices > 0).map(|show| show.clock).min();
                let show = self.shows.entry(job.plan.show().to_owned()).or_default();
                show.clock = show.clock.max(behind.unwrap_or(0));
            }
            line.insert(key);
        }
        if line.is_empty() {
            self.ready.remove(job.plan.show());
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
        if self.next_fence > self.fences_written && !mutant::on(Mutant::FencesUnwritten) {
            self.fences_written = self.next_fence + record::FENCES_AHEAD;
            writes.push(record::fences(self.fences_written));
        }
        for job in std::mem::take(&mut self.out.jobs) {
            if let Some(known) = self.jobs.get(&job) {
                writes.push(record::job(&job, known));
            }
        }
        for worker in std::mem::take(&mut self.out.workers) {
            if let Some(known) = self.workers.get(&worker) {
                writes.push(record::worker(&worker, known));
            }
        }
        for show in std::mem::take(&mut self.out.shows) {
            writes.push(record::show(&show, &self.shows[&show]));
        }
        for limit in std::mem::take(&mut self.out.limits) {
            writes.push(record::limit(&limit, self.limits.get(&limit).copied()));
        }
        for chunk in std::mem::take(&mut self.out.chunks) {
            if let Some(job) = self.jobs.get(&chunk.job) {
                writes.push(record::chunk(&chunk, &job.layers[chunk.layer as usize]));
            }
        }
        for hash in std::mem::take(&mut self.out.invitations) {
            writes.push(record::invitation(&hash, self.invitations.get(&hash)));
        }
        writes.extend(self.audit.take_changed().into_iter().map(record::audit));
        writes.extend(self.out.forgotten.drain(..).map(|key| crate::step::Write { key, value: None }));
        writes
    }
}

/// Points of priority that a wait is worth.
fn waited_points(now: Time, since: Time) -> u32 {
    u32::try_from(now.since(since) / AGEING_MS).unwrap_or(u32::MAX / 2)
}
