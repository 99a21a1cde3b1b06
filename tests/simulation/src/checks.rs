//! Looks at whole farms: their books balance, they agree with the ledger, and the store tells the same story again.

mod end;
mod machines;
mod recovered;

use std::collections::BTreeMap;

use croft_core::{
    farm::Farm,
    view::{Counts, JobView, Selector, TaskState, TaskView},
};

use crate::world::World;

/// Every so many looks the farm is put together a second time from what is stored, which costs.
const RECOVER_EVERY: u64 = 4;

impl World {
    /// A look at a leader's farm just after a batch was performed.
    pub(crate) fn look(&mut self, node: usize) {
        self.tally.looks += 1;
        let Some(leading) = self.nodes[node].leading.as_ref() else { return };
        if let Err(what) = books_balance(&leading.farm) {
            return self.accuse(what);
        }
        if leading.epoch != self.store.epoch {
            // Deposed, and does not know: what it believes does not matter any more.
            return;
        }
        let agrees = self.agrees_with_ledger(&leading.farm);
        if let Err(what) = agrees.and_then(|()| self.knows_its_workers(node)) {
            return self.accuse(what);
        }
        if self.tally.looks.is_multiple_of(RECOVER_EVERY) && leading.waiting.is_none() {
            self.compare_with_store(node);
        }
    }

    pub(crate) fn compare_with_ledger(&mut self, node: usize) {
        let Some(leading) = self.nodes[node].leading.as_ref() else { return };
        if let Err(what) = books_balance(&leading.farm).and_then(|()| self.agrees_with_ledger(&leading.farm))
        {
            self.accuse(format!("after a recovery: {what}"));
        }
    }

    /// What is durable is known, and nothing durable is undone.
    fn agrees_with_ledger(&self, farm: &Farm) -> Result<(), String> {
        for (job, entry) in &self.ledger.jobs {
            let Some(view) = farm.job(job) else { return Err(format!("{job} is lost")) };
            if view.paused != entry.is_paused && view.settled.is_none() {
                return Err(format!("{job} paused: {}, and it was to be {}", view.paused, entry.is_paused));
            }
        }
        for (task, entry) in self.ledger.done() {
            let state = farm.task(task).map(|task| task.state);
            if state != Some(TaskState::Succeeded) {
                return Err(format!("{task:?} was published (attempt {}), and is {state:?}", entry.number));
            }
        }
        for (task, _) in self.ledger.running() {
            let Some(view) = farm.task(task) else { return Err(format!("{task:?} is lost")) };
            let live = view.attempts.iter().find(|attempt| attempt.ended.is_none());
            let number = self.ledger.entry(task).map(|entry| entry.number);
            if live.map(|live| live.number) != number {
                return Err(format!("{task:?} runs attempt {number:?}, and the farm has {live:?}"));
            }
        }
        for worker in farm.workers() {
            let locks = self.ledger.locks.get(&worker.id);
            if !worker.locks.keys().eq(locks.into_iter().flatten()) {
                return Err(format!("{} has the locks {:?}, not {locks:?}", worker.id, worker.locks));
            }
        }
        for limit in farm.limits() {
            if self.ledger.limits.get(&limit.name).copied() != limit.max {
                return Err(format!("limit {} is {:?}", limit.name, limit.max));
            }
        }
        for show in farm.shows() {
            let set = self.ledger.quotas.get(&show.name).copied().flatten();
            if show.settings.max_devices != set {
                return Err(format!("show {} has {:?}, not {set:?}", show.name, show.settings));
            }
            let devices = self.devices_of(&show.name);
            if devices != show.devices {
                return Err(format!("show {} holds {} devices, not {devices}", show.name, show.devices));
            }
        }
        Ok(())
    }

