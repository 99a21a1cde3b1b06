//! The life of an attempt: started, heard of, saved, published, or ended badly.
//!
//! Every report carries the attempt's fence. One that is not the task's live fence is an echo: it changes nothing.

use crate::{
    failure::{Blame, Cause, Failure, Verdict, retry_wait_ms},
    ids::{AttemptId, DeviceId, SessionId, TaskId},
    model_card::Makes,
    step::{Artifact, Assignment, Command, Stage, Times, Update},
    task::Live,
    time::Time,
    view::TaskState,
    worker::Busy,
};

use super::Farm;

/// Models whose pace is remembered.
const PACES_KEPT: usize = 1_000;
/// How long a step may take while nothing was measured.
const NO_PROGRESS_UNMEASURED_MS: u64 = 10 * 60_000;
/// No deadline is shorter: a machine may hiccup.
const NO_PROGRESS_MS_MIN: u64 = 30_000;

impl Farm {
    pub(super) fn start(&mut self, now: Time, device: DeviceId, session: SessionId, task: TaskId) {
        let fence = self.mint();
        let job = self.jobs.get_mut(&task.job).expect("the schedule names jobs that exist");
        let layer = &mut job.layers[task.layer as usize];
        layer.set(task.task, TaskState::Running);
        let no_progress_ms = match job.plan.no_progress() {
            crate::spec::NoProgress::Ms(ms) => ms,
            crate::spec::NoProgress::Times(times) => layer
                .gap
                .median_ms()
                .map_or(NO_PROGRESS_UNMEASURED_MS, |ms| ((ms as f64 * times) as u64).max(NO_PROGRESS_MS_MIN)),
        };
        let entry = layer.touch(task.task);
        entry.number += 1;
        let number = entry.number;
        entry.live = Some(Live {
            number,
            fence,
            device: device.clone(),
            session: Some(session),
            started: now,
            moved: now,
            longest_gap_ms: 0,
            no_progress_ms,
            stage: Stage::Load,
            step: 0,
            steps: 0,
            times: Times::default(),
        });
        let recipe = job.plan.recipe(&task.job, task.layer, task.task);
        let sidecar = job.plan.sidecar(&task.job, task.layer, task.task);
        let timeout_total_ms = job.plan.timeout_total_ms();
        let attempt = AttemptId { task: task.clone(), number, fence };
        let held = self
            .workers
            .get_mut(&device.worker)
            .and_then(|worker| worker.devices.get_mut(&device.index))
            .expect("a free device exists");
        held.busy = Busy::With(attempt.clone());
        self.free.remove(&device);
        let prefix = self.prefix(&attempt);
        self.out.commands.push(Command::Start(Box::new(Assignment {
            session,
            device,
            attempt,
            recipe,
            prefix,
            sidecar,
            timeout_total_ms,
            timeout_no_progress_ms: no_progress_ms,
        })));
        self.changed(&task);
    }

    pub(super) fn attempt_progressed(
        &mut self,
        now: Time,
        session: SessionId,
        attempt: &AttemptId,
        stage: Stage,
        (step, steps): (u32, u32),
    ) {
        if self.heard(now, session).is_none() {
            return;
        }
        let Some(live) = self.live(attempt) else { return };
        live.longest_gap_ms = live.longest_gap_ms.max(now.since(live.moved));
        live.moved = now;
        (live.stage, live.step, live.steps) = (stage, step, steps);
        let (device, number) = (live.device.clone(), live.number);
        self.out.updates.push(Update::Progress {
            task: attempt.task.clone(),
            attempt: number,
            device,
            stage,
            step,
            steps,
        });
    }

    pub(super) fn attempt_saved(
        &mut self,
        now: Time,
        session: SessionId,
        attempt: &AttemptId,
        artifacts: Vec<Artifact>,
        times: Times,
    ) {
        let Some(worker) = self.heard(now, session) else { return };
        if let Some(device) = self.device_with(&worker, attempt) {
            self.release_device(&device, attempt);
        }
        let state = self.task_state(&attempt.task);
        let prefix = self.prefix(attempt);
        let Some(live) = self.live(attempt) else {
            if !artifacts.is_empty() {
                self.out.commands.push(Command::Collect { prefix });
            }
            return;
        };
        if state != Some(TaskState::Running) {
            return; // said twice, as a worker may that was cut off in between
        }
        live.times = times;
        live.stage = Stage::Save;
        let (gap, wall) = (live.longest_gap_ms.max(now.since(live.moved)), now.since(live.started));
        let TaskId { job: id, layer, task } = attempt.task.clone();
        let job = self.jobs.get_mut(&id).expect("a live attempt has a job");
        job.layers[layer as usize].gap.measured(gap);
        job.layers[layer as usize].duration.measured(wall);
        let digest = job.plan.layers()[layer as usize].card.digest.clone();
        let output = job.plan.recipe(&id, layer, task).output;
        if self.paces.len() < PACES_KEPT || self.paces.contains_key(&digest) {
            self.paces.entry(digest).or_default().measured(wall);
        }
        if output.makes == Makes::Nothing {
            self.succeed(now, attempt, Vec::new());
        } else {
            self.jobs.get_mut(&id).expect("as above").layers[layer as usize].set(task, TaskState::Publishing);
            self.changed(&attempt.task);
            self.out.commands.push(Command::Publish { attempt: attempt.clone(), prefix, artifacts, output });
        }
    }

