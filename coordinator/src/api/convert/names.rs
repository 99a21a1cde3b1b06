//! Resource names, as `api.md` writes them: `jobs/{job}/layers/{layer}/tasks/{0001}`.

use croft_core::{
    ids::{JobId, WorkerId},
    view::{Selector, TaskState},
};
use croft_proto::v1;
use tonic::Status;

use crate::api::status::{invalid, not_found};

pub(in crate::api) fn job_name(job: &JobId) -> String {
    format!("jobs/{job}")
}

pub(in crate::api) fn task_name(job: &JobId, layer: &str, task: u32) -> String {
    format!("jobs/{job}/layers/{layer}/tasks/{}", task_number(task))
}

/// Tasks are counted from 1 where people see them.
pub(super) fn task_number(task: u32) -> String {
    format!("{:04}", u64::from(task) + 1)
}

pub(in crate::api) fn worker_name(worker: &WorkerId) -> String {
    format!("workers/{worker}")
}

pub(super) fn device_name(worker: &WorkerId, index: u32) -> String {
    format!("workers/{worker}/devices/{index}")
}

/// `jobs/{job}`.
pub(in crate::api) fn parse_job(field: &str, name: &str) -> Result<JobId, Status> {
    let id = name.strip_prefix("jobs/").filter(|id| !id.contains('/'));
    let id = id.ok_or_else(|| invalid(field, format!("'{name}' is no job's name: jobs/JOB")))?;
    // What cannot be a job's name names no job.
    JobId::new(id).map_err(|_| not_found("job", name))
}

/// `jobs/{job}/layers/{layer}/tasks/{task}`: the job, the layer's name and the task's index.
pub(in crate::api) fn parse_task(field: &str, name: &str) -> Result<(JobId, String, u32), Status> {
    let parts: Vec<&str> = name.split('/').collect();
    let ["jobs", job, "layers", layer, "tasks", task] = parts[..] else {
        return Err(invalid(field, format!("'{name}' is no task's name: jobs/JOB/layers/LAYER/tasks/0001")));
    };
    let job = JobId::new(job).map_err(|_| not_found("task", name))?;
    let task = parse_number(task).ok_or_else(|| not_found("task", name))?;
    Ok((job, layer.to_owned(), task))
}

/// A task's index from its number as people see it.
pub(super) fn parse_number(number: &str) -> Option<u32> {
    number.parse::<u32>().ok()?.checked_sub(1)
}

pub(in crate::api) fn selector(selector: Option<v1::TaskSelector>) -> Result<Selector, Status> {
    let selector = selector.unwrap_or_default();
    let states: Result<Vec<TaskState>, Status> = selector
        .states
        .iter()
        .map(|state| match v1::TaskState::try_from(*state) {
            Ok(v1::TaskState::Waiting) => Ok(TaskState::Waiting),
            Ok(v1::TaskState::Queued) => Ok(TaskState::Queued),
            Ok(v1::TaskState::Running) => Ok(TaskState::Running),
            Ok(v1::TaskState::Publishing) => Ok(TaskState::Publishing),
            Ok(v1::TaskState::Succeeded) => Ok(TaskState::Succeeded),
            Ok(v1::TaskState::Failed) => Ok(TaskState::Failed),
            Ok(v1::TaskState::Cancelled) => Ok(TaskState::Cancelled),
            Ok(v1::TaskState::Skipped) => Ok(TaskState::Skipped),
            Ok(v1::TaskState::Unspecified) | Err(_) => {
                Err(invalid("selector.states", format!("{state} is no state of a task")))
            }
        })
        .collect();
    // `0001`, or a whole name of which the last part counts.
    let tasks: Result<Vec<u32>, Status> = selector
        .tasks
        .iter()
        .map(|task| {
            let number = task.rsplit('/').next().and_then(parse_number);
            number.ok_or_else(|| {
                invalid("selector.tasks", format!("'{task}' is no task: give numbers such as 0001"))
            })
        })
        .collect();
    Ok(Selector {
        states: states?,
        axes: selector.r#where,
        layer: Some(selector.layer).filter(|layer| !layer.is_empty()),
        tasks: tasks?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let job = JobId::new("ad-2").unwrap();
        let name = task_name(&job, "hero", 0);
        assert_eq!(name, "jobs/ad-2/layers/hero/tasks/0001");
        assert_eq!(parse_task("name", &name).unwrap(), (job, "hero".into(), 0));
    }

    #[test]
    fn what_is_no_name_is_told_apart_from_what_is_not_there() {
        assert_eq!(parse_job("name", "ad").unwrap_err().code(), tonic::Code::InvalidArgument);
        assert_eq!(parse_job("name", "jobs/No Such").unwrap_err().code(), tonic::Code::NotFound);
        assert_eq!(parse_task("name", "jobs/a/layers/b/tasks/0").unwrap_err().code(), tonic::Code::NotFound);
    }
}
