//! How an attempt ends badly, and what becomes of its task. A gang ends as a whole: one rank's failure ends them all.

use crate::{
    failure::{Blame, Cause, Failure, Verdict, retry_wait_ms},
    ids::{AttemptId, DeviceId, SessionId, TaskId, WorkerId},
    mutant::{self, Mutant},
    step::Command,
    task::short,
    time::Time,
    view::TaskState,
};

use super::Farm;

/// A task that was given back this often waits a little before it starts anew.
const YIELDS_FREE: u32 = 3;
const YIELD_WAIT_MS: u64 = 1_000;
/// What rank 0 gets to end its step and leave it for the next attempt, which waits for that word no longer.
const HANDOVER_MS: u64 = 2_000;

impl Farm {
    pub(super) fn attempt_failed(
        &mut self,
        now: Time,
        session: SessionId,
        attempt: &AttemptId,
        rank: u32,
        failure: Failure,
    ) {
        let Some(worker) = self.heard(now, session) else { return };
        if let Some(device) = self.device_with(&worker, attempt, rank) {
            self.release_device(&device, attempt, rank);
        }
        let failed_on = self
            .live(attempt)
            .filter(|live| live.is_on(rank, &worker))
            .map(|live| live.seats[rank as usize].device.clone());
        if self.task_state(&attempt.task) == Some(TaskState::Running)
            && let Some(device) = failed_on
        {
            self.end_badly_on(now, attempt, failure, true, &device);
        } else {
            self.left_late(attempt);
            if rank == 0 {
                self.handed_over(now, attempt, &worker);
            }
        }
    }

    /// An attempt that was over long ago has only now ended on its worker, which may have gone on saving: that goes, and where
    /// its task is settled the steps that it kept as well, for nobody goes on from them.
    pub(super) fn left_late(&mut self, attempt: &AttemptId) {
        if self.live(attempt).is_some() {
            return;
        }
        let mut prefix = self.prefix(attempt);
        if self.task_state(&attempt.task).is_some_and(TaskState::settled)
            && let Some((task, _)) = prefix.rsplit_once('/')
        {
            prefix = task.to_owned();
        }
        self.out.commands.push(Command::Collect { prefix });
    }

    /// Rank 0 of an attempt that had ended has left its step: the next one can go on from it.
    pub(super) fn handed_over(&mut self, now: Time, attempt: &AttemptId, worker: &WorkerId) {
        let TaskId { job, layer, task } = &attempt.task;
        let known = self.jobs.get(job).and_then(|job| job.layers.get(*layer as usize)?.tasks.get(task));
        let Some((task, last)) = known.and_then(|task| Some((task, task.ended.last()?))) else { return };
        let waits = matches!(task.state, TaskState::Queued | TaskState::Waiting)
            && (last.number, &last.device.worker) == (attempt.number, worker)
            && task.not_before > now
            && task.not_before == last.ended.plus_ms(HANDOVER_MS);
        if waits {
            self.enqueue_at(now, &attempt.task, 0);
            self.changed(&attempt.task);
            self.refresh(&attempt.task.job, attempt.task.layer);
        }
    }

    /// Takes a running task from its workers and ends its attempt with `failure`.
    pub(super) fn stop(&mut self, now: Time, task: &TaskId, at_once: bool, failure: Failure) {
        let live = self
            .jobs
            .get(&task.job)
            .and_then(|job| job.layers[task.layer as usize].tasks.get(&task.task))
            .and_then(|task| task.live.as_ref());
        let Some(live) = live else { return };
        let attempt = AttemptId { task: task.clone(), number: live.number, fence: live.fence };
        self.end_badly(now, &attempt, failure, at_once);
    }

    /// [`Self::end_badly_on`], with rank 0's device to blame.
    pub(super) fn end_badly(&mut self, now: Time, attempt: &AttemptId, failure: Failure, at_once: bool) {
        let Some(device) = self.live(attempt).map(|live| live.device().clone()) else { return };
        self.end_badly_on(now, attempt, failure, at_once, &device);
    }

