//! The farm's rules a second time, as short as they can be said, kept on what the state store has made durable and in
//! that order. Whatever the coordinators believe, this is what they have committed to.

mod deeds;

use std::collections::{BTreeMap, BTreeSet};

use croft_core::{
    ids::{AttemptId, DeviceId, JobId, TaskId, WorkerId},
    plan::Plan,
    split::Mode,
    step::Assignment,
    view::TaskState,
    worker::LockKind,
};

pub(crate) use deeds::Deed;

use crate::{objects::Saved, world::World};

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    tasks: BTreeMap<TaskId, Entry>,
    /// The highest fence that was given out.
    fence: u64,
    /// Starts that are durable: fence and rank.
    starts: BTreeSet<(u64, u32)>,
    /// Attempts whose publication is decided, by fence.
    decided: BTreeSet<u64>,
    /// What attempts saved, by fence: the truth, whatever becomes of it in the store.
    pub(crate) saved: BTreeMap<u64, Saved>,
    pub(crate) jobs: BTreeMap<JobId, JobEntry>,
    /// Tasks that people retried or skipped.
    pub(crate) touched: BTreeSet<TaskId>,
    pub(crate) locks: BTreeMap<WorkerId, BTreeSet<LockKind>>,
    pub(crate) limits: BTreeMap<String, u32>,
    pub(crate) quotas: BTreeMap<String, Option<u32>>,
}

#[derive(Debug, Default)]
pub(crate) struct JobEntry {
    pub(crate) is_cancelled: bool,
    pub(crate) was_cancelled: bool,
    pub(crate) is_paused: bool,
    pub(crate) request: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) number: u32,
    fence: u64,
    pub(crate) at: At,
    /// Its publication failed: it may be tried again, or given up.
    failed: bool,
    /// When its attempt ended, if it did.
    pub(crate) ended: Option<u64>,
    /// Where its ranks have started.
    devices: Vec<DeviceId>,
}

/// Where a task is, as far as the rules need it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    #[default]
    Idle,
    Running,
    /// Its publication is decided.
    Decided,
    /// Published: nothing may ever happen to it again.
    Done,
}

impl Ledger {
    pub(crate) fn entry(&self, task: &TaskId) -> Option<&Entry> {
        self.tasks.get(task)
    }

    pub(crate) fn done(&self) -> impl Iterator<Item = (&TaskId, &Entry)> {
        self.tasks.iter().filter(|(_, entry)| entry.at == At::Done)
    }

    /// Tasks that hold devices.
    pub(crate) fn running(&self) -> impl Iterator<Item = (&TaskId, &[DeviceId])> {
        let running = self.tasks.iter().filter(|(_, entry)| entry.at == At::Running);
        running.map(|(task, entry)| (task, &entry.devices[..]))
    }
}

impl World {
    /// A batch has become durable.
    pub(crate) fn record(&mut self, deeds: &[Deed]) {
        for deed in deeds {
            if let Err(what) = self.enter(deed) {
                return self.accuse(what);
            }
        }
        // What ended and started anew in one batch was not over in between, as far as the store knows.
        for deed in deeds {
            if let Deed::Start(attempt, rank, ranks, _) = deed
                && rank + 1 == *ranks
                && let Err(what) = self.check_whole_start(attempt, *ranks)
            {
                return self.accuse(what);
            }
        }
    }

    fn enter(&mut self, deed: &Deed) -> Result<(), String> {
        match deed {
            Deed::Accepted { request_id, job } => self.enter_job(request_id, job)?,
            Deed::Cancelled(job) => {
                if let Some(job) = self.ledger.jobs.get_mut(job) {
                    (job.is_cancelled, job.was_cancelled) = (true, true);
                }
            }
            Deed::Retried(job, tasks) => {
                if let Some(job) = self.ledger.jobs.get_mut(job) {
                    job.is_cancelled = false;
                }
                self.ledger.touched.extend(tasks.iter().cloned());
            }
            Deed::Skipped(_, tasks) => self.ledger.touched.extend(tasks.iter().cloned()),
            Deed::Paused(job, paused) => {
                if let Some(job) = self.ledger.jobs.get_mut(job) {
                    job.is_paused = *paused;
                }
            }
            Deed::Locked(worker, lock, true) => {
                self.ledger.locks.entry(worker.clone()).or_default().insert(*lock);
            }
            Deed::Locked(worker, lock, false) => {
                self.ledger.locks.entry(worker.clone()).or_default().remove(lock);
            }
            Deed::Limit(limit, Some(max)) => drop(self.ledger.limits.insert(limit.clone(), *max)),
            Deed::Limit(limit, None) => drop(self.ledger.limits.remove(limit)),
            Deed::Quota(show, max) => drop(self.ledger.quotas.insert(show.clone(), *max)),
            Deed::State(task, state) => self.enter_state(task, *state)?,
            Deed::Start(attempt, rank, ranks, device) => self.enter_start(attempt, *rank, *ranks, device)?,
            Deed::Publish(attempt) => self.enter_publish(attempt)?,
            Deed::PublicationFailed(attempt) => {
                if let Some(entry) = self.ledger.tasks.get_mut(&attempt.task)
                    && entry.fence == attempt.fence.0
                    && entry.at == At::Decided
                {
                    entry.failed = true;
                }
            }
        }
        Ok(())
    }

