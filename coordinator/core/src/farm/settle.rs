//! What follows from a task that settled: those that wait for it, and the job.

use crate::{
    failure::{Cause, Failure},
    ids::{JobId, TaskId},
    time::Time,
    view::TaskState,
};

use super::Farm;

impl Farm {
    pub(super) fn settled(&mut self, now: Time, task: &TaskId) {
        let mut settled = vec![task.clone()];
        while let Some(task) = settled.pop() {
            let dependents = self.jobs[&task.job].dependents(task.layer);
            for waiting in dependents {
                let more = match self.jobs[&task.job].layers[task.layer as usize].state(task.task) {
                    TaskState::Succeeded | TaskState::Skipped => {
                        self.release(now, &task, waiting);
                        Vec::new()
                    }
                    TaskState::Failed => self.forgo(&task, waiting, "failed"),
                    TaskState::Cancelled => self.forgo(&task, waiting, "was cancelled"),
                    TaskState::Waiting | TaskState::Queued | TaskState::Running | TaskState::Publishing => {
                        Vec::new()
                    }
                };
                settled.extend(more);
            }
        }
        self.settle_job(now, &task.job);
    }

    /// A task that came back in line although its counterpart before it has ended badly would wait for ever: it ends too.
    pub(super) fn look_before(&mut self, now: Time, task: &TaskId) {
        let before = self.jobs[&task.job].plan.layers()[task.layer as usize].after;
        let Some(before) = before.map(|layer| TaskId { layer, ..task.clone() }) else { return };
        if self.task_state(&before).is_some_and(|state| state.settled() && !state.done()) {
            self.settled(now, &before);
        }
    }

    /// `before` succeeded: its counterpart in layer `waiting` may start, or all of it when `before` was the last.
    fn release(&mut self, now: Time, before: &TaskId, waiting: u32) {
        let job = self.jobs.get_mut(&before.job).expect("a settled task has a job");
        if job.plan.after_each(waiting) {
            job.layers[waiting as usize].release(before.task, now);
        } else {
            let first = &job.layers[before.layer as usize];
            if first.is_done() {
                job.layers[waiting as usize].open(now);
            }
        }
        // Nothing of a task that only may start is stored; watchers hear of the counts.
        self.out.told.insert(before.job.clone());
        self.refresh(&before.job, waiting);
    }

    /// `before` will not succeed: what waits for it in layer `waiting` is cancelled. Gives the tasks whose own
    /// dependents are to follow.
    fn forgo(&mut self, before: &TaskId, waiting: u32, ended: &str) -> Vec<TaskId> {
        let name = self.name(before).unwrap_or_default();
        let why = format!("{name}, which it waits for, {ended}");
        let job = self.jobs.get_mut(&before.job).expect("a settled task has a job");
        let each = job.plan.after_each(waiting);
        let layer = &mut job.layers[waiting as usize];
        let next = TaskId { layer: waiting, ..before.clone() };
        if each {
            // One that has begun, because `before` was skipped then, goes on.
            if !matches!(layer.state(next.task), TaskState::Waiting | TaskState::Queued) {
                return Vec::new();
            }
            layer.set(next.task, TaskState::Cancelled);
            layer.touch(next.task).failure = Some(Box::new(Failure::new(Cause::Cancelled, why, "")));
            self.changed(&next);
            return vec![next];
        }
        // A task with a history is one that a person put back in line; the layer as a whole is lost to it as well.
        let open: Vec<u32> =
            layer.tasks.iter().filter(|(_, t)| t.state == TaskState::Waiting).map(|(at, _)| *at).collect();
        if layer.rest.is_some() && open.is_empty() {
            return Vec::new();
        }
        layer.cancel_rest(&why);
        for task in open {
            layer.set(task, TaskState::Cancelled);
            layer.touch(task).failure = Some(Box::new(Failure::new(Cause::Cancelled, why.clone(), "")));
            self.out.chunks.insert(crate::record::Chunk::of(&TaskId { task, ..next.clone() }));
        }
        self.refresh(&before.job, waiting);
        self.job_changed(&before.job);
        let job = &self.jobs[&before.job];
        if job.dependents(waiting).is_empty() {
            return Vec::new();
        }
        let layer = &job.layers[waiting as usize];
        let cancelled = (0..layer.total).filter(|task| layer.state(*task) == TaskState::Cancelled);
        cancelled.map(|task| TaskId { task, ..next.clone() }).collect()
    }

    pub(super) fn settle_job(&mut self, now: Time, id: &JobId) {
        if let Some(job) = self.jobs.get_mut(id)
            && job.settled.is_none()
            && job.counts().unsettled() == 0
        {
            job.settled = Some(now);
            self.job_changed(id);
        }
    }
}
