//! Counting what was used, and the answers to who used it.

use crate::{
    failure::Failure,
    ids::{AttemptId, JobId, TaskId},
    job::Job,
    step::{Ending, Update},
    task::{Ended, Live, Task},
    time::Time,
    usage::{Days, Usage},
    view::Traced,
};

use super::Farm;

/// A job of more tasks than this has a trace for each attempt rather than one for all: nobody reads one of thousands.
const ONE_TRACE_TASKS: u64 = 64;

impl Farm {
    /// An attempt is over: it is counted, and told to those who keep an eye on the farm.
    pub(super) fn count(&mut self, now: Time, attempt: &AttemptId, live: &Live, failure: Option<&Failure>) {
        let Some(job) = self.jobs.get_mut(&attempt.task.job) else { return };
        let layer = &job.layers[attempt.task.layer as usize];
        let Some(task) = layer.tasks.get(&attempt.task.task) else { return };
        let (Some(ended), bytes) = (task.ended.last(), published_bytes(task)) else { return };
        let usage = Usage::of(ended, bytes);
        job.used.add(now, usage);
        let again = failure.is_some() && !task.state.settled();
        self.out.updates.push(Update::Ended(Box::new(Ending {
            attempt: attempt.clone(),
            show: job.plan.show().to_owned(),
            devices: live.seats.iter().map(|seat| seat.device.clone()).collect(),
            submitted: job.created,
            started: live.started,
            ended: now,
            failure: failure.cloned(),
            again,
            usage,
            times: live.times,
        })));
    }

    /// A job is forgotten: what it used stays with its show.
    pub(super) fn keep_usage(&mut self, job: &Job) {
        if job.used.is_empty() {
            return;
        }
        let show = job.plan.show().to_owned();
        self.shows.entry(show.clone()).or_default().forgotten.add_all(&job.used);
        self.out.shows.insert(show);
    }

    /// By show, of the day of `since` and later; forgotten jobs count as well.
    #[must_use]
    pub fn usage_by_show(&self, since: Time) -> Vec<(String, Usage)> {
        let mut shows: std::collections::BTreeMap<&str, Usage> =
            self.shows.iter().map(|(name, show)| (name.as_str(), show.forgotten.sum(since))).collect();
        for job in self.jobs.values() {
            *shows.entry(job.plan.show()).or_default() += job.used.sum(since);
        }
        shows.into_iter().map(|(name, usage)| (name.to_owned(), usage)).collect()
    }

    /// By job, with its show, oldest first.
    #[must_use]
    pub fn usage_by_job(&self, since: Time) -> Vec<(JobId, String, Usage)> {
        let mut jobs: Vec<(&JobId, &Job)> = self.jobs.iter().collect();
        jobs.sort_by_key(|(_, job)| job.number);
        let of = |(id, job): (&JobId, &Job)| (id.clone(), job.plan.show().to_owned(), job.used.sum(since));
        jobs.into_iter().map(of).collect()
    }

    /// By task of a job, those behind `after` that have a history, up to `limit`.
    #[must_use]
    pub fn usage_by_task(
        &self,
        id: &JobId,
        since: Time,
        after: Option<&TaskId>,
        limit: usize,
    ) -> Option<Vec<(TaskId, Usage)>> {
        let job = self.jobs.get(id)?;
        let (layer0, task0) = after.map_or((0, 0), |after| (after.layer, after.task + 1));
        let tasks = (layer0..job.layers.len() as u32).flat_map(|at| {
            let from = if at == layer0 { task0 } else { 0 };
            job.layers[at as usize].tasks.range(from..).map(move |(task, known)| (at, *task, known))
        });
        let of = |(layer, task, known): (u32, u32, &Task)| {
            (TaskId { job: id.clone(), layer, task }, used(known).sum(since))
        };
        Some(tasks.take(limit).map(of).collect())
    }

    /// Where the spans of a job's attempts belong; `None` when nobody follows it.
    #[must_use]
    pub fn traced(&self, id: &JobId) -> Option<Traced> {
        let job = self.jobs.get(id).filter(|job| !job.trace.is_empty())?;
        let tasks: u64 = job.layers.iter().map(|layer| u64::from(layer.total)).sum();
        Some(Traced { parent: job.trace.clone(), apart: tasks > ONE_TRACE_TASKS })
    }
}

/// What a task has used, by day.
pub(super) fn used(task: &Task) -> Days {
    let mut days = task.older.as_deref().cloned().unwrap_or_default();
    let last = task.ended.len().saturating_sub(1);
    let of = |(at, ended): (usize, &Ended)| {
        (ended.ended, Usage::of(ended, if at == last { published_bytes(task) } else { 0 }))
    };
    task.ended.iter().enumerate().map(of).for_each(|(at, usage)| days.add(at, usage));
    days
}

fn published_bytes(task: &Task) -> u64 {
    task.published.as_ref().map_or(0, |published| published.bytes)
}
