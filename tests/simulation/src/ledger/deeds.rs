//! What a batch means, in the few words that the ledger understands.

use std::fmt;

use croft_core::{
    farm::Farm,
    ids::{AttemptId, DeviceId, JobId, TaskId, WorkerId},
    step::{Command, Event, Update},
    view::TaskState,
    worker::LockKind,
};

#[derive(Debug, Clone)]
pub(crate) enum Deed {
    Accepted {
        request_id: String,
        job: JobId,
    },
    Cancelled(JobId),
    Retried(JobId, Vec<TaskId>),
    Skipped(JobId, Vec<TaskId>),
    Paused(JobId, bool),
    Locked(WorkerId, LockKind, bool),
    Limit(String, Option<u32>),
    Quota(String, Option<u32>),
    /// Where a task is at the end of the batch.
    State(TaskId, TaskState),
    Start(AttemptId, u32, u32, DeviceId),
    Publish(AttemptId),
    PublicationFailed(AttemptId),
}

impl Deed {
    /// What people and publications have said, to a farm that has not heard it yet. What it need not heed is left out:
    /// wishes for jobs that have settled, and for workers that it does not know.
    pub(crate) fn of_event(farm: &Farm, event: &Event, deeds: &mut Vec<Self>) {
        let is_open = |job: &JobId| farm.job(job).is_some_and(|job| job.settled.is_none());
        match event {
            Event::JobCancelled { job, .. } if is_open(job) => deeds.push(Self::Cancelled(job.clone())),
            Event::TasksRetried { job, tasks } => deeds.push(Self::Retried(job.clone(), tasks.clone())),
            Event::TasksSkipped { job, tasks } => deeds.push(Self::Skipped(job.clone(), tasks.clone())),
            Event::JobPaused { job, paused } if is_open(job) => {
                deeds.push(Self::Paused(job.clone(), *paused));
            }
            Event::WorkerSet { worker, lock, on, .. }
                if farm.workers().iter().any(|known| known.id == *worker) =>
            {
                deeds.push(Self::Locked(worker.clone(), *lock, *on));
            }
            Event::LimitSet { limit, max } => deeds.push(Self::Limit(limit.clone(), *max)),
            Event::ShowSet { show, settings } => {
                deeds.push(Self::Quota(show.clone(), settings.max_devices));
            }
            Event::Published { attempt, outcome: Err(_) } => {
                deeds.push(Self::PublicationFailed(attempt.clone()));
            }
            Event::JobSubmitted { .. }
            | Event::JobCancelled { .. }
            | Event::JobPaused { .. }
            | Event::WorkerSet { .. }
            | Event::JobUpdated { .. }
            | Event::WorkerJoined(_)
            | Event::WorkerHeard { .. }
            | Event::WorkerLeft { .. }
            | Event::DeviceReported { .. }
            | Event::AttemptProgressed { .. }
            | Event::AttemptSaved { .. }
            | Event::AttemptFailed { .. }
            | Event::Published { .. }
            | Event::Invited { .. }
            | Event::InvitationShown { .. }
            | Event::Noted(_)
            | Event::Tick => {}
        }
    }

    /// Where the tasks that changed are now.
    pub(crate) fn of_updates(farm: &Farm, updates: &[Update], deeds: &mut Vec<Self>) {
        for update in updates {
            match update {
                Update::Accepted { request_id, job } => {
                    deeds.push(Self::Accepted { request_id: request_id.clone(), job: job.clone() });
                }
                Update::Task { task } => {
                    if let Some(view) = farm.task(task) {
                        deeds.push(Self::State(task.clone(), view.state));
                    }
                }
                Update::Job { .. } | Update::Progress { .. } | Update::Ended(_) => {}
            }
        }
    }

    /// What is to be done.
    pub(crate) fn of_command(command: &Command, deeds: &mut Vec<Self>) {
        match command {
            Command::Start(assignment) => deeds.push(Self::Start(
                assignment.attempt.clone(),
                assignment.rank,
                assignment.ranks,
                assignment.device.clone(),
            )),
            Command::Publish { attempt, .. } => deeds.push(Self::Publish(attempt.clone())),
            Command::Welcome { .. }
            | Command::Refuse { .. }
            | Command::HangUp { .. }
            | Command::Revoke { .. }
            | Command::Collect { .. } => {}
        }
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted { request_id, job } => write!(f, "{request_id} is {job}"),
            Self::Cancelled(job) => write!(f, "{job} cancelled"),
            Self::Retried(job, tasks) => write!(f, "{} tasks of {job} retried", tasks.len()),
            Self::Skipped(job, tasks) => write!(f, "{} tasks of {job} skipped", tasks.len()),
            Self::Paused(job, on) => write!(f, "{job} paused: {on}"),
            Self::Locked(worker, lock, on) => write!(f, "{worker} {}: {on}", lock.name()),
            Self::Limit(limit, max) => write!(f, "limit {limit} {max:?}"),
            Self::Quota(show, max) => write!(f, "show {show} at most {max:?}"),
            Self::State(task, state) => write!(f, "{}/{}/{} {state:?}", task.job, task.layer, task.task),
            Self::Start(attempt, rank, ranks, device) => {
                let TaskId { job, layer, task } = &attempt.task;
                let AttemptId { number, fence, .. } = attempt;
                write!(
                    f,
                    "START {job}/{layer}/{task}#{number} fence {} rank {rank}/{ranks} on {}:{}",
                    fence.0, device.worker, device.index
                )
            }
            Self::Publish(attempt) => write!(f, "PUBLISH {:?}", attempt.fence),
            Self::PublicationFailed(attempt) => write!(f, "publication failed {:?}", attempt.fence),
        }
    }
}
