//! What people want of jobs that run already: pause, another priority, tasks left out.

use crate::{
    failure::{Cause, Failure},
    ids::{JobId, TaskId},
    mutant::{self, Mutant},
    time::Time,
    view::TaskState,
};

use super::Farm;

impl Farm {
    pub(super) fn job_paused(&mut self, id: &JobId, paused: bool) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        if job.settled.is_some() || job.paused == paused {
            return;
        }
        job.paused = paused;
        self.line_up(id);
    }

    pub(super) fn job_updated(&mut self, id: &JobId, priority: u32) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        job.priority = priority.min(100);
        self.line_up(id);
    }

    /// The job changed as a whole: all its layers find their places anew.
    fn line_up(&mut self, id: &JobId) {
        let layers = self.jobs.get(id).map_or(0, |job| job.layers.len() as u32);
        (0..layers).for_each(|layer| self.refresh(id, layer));
        self.job_changed(id);
    }

    /// Unsettled and failed tasks end as Skipped, and what waits for them goes on. What is being published is let
    /// through.
    pub(super) fn tasks_skipped(&mut self, now: Time, id: &JobId, tasks: &[TaskId]) {
        for task in tasks.iter().filter(|task| task.job == *id) {
            match self.task_state(task) {
                Some(TaskState::Running) => {
                    let asked = Failure::new(Cause::Cancelled, "the task was skipped", "");
                    self.stop(now, task, true, asked);
                    self.skip(now, task);
                }
                Some(TaskState::Waiting | TaskState::Queued | TaskState::Failed | TaskState::Cancelled) => {
                    self.skip(now, task);
                }
                Some(TaskState::Publishing | TaskState::Succeeded | TaskState::Skipped) | None => {}
            }
        }
    }

    fn skip(&mut self, now: Time, task: &TaskId) {
        let Some(job) = self.jobs.get_mut(&task.job) else { return };
        let layer = &mut job.layers[task.layer as usize];
        if mutant::on(Mutant::SkipUncounted) {
            layer.touch(task.task).state = TaskState::Skipped;
        } else {
            layer.set(task.task, TaskState::Skipped);
        }
        layer.touch(task.task).failure = None;
        self.changed(task);
        // A job that had settled as failed is looked at again: it may count as done now, or go on.
        if self.jobs.get_mut(&task.job).is_some_and(|job| job.settled.take().is_some())
            && !mutant::on(Mutant::ReopenedUnwritten)
        {
            self.job_changed(&task.job);
        }
        self.revive(now, task);
        self.settled(now, task);
    }

    /// Those that were cancelled because `task` failed wait again.
    fn revive(&mut self, now: Time, task: &TaskId) {
        let Some(job) = self.jobs.get(&task.job) else { return };
        if job.cancelled {
            return;
        }
        for layer in job.dependents(task.layer) {
            let next = TaskId { layer, ..task.clone() };
            let each = self.jobs[&task.job].plan.after_each(layer);
            if each && self.task_state(&next) == Some(TaskState::Cancelled) {
                let job = self.jobs.get_mut(&task.job).expect("it was just there");
                job.layers[layer as usize].touch(next.task).failure = None;
                job.enqueue(layer, next.task, now, now);
                self.changed(&next);
                self.revive(now, &next);
            }
        }
    }
}
