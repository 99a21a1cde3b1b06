//! What people do to jobs: submit, cancel, retry; and how a job settles.

use crate::{
    failure::{Cause, Failure},
    ids::{JobId, NAME_CHARS_MAX, TaskId},
    job::Job,
    plan::Plan,
    record,
    step::Update,
    time::Time,
    view::TaskState,
};

use super::Farm;

impl Farm {
    pub(super) fn job_submitted(&mut self, now: Time, request_id: String, plan: Plan, trace: String) {
        if let Some(job) = self.requests.get(&request_id) {
            self.out.updates.push(Update::Accepted { request_id, job: job.clone() });
            return;
        }
        let id = self.free_name(plan.name());
        let mut job = Job::new(plan, request_id.clone(), self.submissions, now);
        job.trace = trace;
        self.shows.entry(job.plan.show().to_owned()).or_default();
        self.submissions += 1;
        let layers = job.layers.len() as u32;
        self.jobs.insert(id.clone(), job);
        self.requests.insert(request_id.clone(), id.clone());
        (0..layers).for_each(|layer| self.refresh(&id, layer));
        self.job_changed(&id);
        self.out.updates.push(Update::Accepted { request_id, job: id });
        self.forget_oldest();
    }

    /// `name`, or `name-2`, `name-3` … where it is taken.
    fn free_name(&self, name: &str) -> JobId {
        let numbered = (2u64..).map(|n| {
            let ending = format!("-{n}");
            let room = NAME_CHARS_MAX - ending.len();
            format!("{}{ending}", &name[..name.len().min(room)])
        });
        std::iter::once(name.to_owned())
            .chain(numbered)
            .filter_map(|name| JobId::new(&name).ok())
            .find(|id| !self.jobs.contains_key(id))
            .expect("a plan's name is a job's name, and numbers do not end")
    }

    /// Keeps the memory of settled jobs bounded.
    fn forget_oldest(&mut self) {
        if self.jobs.len() <= self.config.jobs_kept {
            return;
        }
        let oldest =
            self.jobs.iter().filter_map(|(id, job)| job.settled.map(|at| (at, job.number, id.clone()))).min();
        let Some((_, _, id)) = oldest else { return };
        let job = self.jobs.remove(&id).expect("it was just found");
        self.requests.remove(&job.request_id);
        self.avoided.drop_job(&id);
        self.keep_usage(&job);
        self.out.forgotten.push(record::job_key(&id));
        for (at, layer) in job.layers.iter().enumerate() {
            let chunks: std::collections::BTreeSet<_> = layer
                .tasks
                .keys()
                .map(|task| record::Chunk::of(&TaskId { job: id.clone(), layer: at as u32, task: *task }))
                .collect();
            self.out.forgotten.extend(chunks.iter().map(record::chunk_key));
        }
    }

    /// Every unsettled task ends as Cancelled. What is being published already is let through: its files are whole.
    pub(super) fn job_cancelled(&mut self, now: Time, id: &JobId, at_once: bool) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        if job.settled.is_some() {
            return;
        }
        job.cancelled = true;
        let mut running = Vec::new();
        for (at, layer) in job.layers.iter_mut().enumerate() {
            layer.cancel_rest("the job was cancelled");
            let open: Vec<(u32, TaskState)> = layer.tasks.iter().map(|(task, t)| (*task, t.state)).collect();
            for (task, state) in open {
                match state {
                    TaskState::Running => running.push(TaskId { job: id.clone(), layer: at as u32, task }),
                    TaskState::Waiting | TaskState::Queued => {
                        layer.set(task, TaskState::Cancelled);
                        self.out.chunks.insert(record::Chunk::of(&TaskId {
                            job: id.clone(),
                            layer: at as u32,
                            task,
                        }));
                    }
                    TaskState::Publishing
                    | TaskState::Succeeded
                    | TaskState::Failed
                    | TaskState::Cancelled
                    | TaskState::Skipped => {}
                }
            }
        }
        let layers = job.layers.len() as u32;
        for task in running {
            let asked = Failure::new(Cause::Cancelled, "the job was cancelled", "");
            self.stop(now, &task, at_once, asked);
        }
        (0..layers).for_each(|layer| self.refresh(id, layer));
        self.job_changed(id);
        self.settle_job(now, id);
    }

    /// Failed and cancelled tasks go back in line with a fresh budget.
    pub(super) fn tasks_retried(&mut self, now: Time, id: &JobId, tasks: &[TaskId]) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let (mut queued, mut held) = (Vec::new(), Vec::new());
        for task in tasks.iter().filter(|task| task.job == *id) {
            let Some(layer) = job.layers.get_mut(task.layer as usize) else { continue };
            if task.task >= layer.total {
                continue;
            }
            match layer.state(task.task) {
                state @ (TaskState::Failed | TaskState::Cancelled | TaskState::Skipped) => {
                    if state == TaskState::Skipped {
                        held.push(task.clone());
                    }
                    let entry = layer.touch(task.task);
                    entry.spent.clear();
                    entry.failure = None;
                    entry.avoid = None;
                    // Waiting until all are counted: of two that depend on each other, either may come first here.
                    layer.set(task.task, TaskState::Waiting);
                    queued.push(task.clone());
                }
                TaskState::Waiting
                | TaskState::Queued
                | TaskState::Running
                | TaskState::Publishing
                | TaskState::Succeeded => {}
            }
        }
        if queued.is_empty() {
            return;
        }
        job.settled = None;
        job.cancelled = false;
        for task in &queued {
            job.enqueue(task.layer, task.task, now, now);
        }
        // What went on because they were skipped waits for them again.
        for before in &held {
            for layer in job.dependents(before.layer) {
                job.layers[layer as usize].hold(before.task);
                queued.push(TaskId { layer, ..before.clone() });
            }
        }
        queued.iter().for_each(|task| self.changed(task));
        self.job_changed(id);
        queued.iter().for_each(|task| self.look_before(now, task));
    }
}
