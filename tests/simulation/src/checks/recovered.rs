//! What is stored tells the same farm as the leader's memory: everything that a new leader would have to know.

use croft_core::{
    farm::Farm,
    time::Time,
    view::{AttemptView, JobView, Selector, TaskView},
};

use crate::{node::config, world::World};

impl World {
    /// Puts the farm together a second time from the records and compares.
    pub(crate) fn compare_with_store(&mut self, node: usize) {
        let Some(leading) = self.nodes[node].leading.as_ref() else { return };
        let now = self.nodes[node].clock.at(self.now);
        let again = match Farm::recover(config(), 1, now, &self.store.records()) {
            Ok(again) => again,
            Err(error) => return self.accuse(format!("the store cannot be read again: {error}")),
        };
        if let Err(what) = same(&leading.farm, &again) {
            self.accuse(format!("the store tells another story: {what}"));
        }
    }
}

fn same(farm: &Farm, again: &Farm) -> Result<(), String> {
    let (ours, theirs) = (farm.jobs(), again.jobs());
    if ours.len() != theirs.len() {
        return Err(format!("{} jobs, not {}", theirs.len(), ours.len()));
    }
    for (ours, theirs) in ours.iter().zip(&theirs) {
        if known(ours) != known(theirs) {
            return Err(format!("{:?}, not {:?}", known(theirs), known(ours)));
        }
        let tasks = |farm: &Farm| farm.tasks(&ours.id, &Selector::default(), None, usize::MAX);
        for (ours, theirs) in tasks(farm).iter().flatten().zip(tasks(again).iter().flatten()) {
            if told(ours) != told(theirs) {
                return Err(format!("{:?}, not {:?}", told(theirs), told(ours)));
            }
        }
    }
    let locks = |farm: &Farm| -> Vec<_> {
        farm.workers().into_iter().map(|worker| (worker.id, worker.locks, worker.tags)).collect()
    };
    if locks(farm) != locks(again) {
        return Err(format!("workers {:?}, not {:?}", locks(again), locks(farm)));
    }
    let used = |farm: &Farm| (farm.usage_by_show(Time(0)), farm.usage_by_job(Time(0)));
    if used(farm) != used(again) {
        return Err(format!("usage {:?}, not {:?}", used(again), used(farm)));
    }
    if farm.limits() != again.limits() {
        return Err(format!("limits {:?}, not {:?}", again.limits(), farm.limits()));
    }
    Ok(())
}

/// All that a later leader must know of a job. What was only measured may be lost.
fn known(job: &JobView) -> impl PartialEq + std::fmt::Debug + '_ {
    let counts = (
        (job.counts.waiting, job.counts.queued, job.counts.running, job.counts.publishing),
        (job.counts.succeeded, job.counts.failed, job.counts.cancelled, job.counts.skipped),
    );
    (&job.id, &job.show, job.state, job.priority, job.paused, job.created, job.settled.is_some(), counts)
}

/// The same of a task.
fn told(task: &TaskView) -> impl PartialEq + std::fmt::Debug + '_ {
    let attempt = |attempt: &AttemptView| {
        let cause = attempt.failure.as_ref().map(|failure| failure.cause);
        (attempt.number, attempt.device.clone(), attempt.ranks, attempt.started, attempt.ended, cause)
    };
    let attempts: Vec<_> = task.attempts.iter().map(attempt).collect();
    (&task.id, task.state, &task.failure, &task.published, attempts)
}
