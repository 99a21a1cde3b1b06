//! One look at the farm for a reader of logs: which attempts there are to read of.

use croft_core::{
    ids::{Fence, JobId, SessionId, TaskId},
    time::Time,
    view::{Selector, TaskState},
};
use croft_proto::v1;
use tokio::sync::watch;
use tonic::Status;

use crate::{
    api::{convert, status::invalid},
    logs,
    run::Desk,
};

/// Tasks of one state that one reader is told of: nobody reads more at once.
const TASKS: usize = 64;

/// What a reader asked for.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) job: JobId,
    pub(super) layer: Option<String>,
    pub(super) task: Option<u32>,
    pub(super) attempt: Option<u32>,
    pub(super) rank: Option<u32>,
    pub(super) follow: bool,
}

/// An attempt, as a look finds it.
pub(super) struct Found {
    pub(super) id: TaskId,
    pub(super) number: u32,
    pub(super) ranks: u32,
    /// Its words: the task's name, worker and device.
    pub(super) chunk: v1::LogChunk,
    pub(super) ended: Option<Time>,
    /// Of one that runs.
    pub(super) live: Option<(Fence, Vec<Option<SessionId>>)>,
    pub(super) paths: Vec<object_store::path::Path>,
}

pub(super) struct Look {
    pub(super) found: Vec<Found>,
    pub(super) settled: bool,
    pub(super) now: Time,
    pub(super) wake: watch::Receiver<u64>,
}

pub(super) fn wanted(request: v1::StreamLogsRequest) -> Result<Wanted, Status> {
    let v1::StreamLogsRequest { name, attempt, rank, follow } = request;
    let (job, layer, task) = match name.split('/').collect::<Vec<_>>()[..] {
        ["jobs", job] => (convert::parse_job("name", &format!("jobs/{job}"))?, None, None),
        ["jobs", job, "layers", layer] => {
            (convert::parse_job("name", &format!("jobs/{job}"))?, Some(layer.to_owned()), None)
        }
        ["jobs", _, "layers", _, "tasks", _] => {
            let (job, layer, task) = convert::parse_task("name", &name)?;
            (job, Some(layer), Some(task))
        }
        _ => return Err(invalid("name", format!("'{name}' names no job, layer or task"))),
    };
    let attempt = Some(attempt).filter(|attempt| *attempt > 0);
    if attempt.is_some() && task.is_none() {
        return Err(invalid("attempt", "attempts are of a task: name one"));
    }
    Ok(Wanted { name, job, layer, task, attempt, rank, follow })
}

/// Which attempts there are to read of; `None` where the job, layer or task is not there.
pub(super) fn look(desk: &mut Desk, wanted: &Wanted) -> Option<Look> {
    let farm = &desk.farm;
    farm.plan(&wanted.job)?;
    if let Some(layer) = &wanted.layer {
        farm.layer_index(&wanted.job, layer)?;
    }
    let selector = |states: &[TaskState]| Selector {
        states: states.to_vec(),
        layer: wanted.layer.clone(),
        tasks: wanted.task.into_iter().collect(),
        ..Selector::default()
    };
    let tasks = |states: &[TaskState]| farm.tasks(&wanted.job, &selector(states), None, TASKS);
    let tasks = match wanted.task {
        Some(_) => {
            let tasks = tasks(&[])?;
            if tasks.is_empty() {
                return None;
            }
            tasks
        }
        None => [tasks(&[TaskState::Failed])?, tasks(&[TaskState::Running, TaskState::Publishing])?].concat(),
    };
    let mut found = Vec::new();
    for task in tasks {
        let name = convert::task_name(&task.id.job, &task.layer, task.id.task);
        for attempt in &task.attempts {
            let is_live = attempt.ended.is_none();
            let is_wanted = wanted.attempt.is_none_or(|number| number == attempt.number);
            if !is_wanted || (!is_live && attempt.failure.is_none()) {
                continue;
            }
            let id = farm.live_attempt(&task.id).filter(|_| is_live);
            let live = id.and_then(|id| Some((id.fence, farm.seats(&id)?)));
            if is_live && live.is_none() {
                continue;
            }
            let paths =
                (0..attempt.ranks).filter_map(|rank| logs::path(farm, &task.id, attempt.number, rank));
            found.push(Found {
                id: task.id.clone(),
                number: attempt.number,
                ranks: attempt.ranks,
                chunk: v1::LogChunk {
                    task: name.clone(),
                    attempt: attempt.number,
                    worker: attempt.device.worker.to_string(),
                    device: attempt.device.index.to_string(),
                    ..v1::LogChunk::default()
                },
                ended: attempt.ended,
                live,
                paths: paths.collect(),
            });
        }
    }
    let open = [TaskState::Waiting, TaskState::Queued, TaskState::Running, TaskState::Publishing];
    let settled = farm.tasks(&wanted.job, &selector(&open), None, 1)?.is_empty();
    let (now, wake) = (desk.clock.now(), desk.updates.wake_of(&wanted.job));
    Some(Look { found, settled, now, wake })
}
