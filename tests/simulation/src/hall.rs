//! A farm in good order: no network, no faults, workers that do what they are told in the time that they are told. For
//! what must be measured rather than broken: shares, waits, and what a tick costs at scale.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::{Duration, Instant},
};

use croft_core::{
    farm::{Config, Farm},
    ids::{AttemptId, JobId, SessionId, WorkerId},
    plan::Plan,
    show::ShowSettings,
    step::{Artifact, Assignment, Command, DeviceInfo, Event, Joined, Published, Times},
    time::Time,
};

/// Well within a lease.
const BEAT_MS: u64 = 4_000;

/// Who renders what, until when.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    ends: u64,
    session: SessionId,
    attempt: AttemptId,
    rank: u32,
}

/// A farm whose workers and store never fail.
#[derive(Debug)]
pub struct Hall {
    farm: Farm,
    now: u64,
    runs: BinaryHeap<Reverse<Run>>,
    workers: u64,
    beaten: u64,
    requests: u64,
    /// Device milliseconds of what has started, by show.
    pub device_ms: BTreeMap<String, u64>,
    /// When each job's first task started.
    pub first_start: BTreeMap<JobId, u64>,
    pub starts: u64,
    pub writes: u64,
    /// What the core has taken for ticks: all together, and the longest.
    pub ticks: u64,
    pub tick_time: Duration,
    pub tick_max: Duration,
    /// And for all other events.
    pub event_time: Duration,
}

impl Default for Hall {
    fn default() -> Self {
        Self::new()
    }
}

impl Hall {
    #[must_use]
    pub fn new() -> Self {
        Self {
            farm: Farm::new(Config::default(), 1),
            now: 0,
            runs: BinaryHeap::new(),
            workers: 0,
            beaten: 0,
            requests: 0,
            device_ms: BTreeMap::new(),
            first_start: BTreeMap::new(),
            starts: 0,
            writes: 0,
            ticks: 0,
            tick_time: Duration::ZERO,
            tick_max: Duration::ZERO,
            event_time: Duration::ZERO,
        }
    }

    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now
    }

    #[must_use]
    pub fn farm(&self) -> &Farm {
        &self.farm
    }

    /// A worker with `devices` devices.
    ///
    /// # Panics
    /// Never: its name is a name.
    pub fn join(&mut self, devices: u32) {
        self.workers += 1;
        let device = |index| DeviceInfo {
            index,
            kind: "cpu".to_owned(),
            model: "test".to_owned(),
            memory_bytes: 1 << 30,
            threads: 1,
            resident_models: vec!["clip".to_owned()],
            gflops: 0,
        };
        let worker = WorkerId::new(&format!("w{:04}", self.workers)).expect("a name");
        self.tell(Event::WorkerJoined(Box::new(Joined {
            session: SessionId(self.workers),
            worker,
            incarnation: "first".to_owned(),
            host: "host".to_owned(),
            version: "0".to_owned(),
            tags: Vec::new(),
            devices: (0..devices).map(device).collect(),
            link: None,
            running: Vec::new(),
        })));
    }

    pub fn set_show(&mut self, show: &str, weight: u32) {
        let settings = ShowSettings { weight, max_devices: None };
        self.tell(Event::ShowSet { show: show.to_owned(), settings });
    }

    /// Submits a job and gives its name.
    ///
    /// # Panics
    /// When the farm does not answer: it always does.
    pub fn submit(&mut self, plan: Plan) -> JobId {
        self.requests += 1;
        let request_id = format!("request-{}", self.requests);
        let trace = String::new();
        self.tell(Event::JobSubmitted { request_id: request_id.clone(), plan: Box::new(plan), trace });
        self.farm.request(&request_id).expect("a submission is answered")
    }

    fn tell(&mut self, event: Event) {
        let begun = clock();
        let step = self.farm.apply(Time(self.now), event);
        self.event_time += begun.elapsed();
        self.perform(step.commands, &|_| 0);
    }

    /// One tick; `lasts` says how long an assignment takes.
    pub fn tick(&mut self, lasts: &dyn Fn(&Assignment) -> u64) {
        let begun = clock();
        let step = self.farm.apply(Time(self.now), Event::Tick);
        let took = begun.elapsed();
        self.ticks += 1;
        self.tick_time += took;
        self.tick_max = self.tick_max.max(took);
        self.writes += step.writes.len() as u64;
        self.perform(step.commands, lasts);
    }

    fn perform(&mut self, commands: Vec<Command>, lasts: &dyn Fn(&Assignment) -> u64) {
        for command in commands {
            match command {
                Command::Start(assignment) => self.start(&assignment, lasts(&assignment)),
                Command::Publish { attempt, sidecar, .. } => {
                    let outcome = Ok(Published { sidecar, files: 1, bytes: 1 });
                    self.tell(Event::Published { attempt, outcome });
                }
                Command::Welcome { .. }
                | Command::Refuse { .. }
                | Command::HangUp { .. }
                | Command::Revoke { .. }
                | Command::Collect { .. } => {}
            }
        }
    }

    fn start(&mut self, assignment: &Assignment, ms: u64) {
        let Assignment { session, attempt, rank, .. } = assignment;
        if *rank == 0 {
            self.starts += 1;
            self.first_start.entry(attempt.task.job.clone()).or_insert(self.now);
        }
        if let Some(plan) = self.farm.plan(&attempt.task.job) {
            *self.device_ms.entry(plan.show().to_owned()).or_default() += ms;
        }
        let run = Run { ends: self.now + ms, session: *session, attempt: attempt.clone(), rank: *rank };
        self.runs.push(Reverse(run));
    }

    /// Lets time pass until `until`, a tick after each change as the shell does it. Gives up early when `done`.
    pub fn run(&mut self, until: u64, lasts: &dyn Fn(&Assignment) -> u64, done: &dyn Fn(&Self) -> bool) {
        self.tick(lasts);
        while self.now < until && !done(self) {
            let ends = self.runs.peek().map_or(until, |Reverse(run)| run.ends);
            let beat = self.beaten + BEAT_MS;
            self.now = ends.min(beat).min(until).max(self.now);
            if self.now >= beat {
                self.beaten = self.now;
                for session in 1..=self.workers {
                    self.tell(Event::WorkerHeard { session: SessionId(session) });
                }
            }
            while let Some(Reverse(run)) = self.runs.peek()
                && run.ends <= self.now
            {
                let Some(Reverse(Run { session, attempt, rank, .. })) = self.runs.pop() else { break };
                let artifacts = if rank == 0 { vec![sidecar()] } else { Vec::new() };
                self.tell(Event::AttemptSaved {
                    session,
                    attempt,
                    rank,
                    artifacts,
                    times: Times::default(),
                    peak_bytes: 0,
                });
            }
            self.tick(lasts);
        }
    }
}

fn sidecar() -> Artifact {
    Artifact {
        path: "sidecar.json".to_owned(),
        size_bytes: 1,
        digest: "00".to_owned(),
        media_type: "application/json".to_owned(),
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "what the core costs is measured; the farm itself is told the time"
)]
fn clock() -> Instant {
    Instant::now()
}
