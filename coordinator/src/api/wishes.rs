//! What people want of jobs that run already, and what they ask about those that do not.

use std::{cmp::Reverse, collections::BTreeMap};

use croft_core::{
    farm::Farm,
    ids::JobId,
    step::Event,
    view::{TaskState, Wait, WaitReason},
};
use croft_proto::v1;
use tonic::{Response, Status};

use super::{
    auth::Call,
    convert,
    status::{invalid, not_found},
};
use crate::handle::Handle;

/// Tasks that one explanation looks at.
const EXPLAINED: usize = 10_000;

/// Changes a job and gives what it is then.
pub(super) async fn change(
    handle: &Handle,
    call: &Call,
    name: &str,
    event: impl FnOnce(JobId) -> Event + Send + 'static,
) -> Result<Response<v1::Job>, Status> {
    let id = convert::parse_job("name", name)?;
    call.is_about(handle, &id, name).await?;
    let (job, seen) = (id.clone(), id);
    let event = move |farm: &Farm| farm.plan(&job).is_some().then(|| event(job));
    let job = call.act(handle, event, move |desk| desk.farm.job(&seen)).await?;
    Ok(Response::new(convert::job(job.ok_or_else(|| not_found("job", name))?)))
}

/// Skips the tasks that are selected and not done; how many, and the job then.
pub(super) async fn skip(
    handle: &Handle,
    call: &Call,
    parent: &str,
    selector: Option<v1::TaskSelector>,
) -> Result<(u64, v1::Job), Status> {
    let job = convert::parse_job("parent", parent)?;
    call.is_about(handle, &job, parent).await?;
    let mut selector = convert::selector(selector)?;
    let open =
        [TaskState::Waiting, TaskState::Queued, TaskState::Running, TaskState::Failed, TaskState::Cancelled];
    if selector.states.is_empty() {
        selector.states = open.to_vec();
    }
    selector.states.retain(|state| open.contains(state));
    if selector.states.is_empty() {
        return Err(invalid("selector.states", "what has succeeded or is being published cannot be skipped"));
    }
    let (asked, seen) = (job.clone(), job);
    let (count, counted) = tokio::sync::oneshot::channel();
    let event = move |farm: &Farm| {
        let tasks = farm.task_ids(&asked, &selector)?;
        // The receiver lives until the answer below.
        let _ = count.send(tasks.len() as u64);
        (!tasks.is_empty()).then_some(Event::TasksSkipped { job: asked, tasks })
    };
    let job = call.act(handle, event, move |desk| desk.farm.job(&seen)).await?;
    let job = job.ok_or_else(|| not_found("job", parent))?;
    Ok((counted.await.unwrap_or(0), convert::job(job)))
}

/// Why the selected tasks wait, by reason.
pub(super) async fn explain(
    handle: &Handle,
    call: &Call,
    parent: &str,
    selector: Option<v1::TaskSelector>,
) -> Result<v1::ExplainWaitResponse, Status> {
    let job = convert::parse_job("parent", parent)?;
    call.is_about(handle, &job, parent).await?;
    let selector = convert::selector(selector)?;
    let reader = call.caller().clone();
    let explained = handle.ask(move |desk| {
        let now = desk.clock.now();
        let mut tasks = desk.farm.task_ids(&job, &selector)?;
        let all = tasks.len();
        tasks.truncate(EXPLAINED);
        let waits = desk.farm.explain_all(now, &tasks, &reader);
        let mut by_reason: BTreeMap<WaitReason, (u64, String, Wait)> = BTreeMap::new();
        for (task, wait) in tasks.iter().zip(waits) {
            let name = || desk.farm.name(task).unwrap_or_default();
            by_reason.entry(wait.reason).or_insert_with(|| (0, name(), wait)).0 += 1;
        }
        Some((by_reason, all.saturating_sub(EXPLAINED)))
    });
    let (by_reason, left) = explained.await?.ok_or_else(|| not_found("job", parent))?;
    let told = by_reason.into_values().filter(|(_, _, wait)| wait.reason != WaitReason::Settled);
    let mut waits: Vec<_> = told.map(|(tasks, example, wait)| convert::wait(tasks, &example, wait)).collect();
    waits.sort_by_key(|wait| Reverse(wait.tasks));
    Ok(v1::ExplainWaitResponse { waits, not_looked_at: left as u64 })
}
