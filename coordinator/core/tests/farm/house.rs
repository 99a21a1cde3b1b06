//! A farm without machines: events in, commands out, and workers that do as the test says.

use std::collections::BTreeMap;

use croft_core::{
    failure::{Cause, Failure},
    farm::{Config, Farm},
    ids::{AttemptId, DeviceId, JobId, SessionId, TaskId, WorkerId},
    step::{
        Artifact, Assignment, Command, DeviceInfo, Event, Joined, Published, Stage, Times, Update, Write,
    },
    time::Time,
    view::{Selector, TaskState, TaskView, Wait},
    worker::LockKind,
};

use crate::cards::plan;

/// One farm and everything it asked for so far.
pub(crate) struct House {
    pub(crate) farm: Farm,
    pub(crate) now: Time,
    pub(crate) started: Vec<Assignment>,
    pub(crate) publishing: Vec<(AttemptId, Artifact)>,
    pub(crate) revoked: Vec<(SessionId, AttemptId, bool)>,
    pub(crate) refused: Vec<(SessionId, String)>,
    pub(crate) hung_up: Vec<SessionId>,
    pub(crate) collected: Vec<String>,
    pub(crate) accepted: Vec<(String, JobId)>,
    pub(crate) store: BTreeMap<String, Vec<u8>>,
    pub(crate) writes: usize,
    /// Of the largest gang.
    pub(crate) ranks: u32,
    pub(crate) sessions: u64,
    /// Off: events are applied alone, as in the middle of a batch.
    pub(crate) ticking: bool,
}

impl House {
    pub(crate) fn new() -> Self {
        Self {
            farm: Farm::new(Config::default(), 1),
            now: Time(1_000_000),
            started: Vec::new(),
            publishing: Vec::new(),
            revoked: Vec::new(),
            refused: Vec::new(),
            hung_up: Vec::new(),
            collected: Vec::new(),
            accepted: Vec::new(),
            store: BTreeMap::new(),
            writes: 0,
            ranks: 1,
            sessions: 0,
            ticking: true,
        }
    }

    /// Applies an event and the tick that ends its batch, as the shell does.
    pub(crate) fn happens(&mut self, event: Event) {
        let events = if self.ticking { vec![event, Event::Tick] } else { vec![event] };
        for event in events {
            let step = self.farm.apply(self.now, event);
            for Write { key, value } in step.writes {
                self.writes += 1;
                match value {
                    Some(value) => self.store.insert(key, value),
                    None => self.store.remove(&key),
                };
            }
            for command in step.commands {
                match command {
                    Command::Start(assignment) => self.started.push(*assignment),
                    Command::Publish { attempt, sidecar, .. } => self.publishing.push((attempt, sidecar)),
                    Command::Revoke { session, attempt, now } => self.revoked.push((session, attempt, now)),
                    Command::Refuse { session, reason } => self.refused.push((session, reason)),
                    Command::HangUp { session } => self.hung_up.push(session),
                    Command::Collect { prefix } => self.collected.push(prefix),
                    Command::Welcome { .. } => {}
                }
            }
            for update in step.updates {
                if let Update::Accepted { request_id, job } = update {
                    self.accepted.push((request_id, job));
                }
            }
        }
    }

    /// The coordinator's process ends and another begins with what was durable. Sessions are gone.
    pub(crate) fn restarts(&mut self) {
        self.farm = Farm::recover(Config::default(), 1, self.now, &self.records()).expect("good records");
        self.started.clear();
        self.publishing.clear();
        self.happens(Event::Tick);
    }

