//! What people do: submit, resend, cancel, retry, skip, pause, lock, set shares and limits; and, in the calm, take back
//! whatever would keep the farm from finishing.

use croft_core::{
    ids::{JobId, TaskId, WorkerId},
    show::ShowSettings,
    step::Event,
    view::{JobView, Selector, TaskState},
    worker::LockKind,
};

use crate::{agenda::Occurrence, world::World};

/// No answer by then: the request is sent again.
const PATIENCE_MS: u64 = 3_000;
/// In the calm somebody looks after the farm this often.
const ROUND_MS: u64 = 5_000;
const LIMITS: [&str; 2] = ["licence", "disk"];
const SHOWS: [&str; 3] = ["alpha", "beta", "gamma"];
const LOCKS: [LockKind; 3] = [LockKind::Locked, LockKind::Nimby, LockKind::Draining];

/// One wish, on its way to a coordinator.
#[derive(Debug)]
pub(crate) enum Ask {
    Submit { request: usize },
    Wish(Box<Event>),
}

#[derive(Debug, Default)]
pub(crate) struct People {
    pub(crate) requests: Vec<Request>,
    /// Publications so far; each has a number.
    pub(crate) publications: u64,
}

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) plan: usize,
    /// The answer, once it came.
    pub(crate) job: Option<JobId>,
}

pub(crate) fn request_id(request: usize) -> String {
    format!("request-{request}")
}

impl World {
    pub(crate) fn person_acts(&mut self) {
        if self.is_calm {
            self.look_after();
            self.agenda.note(self.now + ROUND_MS, Occurrence::PersonActs);
            return;
        }
        let (low, high) = self.weather.people_ms;
        let next = self.now + self.chance.between(low, high);
        self.agenda.note(next, Occurrence::PersonActs);
        // Limits and shares first, so that there is something to keep.
        if self.people.requests.len() < self.weather.jobs && self.chance.per_mille(500) {
            return self.submit();
        }
        if let Some(wish) = self.a_wish()
            && let Some(node) = self.some_leader()
        {
            let way = self.chance.between(1, 30);
            self.agenda.note(self.now + way, Occurrence::Asked { node, ask: Ask::Wish(Box::new(wish)) });
        }
    }

    fn submit(&mut self) {
        let plan = self.chance.below(self.catalogue.plans.len());
        self.people.requests.push(Request { plan, job: None });
        if !self.everything_fits() {
            self.people.requests.pop();
            return;
        }
        let request = self.people.requests.len() - 1;
        self.resend(request);
        // A client's network stack may say a thing twice.
        if self.chance.per_mille(100) {
            self.resend(request);
        }
    }

    /// Whether the farm without those that are gone for good could run everything that was submitted.
    pub(crate) fn everything_fits(&self) -> bool {
        let there: Vec<_> = self.workers.iter().filter(|worker| !worker.gone_for_good).collect();
        self.people.requests.iter().all(|request| {
            let plan = &self.catalogue.plans[request.plan];
            (0..plan.layers().len()).all(|layer| {
                let needs = plan.resources(layer as u32);
                let fit =
                    there.iter().filter(|worker| needs.tags.iter().all(|tag| worker.tags.contains(tag)));
                let devices = fit.map(|worker| worker.devices.len());
                let ranks = needs.seating().map_or(1, |seating| seating.ranks) as usize;
                if needs.same_worker { devices.max() >= Some(ranks) } else { devices.sum::<usize>() >= ranks }
            })
        })
    }

    pub(crate) fn resend(&mut self, request: usize) {
        if self.people.requests[request].job.is_some() {
            return;
        }
        let wait = PATIENCE_MS + self.chance.between(0, 500);
        self.agenda.note(self.now + wait, Occurrence::Resend { request });
        if let Some(node) = self.some_leader() {
            let way = self.chance.between(1, 30);
            self.agenda.note(self.now + way, Occurrence::Asked { node, ask: Ask::Submit { request } });
        }
    }

    /// A coordinator that believes that it leads.
    fn some_leader(&mut self) -> Option<usize> {
        let leaders: Vec<usize> =
            (0..self.nodes.len()).filter(|node| self.nodes[*node].leading.is_some()).collect();
        self.chance.pick(&leaders).copied()
    }

    pub(crate) fn asked(&mut self, node: usize, ask: Ask) {
        let event = match ask {
            Ask::Submit { request } => Event::JobSubmitted {
                request_id: request_id(request),
                plan: Box::new(self.catalogue.plans[self.people.requests[request].plan].clone()),
                trace: String::new(),
            },
            Ask::Wish(event) => *event,
        };
        self.diary.say(self.now, || format!("somebody asks coordinator {node}: {}", words(&event)));
        self.tell(node, event);
    }

    /// A submission is answered: from now on its job may not be lost.
    pub(crate) fn accepted(&mut self, request_id: &str, job: JobId) {
        let index = request_id.strip_prefix("request-").and_then(|n| n.parse::<usize>().ok());
        let Some(request) = index.and_then(|index| self.people.requests.get_mut(index)) else {
            return self.accuse(format!("nobody made {request_id}"));
        };
        match &request.job {
            None => request.job = Some(job),
            Some(known) if *known == job => {}
            Some(known) => {
                let what = format!("{request_id} made {known} and {job}");
                self.accuse(what);
            }
        }
    }

    fn a_job(&mut self) -> Option<JobId> {
        let jobs: Vec<JobId> =
            self.people.requests.iter().filter_map(|request| request.job.clone()).collect();
        self.chance.pick(&jobs).cloned()
    }