    /// Ends a live attempt with a failure that happened on `device`, and decides what becomes of its task. Ranks that
    /// still run are revoked; when another attempt follows, rank 0 of a gang may end its step first, unless somebody there
    /// hangs. Nothing for an attempt that is not live.
    pub(super) fn end_badly_on(
        &mut self,
        now: Time,
        attempt: &AttemptId,
        failure: Failure,
        at_once: bool,
        device: &DeviceId,
    ) {
        let Some(live) = self.live(attempt) else { return };
        let follows = matches!(failure.cause.verdict(), Verdict::Again | Verdict::Retry { .. });
        let leaves_step =
            !at_once || live.seats.len() > 1 && follows && failure.cause != Cause::CollectiveTimeout;
        self.settle_share(now, attempt);
        let hands_over = self.revoke_ranks(now, attempt, at_once, leaves_step) && follows;
        let prefix = self.prefix(attempt);
        let failure = short(self.strained(attempt, device, failure));
        let id = &attempt.task;
        let job = self.jobs.get_mut(&id.job).expect("a live attempt has a job");
        let cancelled = job.cancelled && !mutant::on(Mutant::CancelledIsRetried);
        let retries = job.plan.retries().of(failure.cause);
        let model = job.plan.layers()[id.layer as usize].card.digest.clone();
        let at_least = if hands_over { HANDOVER_MS } else { 0 };
        let layer = &mut job.layers[id.layer as usize];
        let task = layer.touch(id.task);
        let live = task.end(now, Some(failure.clone())).expect("it was just found");
        job.device_ms = job.device_ms.saturating_add(live.used_ms);
        let told = failure.clone();
        let verdict = if cancelled { Verdict::Cancel } else { failure.cause.verdict() };
        match verdict {
            Verdict::Fail => {
                layer.set(id.task, TaskState::Failed);
                layer.touch(id.task).failure = Some(Box::new(failure));
            }
            Verdict::Cancel => {
                layer.set(id.task, TaskState::Cancelled);
                layer.touch(id.task).failure = Some(Box::new(failure));
            }
            Verdict::Again => {
                task.yielded += 1;
                let often = task.yielded.saturating_sub(YIELDS_FREE);
                let wait_ms = if often == 0 { 0 } else { retry_wait_ms(YIELD_WAIT_MS, often) };
                layer.retried(failure.cause);
                self.enqueue_at(now, id, wait_ms.max(at_least));
            }
            Verdict::Retry { wait_ms, blame } => {
                let spent = task.spent.entry(failure.cause).or_default();
                *spent += u32::from(!mutant::on(Mutant::BudgetIgnored));
                let spent = *spent;
                if blame == Blame::Device {
                    task.avoid = Some(device.worker.clone());
                }
                if spent > retries || (spent == retries && mutant::on(Mutant::BudgetShort)) {
                    layer.set(id.task, TaskState::Failed);
                    layer.touch(id.task).failure = Some(Box::new(given_up(failure, spent)));
                } else {
                    layer.retried(failure.cause);
                    self.enqueue_at(now, id, retry_wait_ms(wait_ms, spent).max(at_least));
                }
                if blame == Blame::Device {
                    self.blame(now, id, &model, device);
                }
            }
        }
        self.count(now, attempt, &live, Some(&told));
        self.out.commands.push(Command::Collect { prefix });
        self.changed(id);
        if self.task_state(id).is_some_and(TaskState::settled) {
            self.settled(now, id);
        } else {
            self.look_before(now, id);
        }
    }

    fn enqueue_at(&mut self, now: Time, id: &TaskId, wait_ms: u64) {
        let due = now.plus_ms(wait_ms);
        let job = self.jobs.get_mut(&id.job).expect("a live attempt has a job");
        job.enqueue(id.layer, id.task, due, now);
        if due > now {
            self.delayed.insert((due, id.clone()));
        }
    }

    fn blame(&mut self, now: Time, task: &TaskId, model: &str, device: &DeviceId) {
        self.avoided.failed(now, &task.job, model, device);
        let known = self.workers.get_mut(&device.worker).and_then(|w| w.devices.get_mut(&device.index));
        if let Some(known) = known {
            known.blamed(now, &task.job);
        }
    }

    /// Tells the workers of all ranks that still run to stop, at once or with their step, and rank 0's with its step when it
    /// `leaves_step`; their devices are theirs until they say so, or a lease later. Whether rank 0 was told to leave its step.
    fn revoke_ranks(&mut self, now: Time, attempt: &AttemptId, at_once: bool, leaves_step: bool) -> bool {
        let until = now.plus_ms(self.config.lease_ms);
        let Some(live) = self.live(attempt) else { return false };
        let seats = live.seats.clone();
        let mut told = std::collections::BTreeSet::new();
        let mut hands_over = false;
        for (rank, seat) in seats.into_iter().enumerate() {
            let ran = self.change(&seat.device, |busy| busy.stop(attempt, rank as u32, until));
            if ran == Some(true)
                && let Some(session) = seat.session
                && told.insert(session)
                && !mutant::on(Mutant::RevokeForgotten)
            {
                let attempt = attempt.clone();
                // Rank 0 comes first: others of its worker are told the same.
                let leaves = rank == 0 && leaves_step;
                hands_over |= leaves;
                self.out.commands.push(Command::Revoke { session, attempt, now: at_once && !leaves });
            }
        }
        hands_over
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