    pub(super) fn attempt_failed(
        &mut self,
        now: Time,
        session: SessionId,
        attempt: &AttemptId,
        failure: Failure,
    ) {
        let Some(worker) = self.heard(now, session) else { return };
        if let Some(device) = self.device_with(&worker, attempt) {
            self.release_device(&device, attempt);
        }
        if self.task_state(&attempt.task) == Some(TaskState::Running) {
            self.end_badly(now, attempt, failure);
        }
    }

    pub(super) fn published(
        &mut self,
        now: Time,
        attempt: &AttemptId,
        outcome: Result<Vec<Artifact>, Failure>,
    ) {
        if self.live(attempt).is_none() || self.task_state(&attempt.task) != Some(TaskState::Publishing) {
            return;
        }
        match outcome {
            Ok(artifacts) => self.succeed(now, attempt, artifacts),
            Err(failure) => self.end_badly(now, attempt, failure),
        }
    }

    fn succeed(&mut self, now: Time, attempt: &AttemptId, artifacts: Vec<Artifact>) {
        let id = &attempt.task;
        let job = self.jobs.get_mut(&id.job).expect("a live attempt has a job");
        let layer = &mut job.layers[id.layer as usize];
        layer.set(id.task, TaskState::Succeeded);
        let task = layer.touch(id.task);
        task.artifacts = artifacts;
        task.failure = None;
        if let Some(live) = task.end(now, None) {
            job.device_ms += now.since(live.started);
            if let Some(device) =
                self.workers.get_mut(&live.device.worker).and_then(|w| w.devices.get_mut(&live.device.index))
            {
                device.praised();
            }
        }
        self.changed(id);
        self.settled(now, id);
    }

    /// Ends a live attempt with a failure and decides what becomes of its task. Nothing for one that is not live.
    pub(super) fn end_badly(&mut self, now: Time, attempt: &AttemptId, failure: Failure) {
        let prefix = self.prefix(attempt);
        let id = &attempt.task;
        if self.live(attempt).is_none() {
            return;
        }
        let job = self.jobs.get_mut(&id.job).expect("a live attempt has a job");
        let (retries, cancelled) = (job.plan.retries(), job.cancelled);
        let layer = &mut job.layers[id.layer as usize];
        let task = layer.touch(id.task);
        let live = task.end(now, Some(failure.clone())).expect("it was just found");
        job.device_ms += now.since(live.started);
        let verdict = if cancelled { Verdict::Cancel } else { failure.cause.verdict() };
        if let Verdict::Retry { blame: Blame::Device, .. } = verdict
            && let Some(device) =
                self.workers.get_mut(&live.device.worker).and_then(|w| w.devices.get_mut(&live.device.index))
        {
            device.blamed(now);
        }
        match verdict {
            Verdict::Fail => {
                layer.set(id.task, TaskState::Failed);
                layer.touch(id.task).failure = Some(failure);
            }
            Verdict::Cancel => {
                layer.set(id.task, TaskState::Cancelled);
                layer.touch(id.task).failure = Some(failure);
            }
            Verdict::Again => {
                layer.retried(failure.cause);
                job.enqueue(id.layer, id.task, now, now);
            }
            Verdict::Retry { wait_ms, blame } => {
                task.spent += 1;
                let spent = task.spent;
                if blame == Blame::Device {
                    task.avoid = Some(live.device.worker.clone());
                }
                if spent > retries {
                    layer.set(id.task, TaskState::Failed);
                    layer.touch(id.task).failure = Some(given_up(failure, spent));
                } else {
                    layer.retried(failure.cause);
                    let due = now.plus_ms(retry_wait_ms(wait_ms, spent));
                    job.enqueue(id.layer, id.task, due, now);
                    self.delayed.insert((due, id.clone()));
                }
            }
        }
        self.out.commands.push(Command::Collect { prefix });
        self.changed(id);
        if self.task_state(id).is_some_and(TaskState::settled) {
            self.settled(now, id);
        }
    }

    pub(super) fn task_state(&self, id: &TaskId) -> Option<TaskState> {
        let layer = self.jobs.get(&id.job)?.layers.get(id.layer as usize)?;
        (id.task < layer.total).then(|| layer.state(id.task))
    }
}

/// The last failure of a task whose tries are spent.
fn given_up(failure: Failure, tries: u32) -> Failure {
    let Failure { cause, message, remedy } = failure;
    let remedy = if remedy.is_empty() && cause != Cause::Internal {
        "see its attempts with `croft tasks`, then `croft retry`".to_owned()
    } else {
        remedy
    };
    Failure { cause, message: format!("{message}; given up after {tries} tries"), remedy }
}