    /// Time is up: what has not settled, and why it says that it waits.
    pub(crate) fn not_settled(&mut self) {
        let mut what = String::from("an hour of calm has not settled everything");
        match self.true_leader().and_then(|node| self.nodes[node].leading.as_ref()) {
            None => what += ": nobody leads",
            Some(leading) => {
                let now = self.nodes[self.true_leader().unwrap_or_default()].clock.at(self.now);
                for job in leading.farm.jobs().iter().filter(|job| job.settled.is_none()) {
                    let open = leading.farm.tasks(&job.id, &crate::people::unsettled(), None, 3);
                    for task in open.unwrap_or_default() {
                        let why = leading.farm.explain(now, &task.id).map(|wait| (wait.reason, wait.words));
                        what += &format!("\n  {:?} is {:?}: {why:?}", task.id, task.state);
                    }
                }
                for worker in leading.farm.workers() {
                    for running in worker.devices.into_iter().flat_map(|device| device.running) {
                        what += &format!("\n  the farm believes that {} runs {running}", worker.id);
                    }
                }
                what += &format!("\n  inbox {}, commit {:?}", leading.inbox.len(), leading.waiting.is_some());
            }
        }
        let busy = self.workers.iter().filter(|worker| !worker.hands().is_empty());
        for worker in busy {
            what += &format!("\n  {} still has {:?}", worker.name, worker.hands());
        }
        let unanswered = self.people.requests.iter().filter(|request| request.job.is_none()).count();
        what += &format!("\n  {} publications, {unanswered} requests unanswered", self.publications.len());
        self.accuse(what);
    }
}

/// Everything is counted once and is in one place.
fn books_balance(farm: &Farm) -> Result<(), String> {
    let mut ranks: BTreeMap<String, u32> = BTreeMap::new();
    for job in farm.jobs() {
        let tasks = farm.tasks(&job.id, &Selector::default(), None, usize::MAX).unwrap_or_default();
        counts_are_right(&job, &tasks)?;
        for task in &tasks {
            let live: Vec<_> = task.attempts.iter().filter(|attempt| attempt.ended.is_none()).collect();
            let may = matches!(task.state, TaskState::Running | TaskState::Publishing);
            if live.len() != usize::from(may) {
                return Err(format!("{:?} is {:?} with {} live attempts", task.id, task.state, live.len()));
            }
            if let Some(live) = live.first().filter(|_| task.state == TaskState::Running) {
                let name = format!("{}/{}/{:04}#{}", job.id, task.layer, task.id.task + 1, live.number);
                ranks.insert(name, live.ranks);
            }
        }
    }
    let mut held: BTreeMap<String, u32> = BTreeMap::new();
    for worker in farm.workers() {
        for running in worker.devices.into_iter().flat_map(|device| device.running) {
            *held.entry(running).or_default() += 1;
        }
    }
    for (attempt, devices) in held {
        // One that is not live any more is being stopped.
        let allowed = ranks.get(&attempt).copied().unwrap_or(crate::catalogue::RANKS_MAX);
        if devices > allowed {
            return Err(format!("{attempt} is on {devices} devices and has {allowed} ranks"));
        }
    }
    Ok(())
}

fn counts_are_right(job: &JobView, tasks: &[TaskView]) -> Result<(), String> {
    let mut counted = Counts { retried: job.counts.retried.clone(), ..Counts::default() };
    for task in tasks {
        let count = match task.state {
            TaskState::Waiting => &mut counted.waiting,
            TaskState::Queued => &mut counted.queued,
            TaskState::Running => &mut counted.running,
            TaskState::Publishing => &mut counted.publishing,
            TaskState::Succeeded => &mut counted.succeeded,
            TaskState::Failed => &mut counted.failed,
            TaskState::Cancelled => &mut counted.cancelled,
            TaskState::Skipped => &mut counted.skipped,
        };
        *count += 1;
    }
    if counted != job.counts {
        return Err(format!("{} says {:?}, and its tasks are {counted:?}", job.id, job.counts));
    }
    if job.settled.is_some() != (counted.unsettled() == 0) {
        return Err(format!("{} settled: {:?}, with {} open", job.id, job.settled, counted.unsettled()));
    }
    Ok(())
}