    pub(crate) fn records(&self) -> Vec<(String, Vec<u8>)> {
        self.store.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    pub(crate) fn lock(&mut self, worker: &str, lock: LockKind, on: bool) {
        let worker = WorkerId::new(worker).expect("a name");
        let reason = "as the test says".to_owned();
        self.happens(Event::WorkerSet { worker, lock, on, reason, give_back: false });
    }

    pub(crate) fn lock_giving_back(&mut self, worker: &str, lock: LockKind) {
        let worker = WorkerId::new(worker).expect("a name");
        let reason = "as the test says".to_owned();
        self.happens(Event::WorkerSet { worker, lock, on: true, reason, give_back: true });
    }

    pub(crate) fn why(&self, job: &JobId, layer: u32, task: u32) -> Wait {
        let id = TaskId { job: job.clone(), layer, task };
        self.farm.explain(self.now, &id).expect("a task of the plan")
    }

    /// Lets time pass, with a tick now and then, as the shell does.
    pub(crate) fn wait_ms(&mut self, ms: u64) {
        const STEP_MS: u64 = 1_000;
        let until = self.now.plus_ms(ms);
        while self.now < until {
            self.now = self.now.plus_ms(until.since(self.now).min(STEP_MS));
            self.ticks();
        }
    }

    pub(crate) fn ticks(&mut self) {
        let was = std::mem::replace(&mut self.ticking, false);
        self.happens(Event::Tick);
        self.ticking = was;
    }

    /// Submits a spec under a request of its own and gives the job's name.
    pub(crate) fn submit(&mut self, text: &str) -> JobId {
        self.submit_as(&format!("request-{}", self.accepted.len()), text)
    }

    pub(crate) fn submit_as(&mut self, request_id: &str, text: &str) -> JobId {
        self.submit_traced(request_id, text, "")
    }

    /// The same in a trace.
    pub(crate) fn submit_traced(&mut self, request_id: &str, text: &str, trace: &str) -> JobId {
        let (plan, trace) = (Box::new(plan(text)), trace.to_owned());
        self.happens(Event::JobSubmitted { request_id: request_id.to_owned(), plan, trace });
        self.accepted.last().expect("a submission is answered").1.clone()
    }

    /// A worker with `devices` free devices says hello.
    pub(crate) fn join(&mut self, name: &str, devices: u32) -> SessionId {
        self.rejoin(name, devices, name, Vec::new())
    }

    pub(crate) fn rejoin(
        &mut self,
        name: &str,
        devices: u32,
        incarnation: &str,
        running: Vec<AttemptId>,
    ) -> SessionId {
        self.joins(name, devices, incarnation, running, Vec::new())
    }

    pub(crate) fn join_tagged(&mut self, name: &str, devices: u32, tags: &[&str]) -> SessionId {
        self.joins(name, devices, name, Vec::new(), tags.iter().map(|tag| (*tag).to_owned()).collect())
    }

    fn joins(
        &mut self,
        name: &str,
        devices: u32,
        incarnation: &str,
        running: Vec<AttemptId>,
        tags: Vec<String>,
    ) -> SessionId {
        let devices = (0..devices).map(|index| device_of(index, "cpu", 1 << 30)).collect();
        self.says_hello(name, devices, incarnation, running, tags)
    }

    /// A worker with graphics cards of so many GiB each.
    pub(crate) fn join_cards(&mut self, name: &str, gib: &[u64]) -> SessionId {
        let devices = (0..).zip(gib).map(|(index, gib)| device_of(index, "nvidia", gib << 30)).collect();
        self.says_hello(name, devices, name, Vec::new(), Vec::new())
    }

    /// A worker with devices of these kinds and sizes, GiB.
    pub(crate) fn join_mixed(&mut self, name: &str, devices: &[(&str, u64)]) -> SessionId {
        let device = |(index, (kind, gib)): (u32, &(&str, u64))| device_of(index, kind, gib << 30);
        let devices = (0..).zip(devices).map(device).collect();
        self.says_hello(name, devices, name, Vec::new(), Vec::new())
    }

    fn says_hello(
        &mut self,
        name: &str,
        devices: Vec<DeviceInfo>,
        incarnation: &str,
        running: Vec<AttemptId>,
        tags: Vec<String>,
    ) -> SessionId {
        self.sessions += 1;
        let session = SessionId(self.sessions);
        self.happens(Event::WorkerJoined(Box::new(Joined {
            session,
            worker: WorkerId::new(name).expect("a name"),
            incarnation: incarnation.to_owned(),
            host: "host".to_owned(),
            version: "0".to_owned(),
            tags,
            devices,
            link: None,
            running: running.into_iter().map(|attempt| (attempt, 0)).collect(),
        })));
        session
    }

    /// The assignments since the last call.
    pub(crate) fn take_started(&mut self) -> Vec<Assignment> {
        std::mem::take(&mut self.started)
    }

    pub(crate) fn one_started(&mut self) -> Assignment {
        let mut started = self.take_started();
        assert_eq!(started.len(), 1, "one start");
        started.remove(0)
    }

    pub(crate) fn saves(&mut self, a: &Assignment) {
        let artifacts = if a.rank == 0 { vec![file("0001.png"), file("sidecar.json")] } else { Vec::new() };
        self.happens(Event::AttemptSaved {
            session: a.session,
            attempt: a.attempt.clone(),
            rank: a.rank,
            artifacts,
            times: Times::default(),
            peak_bytes: 0,
        });
    }

    /// A rank is done and says how much memory it held.
    pub(crate) fn saves_having_held(&mut self, a: &Assignment, peak_bytes: u64) {
        let (session, attempt, rank) = (a.session, a.attempt.clone(), a.rank);
        let artifacts = vec![file("0001.png"), file("sidecar.json")];
        let times = Times::default();
        self.happens(Event::AttemptSaved { session, attempt, rank, artifacts, times, peak_bytes });
    }

    pub(crate) fn reports_saved(&mut self, session: SessionId, attempt: &AttemptId) {
        let artifacts = vec![file("0001.png"), file("sidecar.json")];
        let attempt = attempt.clone();
        self.happens(Event::AttemptSaved {
            session,
            attempt,
            rank: 0,
            artifacts,
            times: Times::default(),
            peak_bytes: 0,
        });
    }

    pub(crate) fn publishes(&mut self) {
        for (attempt, sidecar) in std::mem::take(&mut self.publishing) {
            let outcome = Ok(Published { sidecar, files: 1, bytes: 1 });
            self.happens(Event::Published { attempt, outcome });
        }
    }

    pub(crate) fn renders(&mut self, a: &Assignment) {
        self.saves(a);
        self.publishes();
    }

    pub(crate) fn fails(&mut self, a: &Assignment, cause: Cause) {
        let failure = Failure::new(cause, "as the test says", "");
        self.happens(Event::AttemptFailed {
            session: a.session,
            attempt: a.attempt.clone(),
            rank: a.rank,
            failure,
        });
    }

    pub(crate) fn steps(&mut self, a: &Assignment, step: u32) {
        let (session, attempt) = (a.session, a.attempt.clone());
        let event = Event::AttemptProgressed {
            session,
            attempt,
            rank: a.rank,
            stage: Stage::Denoise,
            step,
            steps: 10,
        };
        self.happens(event);
    }

    pub(crate) fn task(&self, job: &JobId, layer: u32, task: u32) -> TaskView {
        self.farm.task(&TaskId { job: job.clone(), layer, task }).expect("a task of the plan")
    }

    pub(crate) fn state(&self, job: &JobId, layer: u32, task: u32) -> TaskState {
        self.task(job, layer, task).state
    }

    pub(crate) fn all(&self, job: &JobId) -> Vec<TaskView> {
        self.farm.tasks(job, &Selector::default(), None, usize::MAX).expect("a known job")
    }

    /// What must hold at any moment.
    pub(crate) fn check(&self) {
        for view in self.farm.jobs() {
            let tasks = self.all(&view.id);
            assert_eq!(view.counts.total() as usize, tasks.len(), "{}: every task is counted once", view.id);
            for (state, counted) in [
                (TaskState::Waiting, view.counts.waiting),
                (TaskState::Queued, view.counts.queued),
                (TaskState::Running, view.counts.running),
                (TaskState::Publishing, view.counts.publishing),
                (TaskState::Succeeded, view.counts.succeeded),
                (TaskState::Failed, view.counts.failed),
                (TaskState::Cancelled, view.counts.cancelled),
                (TaskState::Skipped, view.counts.skipped),
            ] {
                let found = tasks.iter().filter(|task| task.state == state).count() as u64;
                assert_eq!(found, counted, "{}: tasks that are {state:?}", view.id);
            }
            assert_eq!(
                view.settled.is_some(),
                view.counts.unsettled() == 0,
                "{}: settled when all are",
                view.id
            );
            for task in tasks {
                let running = task.attempts.iter().filter(|attempt| attempt.ended.is_none()).count();
                let may_run = matches!(task.state, TaskState::Running | TaskState::Publishing);
                assert_eq!(
                    running,
                    usize::from(may_run),
                    "{:?}: live attempts of a {:?} task",
                    task.id,
                    task.state
                );
            }
        }
        let mut held: Vec<String> = Vec::new();
        for worker in self.farm.workers() {
            held.extend(worker.devices.into_iter().flat_map(|device| device.running));
        }
        if self.ranks == 1 {
            let all = held.len();
            held.sort();
            held.dedup();
            assert_eq!(held.len(), all, "no attempt is on two devices");
        }
    }
}

fn device_of(index: u32, kind: &str, memory_bytes: u64) -> DeviceInfo {
    DeviceInfo {
        index,
        kind: kind.to_owned(),
        model: "test".to_owned(),
        memory_bytes,
        threads: 1,
        resident_models: Vec::new(),
        gflops: 0,
    }
}

pub(crate) fn device(worker: &str, index: u32) -> DeviceId {
    DeviceId { worker: WorkerId::new(worker).expect("a name"), index }
}

pub(crate) fn file(path: &str) -> Artifact {
    Artifact {
        path: path.to_owned(),
        size_bytes: 1,
        digest: "00".to_owned(),
        media_type: "image/png".to_owned(),
    }
}

/// `tasks` tasks in one layer.
pub(crate) fn job_of(tasks: u32) -> String {
    format!(
        "apiVersion: croft/v1\nkind: Job\nname: shots\naxes:\n  seed: {{from: 0, count: {tasks}}}\nlayers:\n  \
         - name: main\n    model: clip\n    prompt: a tote\n    output: \"{{job}}/s{{seed}}\"\n"
    )
}

/// A layer `draft` and a layer `final` after it.
pub(crate) fn two_layers(tasks: u32) -> String {
    format!(
        "apiVersion: croft/v1\nkind: Job\nname: shots\naxes:\n  seed: {{from: 0, count: {tasks}}}\nlayers:\n  \
         - name: draft\n    model: clip\n    prompt: a tote\n    output: \"{{job}}/draft/s{{seed}}\"\n  \
         - name: final\n    after: draft\n    model: clip\n    prompt: a tote\n    output: \"{{job}}/final/s{{seed}}\"\n"
    )
}