    /// Some tasks of a job; half of the time those that ended badly.
    fn some_tasks(&mut self, job: &JobId) -> Vec<TaskId> {
        if self.chance.per_mille(500)
            && let Some(node) = self.some_leader()
            && let Some(leading) = self.nodes[node].leading.as_ref()
        {
            let states = vec![TaskState::Failed, TaskState::Cancelled];
            let ended = Selector { states, ..Selector::default() };
            let mut ended = leading.farm.task_ids(job, &ended).unwrap_or_default();
            ended.truncate(1 + self.chance.below(4));
            return ended;
        }
        let Some(request) = self.people.requests.iter().find(|request| request.job.as_ref() == Some(job))
        else {
            return Vec::new();
        };
        let layers: Vec<u32> =
            self.catalogue.plans[request.plan].layers().iter().map(|layer| layer.tasks).collect();
        let few = self.chance.between(0, 900);
        let mut some = Vec::new();
        for (layer, tasks) in layers.into_iter().enumerate() {
            for task in 0..tasks {
                if self.chance.per_mille(few) {
                    some.push(TaskId { job: job.clone(), layer: layer as u32, task });
                }
            }
        }
        some
    }

    fn a_wish(&mut self) -> Option<Event> {
        let kind = self.chance.below(18);
        let on = self.chance.per_mille(500);
        Some(match kind {
            0 => Event::JobCancelled { job: self.a_job()?, now: on },
            1..=3 => {
                let job = self.a_job()?;
                Event::TasksRetried { tasks: self.some_tasks(&job), job }
            }
            4 | 16 | 17 => {
                let job = self.a_job()?;
                let tasks = self.some_tasks(&job);
                Event::TasksSkipped { job, tasks: tasks.into_iter().take(2).collect() }
            }
            5 => Event::JobPaused { job: self.a_job()?, paused: on },
            6 => Event::JobUpdated { job: self.a_job()?, priority: self.chance.below(101) as u32 },
            7..=9 => {
                let worker = self.chance.below(self.workers.len());
                Event::WorkerSet {
                    worker: self.workers[worker].name.clone(),
                    lock: *self.chance.pick(&LOCKS)?,
                    on,
                    reason: "simulated".to_owned(),
                    give_back: self.chance.per_mille(500),
                }
            }
            10..=12 => Event::ShowSet {
                show: (*self.chance.pick(&SHOWS)?).to_owned(),
                settings: ShowSettings {
                    weight: self.chance.between(1, 300) as u32,
                    max_devices: on.then(|| self.chance.between(1, 5) as u32),
                },
            },
            _ => Event::LimitSet {
                limit: (*self.chance.pick(&LIMITS)?).to_owned(),
                max: (kind != 13).then(|| self.chance.between(0, 4) as u32),
            },
        })
    }

    /// One round in the calm: what people set in the trouble is taken back, until the leader has it all.
    fn look_after(&mut self) {
        let Some(node) = self.true_leader() else { return };
        let Some(leading) = self.nodes[node].leading.as_ref() else { return };
        let farm = &leading.farm;
        let mut wishes: Vec<Event> = Vec::new();
        for worker in farm.workers() {
            for lock in worker.locks.into_keys() {
                wishes.push(unlocked(&worker.id, lock));
            }
        }
        let jobs: Vec<JobView> = farm.jobs();
        for job in jobs.iter().filter(|job| job.paused && job.settled.is_none()) {
            wishes.push(Event::JobPaused { job: job.id.clone(), paused: false });
        }
        for show in farm.shows().into_iter().filter(|show| show.settings.max_devices.is_some()) {
            wishes.push(Event::ShowSet { show: show.name, settings: ShowSettings::default() });
        }
        let limits = farm.limits();
        for limit in LIMITS {
            if !limits.iter().any(|known| known.name == limit && known.max >= Some(1)) {
                wishes.push(Event::LimitSet { limit: limit.to_owned(), max: Some(2) });
            }
        }
        let settled = jobs.iter().all(|job| job.settled.is_some());
        let quiet = leading.inbox.is_empty() && leading.waiting.is_none();
        let answered = self.people.requests.iter().all(|request| request.job.is_some());
        let believes = farm.workers().iter().any(|worker| {
            let here = self.workers.iter().any(|known| known.name == worker.id && known.up);
            here && worker.devices.iter().any(|device| !device.running.is_empty())
        });
        let untouched = wishes.is_empty() && settled && quiet && answered && !believes;
        wishes.into_iter().for_each(|wish| self.tell(node, wish));
        if untouched && self.publications.is_empty() && self.is_idle() {
            self.has_settled(node);
        }
    }

    /// The one whose commits count.
    pub(crate) fn true_leader(&self) -> Option<usize> {
        let leads = |node: &usize| {
            let leading = self.nodes[*node].leading.as_ref();
            leading.is_some_and(|leading| leading.epoch == self.store.epoch)
        };
        (0..self.nodes.len()).find(leads)
    }

    fn is_idle(&self) -> bool {
        self.workers.iter().all(|worker| worker.hands().is_empty())
    }
}

fn unlocked(worker: &WorkerId, lock: LockKind) -> Event {
    Event::WorkerSet { worker: worker.clone(), lock, on: false, reason: String::new(), give_back: false }
}

fn words(event: &Event) -> String {
    match event {
        Event::JobSubmitted { request_id, plan, .. } => {
            format!("{request_id}: submit a job of show {}", plan.show())
        }
        other => format!("{other:?}"),
    }
}

/// All tasks that are in none of the settled states.
pub(crate) fn unsettled() -> Selector {
    let states = vec![TaskState::Waiting, TaskState::Queued, TaskState::Running, TaskState::Publishing];
    Selector { states, ..Selector::default() }
}