    fn enter_job(&mut self, request_id: &str, job: &JobId) -> Result<(), String> {
        let request = request_id.strip_prefix("request-").and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
        let known =
            self.ledger.jobs.entry(job.clone()).or_insert(JobEntry { request, ..JobEntry::default() });
        if known.request == request {
            Ok(())
        } else {
            Err(format!("{job} is the job of two requests: {} and {request}", known.request))
        }
    }

    fn enter_state(&mut self, task: &TaskId, state: TaskState) -> Result<(), String> {
        let Some(entry) = self.ledger.tasks.get_mut(task) else { return Ok(()) };
        if state != TaskState::Running {
            entry.ended.get_or_insert(self.now);
        }
        match (entry.at, state) {
            (At::Done, TaskState::Succeeded) => {}
            (At::Done, _) => return Err(format!("{task:?} was published, and now it is {state:?}")),
            (At::Decided, TaskState::Succeeded) => entry.at = At::Done,
            // A model that makes nothing needs no publication.
            (At::Running, TaskState::Succeeded) => entry.at = At::Done,
            (At::Running, TaskState::Running | TaskState::Publishing) => {}
            (At::Running, _) => entry.at = At::Idle,
            (At::Idle, TaskState::Succeeded) => {
                return Err(format!("{task:?} succeeded without a decided publication"));
            }
            (At::Decided, TaskState::Publishing) | (At::Idle, _) => {}
            (At::Decided, _) if entry.failed => entry.at = At::Idle,
            (At::Decided, _) => {
                return Err(format!(
                    "{task:?} is {state:?} while its publication is decided and did not fail"
                ));
            }
        }
        Ok(())
    }

    fn enter_start(
        &mut self,
        attempt: &AttemptId,
        rank: u32,
        ranks: u32,
        device: &DeviceId,
    ) -> Result<(), String> {
        let (fence, worker) = (attempt.fence.0, &device.worker);
        let entry = self.ledger.tasks.entry(attempt.task.clone()).or_default();
        if rank > 0 {
            if entry.fence != fence || entry.devices.len() as u32 != rank || rank >= ranks {
                return Err(format!("rank {rank} of {ranks} of {attempt:?} starts out of turn"));
            }
            entry.devices.push(device.clone());
        } else {
            if fence <= self.ledger.fence {
                return Err(format!("{attempt:?}: fence {} was given out already", self.ledger.fence));
            }
            if matches!(entry.at, At::Decided | At::Done) {
                return Err(format!("{attempt:?} starts while its task is {:?}", entry.at));
            }
            if attempt.number != entry.number + 1 {
                return Err(format!("{attempt:?} follows attempt {}", entry.number));
            }
            self.ledger.fence = fence;
            *entry = Entry {
                number: attempt.number,
                fence,
                at: At::Running,
                failed: false,
                ended: None,
                devices: vec![device.clone()],
            };
        }
        self.ledger.starts.insert((fence, rank));
        if self.ledger.locks.get(worker).is_some_and(|locks| !locks.is_empty()) {
            return Err(format!("{attempt:?} starts on {worker}, which is locked"));
        }
        match self.ledger.jobs.get(&attempt.task.job) {
            None => Err(format!("{attempt:?} starts, and its job is not durable")),
            Some(job) if job.is_paused => Err(format!("{attempt:?} starts, and its job is paused")),
            Some(job) if job.is_cancelled => Err(format!("{attempt:?} starts, and its job is cancelled")),
            Some(_) => Ok(()),
        }
    }

    /// A whole attempt has started: its devices are such as its layer asks for, and nobody holds more than he may.
    fn check_whole_start(&self, attempt: &AttemptId, ranks: u32) -> Result<(), String> {
        let Some(plan) = self.plan_of(&attempt.task.job) else { return Ok(()) };
        let needs = plan.resources(attempt.task.layer);
        let devices = &self.ledger.tasks[&attempt.task].devices;
        let workers: Vec<&WorkerId> = devices.iter().map(|device| &device.worker).collect();
        let wanted = needs.seating().map_or(1, |seating| seating.ranks);
        if ranks != wanted {
            return Err(format!("{attempt:?} has {ranks} ranks, and its layer asks for {wanted}"));
        }
        if needs.same_worker && workers.iter().any(|worker| *worker != workers[0]) {
            return Err(format!("{attempt:?} is spread over {workers:?}"));
        }
        let has_tags = |name: &WorkerId| {
            let worker = self.workers.iter().find(|worker| worker.name == *name);
            worker.is_some_and(|worker| needs.tags.iter().all(|tag| worker.tags.contains(tag)))
        };
        if !workers.iter().all(|worker| has_tags(worker)) {
            return Err(format!("{attempt:?} is on {workers:?}, and needs the tags {:?}", needs.tags));
        }
        for limit in &needs.limits {
            let holds = |task: &TaskId| {
                let plan = self.plan_of(&task.job);
                plan.is_some_and(|plan| plan.resources(task.layer).limits.contains(limit))
            };
            let used = self.ledger.running().filter(|(task, _)| holds(task)).count() as u32;
            let max = self.ledger.limits.get(limit).copied();
            if max.is_none_or(|max| used > max) {
                return Err(format!(
                    "{attempt:?} starts, and {used} hold {limit}, of which there are {max:?}"
                ));
            }
        }
        if let Some(Some(max)) = self.ledger.quotas.get(plan.show()) {
            let (show, used) = (plan.show(), self.devices_of(plan.show()));
            // One that joins others in flight takes no more.
            let joins = self.ledger.running().any(|(task, on)| {
                let is_other = *task != attempt.task && task.job == attempt.task.job;
                is_other && task.layer == attempt.task.layer && on == devices
            });
            if used > *max && !(joins && needs.mode == Some(Mode::Layers)) {
                return Err(format!("{attempt:?} starts, and {show} holds {used} devices of {max}"));
            }
        }
        Ok(())
    }

    /// Devices that the tasks of a show hold: shots in flight hold theirs together.
    pub(crate) fn devices_of(&self, show: &str) -> u32 {
        let mut lanes = BTreeSet::new();
        let mut devices = 0;
        for (task, on) in self.ledger.running() {
            let Some(plan) = self.plan_of(&task.job).filter(|plan| plan.show() == show) else { continue };
            let is_shared = plan.resources(task.layer).mode == Some(Mode::Layers) && on.len() > 1;
            if !is_shared || lanes.insert((&task.job, task.layer, on)) {
                devices += on.len() as u32;
            }
        }
        devices
    }

    pub(crate) fn plan_of(&self, job: &JobId) -> Option<&Plan> {
        let request = self.ledger.jobs.get(job)?.request;
        self.catalogue.plans.get(self.people.requests.get(request)?.plan)
    }

    fn enter_publish(&mut self, attempt: &AttemptId) -> Result<(), String> {
        let entry = self.ledger.tasks.get_mut(&attempt.task);
        let fence = attempt.fence.0;
        match entry {
            Some(entry) if entry.fence == fence && matches!(entry.at, At::Running | At::Decided) => {
                (entry.at, entry.failed) = (At::Decided, false);
            }
            other => return Err(format!("{attempt:?} is to be published, and its task is at {other:?}")),
        }
        self.ledger.decided.insert(fence);
        if self.ledger.saved.contains_key(&fence) {
            Ok(())
        } else {
            Err(format!("{attempt:?} is to be published, and it saved nothing"))
        }
    }

    /// A start leaves for its worker: it must be durable.
    pub(crate) fn check_start(&mut self, assignment: &Assignment) {
        if !self.ledger.starts.contains(&(assignment.attempt.fence.0, assignment.rank)) {
            self.accuse(format!("{:?} leaves for its worker before it is durable", assignment.attempt));
        }
    }

    /// A file gets its final name: its attempt must be one that was decided on, and the bytes those that it saved.
    pub(crate) fn check_decided(&mut self, attempt: &AttemptId, files: &Saved) {
        let fence = attempt.fence.0;
        if !self.ledger.decided.contains(&fence) {
            self.accuse(format!("a file of {attempt:?} is published, which nobody decided"));
        } else if self.ledger.saved.get(&fence) != Some(files) {
            self.accuse(format!("{attempt:?} is published with other bytes than were decided on"));
        }
    }

    /// An attempt's files are removed: nobody may still need them.
    pub(crate) fn check_collected(&mut self, prefix: &str) {
        let Some(fence) = self.objects.attempts.get(prefix).map(|saved| saved.fence) else { return };
        let needed = |entry: &Entry| entry.fence == fence && entry.at == At::Decided;
        if self.ledger.tasks.values().any(needed) {
            self.accuse(format!("what lies under {prefix} is removed before it is published"));
        }
    }
}
