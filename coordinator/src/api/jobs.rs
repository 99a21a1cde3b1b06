//! The service of studios and pipeline TDs.

use croft_core::{
    farm::Farm,
    ids::{JobId, TaskId},
    step::Event,
    view::TaskState,
};
use croft_proto::{trace::METADATA, v1};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    auth::Call,
    convert,
    logs::{Logs, Reading},
    page,
    planning::{Planner, Text},
    status::{invalid, not_found},
    watch::{Watch, Watching},
    wishes,
};
use crate::{handle::Handle, trace::Tracer};

const REQUEST_ID_BYTES_MAX: usize = 128;
/// Outputs that a plan shows.
const SAMPLES: u64 = 5;

#[derive(Debug)]
pub(crate) struct Jobs {
    handle: Handle,
    planner: Planner,
    watching: Watching,
    reading: Reading,
    tracer: Tracer,
}

impl Jobs {
    /// Its watches end with `end`, as those of `reading` do.
    pub(crate) fn new(handle: Handle, end: CancellationToken, reading: Reading, tracer: Tracer) -> Self {
        let watching = Watching::new(handle.clone(), end);
        Self { watching, planner: Planner::default(), handle, reading, tracer }
    }
}

#[tonic::async_trait]
impl v1::jobs_server::Jobs for Jobs {
    async fn create_job(&self, request: Request<v1::CreateJobRequest>) -> Result<Response<v1::Job>, Status> {
        let call = Call::of(&request);
        let given = request.metadata().get(METADATA).and_then(|text| text.to_str().ok()).map(str::to_owned);
        let request = request.into_inner();
        let id = match request.request_id {
            id if id.len() > REQUEST_ID_BYTES_MAX => {
                return Err(invalid("request_id", format!("{REQUEST_ID_BYTES_MAX} bytes at most")));
            }
            id if id.is_empty() => Uuid::new_v4().to_string(),
            id => id,
        };
        let text =
            Text { name: request.spec_name, spec: request.spec, files: request.files, set: request.set };
        if request.validate_only {
            let plan = self.planner.plan(text).await?;
            call.may_see(plan.show())?;
            return Ok(Response::new(convert::job_planned(&plan)));
        }
        // A client that asks again after a lost answer need not wait for the planning again.
        let known = id.clone();
        let known =
            self.handle.ask(move |desk| desk.farm.request(&known).and_then(|job| desk.farm.job(&job)));
        if let Some(job) = known.await? {
            call.may_see(&job.show)?;
            return Ok(Response::new(convert::job(job)));
        }
        let submission = self.tracer.submission(given.as_deref());
        let plan = Box::new(self.planner.plan(text).await?);
        call.about(&format!("shows/{}", plan.show()));
        call.may_see(plan.show())?;
        self.tracer.planned(&submission, plan.layers().iter().map(|layer| u64::from(layer.tasks)).sum());
        let (asked, made, trace) = (id.clone(), id, submission.trace());
        let job = call.act(
            &self.handle,
            move |_| Some(Event::JobSubmitted { request_id: asked, plan, trace }),
            move |desk| {
                let id = desk.farm.request(&made)?;
                Some((desk.farm.job(&id)?, desk.farm.warnings(&id)))
            },
        );
        let (job, warnings) = job.await?.ok_or_else(|| Status::internal("the job was not entered"))?;
        self.tracer.submitted(submission, job.id.as_str());
        tracing::info!(job = %job.id, tasks = job.counts.total(), "job created");
        Ok(Response::new(v1::Job { warnings, ..convert::job(job) }))
    }

    async fn plan_job(&self, request: Request<v1::PlanJobRequest>) -> Result<Response<v1::JobPlan>, Status> {
        let request = request.into_inner();
        let text =
            Text { name: request.spec_name, spec: request.spec, files: request.files, set: request.set };
        let plan = self.planner.plan(text).await?;
        let (plan, forecasts) = self
            .handle
            .ask(move |desk| {
                let layers = 0..plan.layers().len() as u32;
                let forecasts: Vec<_> = layers.map(|layer| desk.farm.forecast(&plan, layer)).collect();
                (plan, forecasts)
            })
            .await?;
        Ok(Response::new(convert::plan(&plan, &forecasts, SAMPLES)))
    }

    async fn get_job(&self, request: Request<v1::GetJobRequest>) -> Result<Response<v1::Job>, Status> {
        let call = Call::of(&request);
        let name = request.into_inner().name;
        let id = convert::parse_job("name", &name)?;
        call.is_about(&self.handle, &id, &name).await?;
        let job = self.handle.ask(move |desk| desk.farm.job(&id)).await?;
        Ok(Response::new(convert::job(job.ok_or_else(|| not_found("job", &name))?)))
    }

    async fn list_jobs(
        &self,
        request: Request<v1::ListJobsRequest>,
    ) -> Result<Response<v1::ListJobsResponse>, Status> {
        let call = Call::of(&request);
        let v1::ListJobsRequest { page_size, page_token, show } = request.into_inner();
        let size = page::size(page_size);
        let from =
            page::read::<1>(&page_token)?.map_or(0, |[from]| usize::try_from(from).unwrap_or(usize::MAX));
        let (jobs, more) = self
            .handle
            .ask(move |desk| {
                let is_asked = |job: &croft_core::view::JobView| {
                    (show.is_empty() || job.show == show) && call.caller().may_see(&job.show).is_ok()
                };
                let jobs = desk.farm.jobs().into_iter().filter(is_asked);
                let mut jobs: Vec<_> = jobs.skip(from).take(size + 1).collect();
                let more = jobs.len() > size;
                jobs.truncate(size);
                (jobs, more)
            })
            .await?;
        let next = if more { page::write([(from + size) as u64]) } else { String::new() };
        let jobs = jobs.into_iter().map(convert::job).collect();
        Ok(Response::new(v1::ListJobsResponse { jobs, next_page_token: next }))
    }

    async fn cancel_job(&self, request: Request<v1::CancelJobRequest>) -> Result<Response<v1::Job>, Status> {
        let call = Call::of(&request);
        let v1::CancelJobRequest { name, now } = request.into_inner();
        let id = convert::parse_job("name", &name)?;
        call.is_about(&self.handle, &id, &name).await?;
        let (job, seen) = (id.clone(), id);
        let event = move |farm: &Farm| farm.plan(&job).is_some().then_some(Event::JobCancelled { job, now });
        let job = call.act(&self.handle, event, move |desk| desk.farm.job(&seen)).await?;
        let job = job.ok_or_else(|| not_found("job", &name))?;
        tracing::info!(job = %job.id, now, "job cancelled");
        Ok(Response::new(convert::job(job)))
    }

    async fn list_tasks(
        &self,
        request: Request<v1::ListTasksRequest>,
    ) -> Result<Response<v1::ListTasksResponse>, Status> {
        let call = Call::of(&request);
        let v1::ListTasksRequest { parent, selector, page_size, page_token } = request.into_inner();
        let job = convert::parse_job("parent", &parent)?;
        call.is_about(&self.handle, &job, &parent).await?;
        let selector = convert::selector(selector)?;
        let size = page::size(page_size);
        let after = match page::read::<2>(&page_token)? {
            Some([layer, task]) => Some(task_id(&job, layer, task)?),
            None => None,
        };
        let tasks =
            self.handle.ask(move |desk| desk.farm.tasks(&job, &selector, after.as_ref(), size + 1)).await?;
        let mut tasks = tasks.ok_or_else(|| not_found("job", &parent))?;
        let more = tasks.len() > size;
        tasks.truncate(size);
        let next = match tasks.last() {
            Some(last) if more => page::write([u64::from(last.id.layer), u64::from(last.id.task)]),
            _ => String::new(),
        };
        let tasks = tasks.into_iter().map(convert::task).collect();
        Ok(Response::new(v1::ListTasksResponse { tasks, next_page_token: next }))
    }

    async fn get_task(&self, request: Request<v1::GetTaskRequest>) -> Result<Response<v1::Task>, Status> {
        let call = Call::of(&request);
        let name = request.into_inner().name;
        let (job, layer, task) = convert::parse_task("name", &name)?;
        call.is_about(&self.handle, &job, &name).await?;
        let found = self
            .handle
            .ask(move |desk| {
                let layer = desk.farm.layer_index(&job, &layer)?;
                desk.farm.task(&TaskId { job, layer, task })
            })
            .await?;
        Ok(Response::new(convert::task(found.ok_or_else(|| not_found("task", &name))?)))
    }

    async fn retry_tasks(
        &self,
        request: Request<v1::RetryTasksRequest>,
    ) -> Result<Response<v1::RetryTasksResponse>, Status> {
        let call = Call::of(&request);
        let v1::RetryTasksRequest { parent, selector } = request.into_inner();
        let job = convert::parse_job("parent", &parent)?;
        call.is_about(&self.handle, &job, &parent).await?;
        let mut selector = convert::selector(selector)?;
        let retryable = [TaskState::Failed, TaskState::Cancelled];
        if selector.states.is_empty() {
            selector.states = retryable.to_vec();
        }
        selector.states.retain(|state| retryable.contains(state));
        if selector.states.is_empty() {
            return Err(invalid("selector.states", "only failed and cancelled tasks can be retried"));
        }
        let (asked, seen) = (job.clone(), job);
        let (count, counted) = tokio::sync::oneshot::channel();
        let event = move |farm: &Farm| {
            let tasks = farm.task_ids(&asked, &selector)?;
            // The receiver lives until the answer below.
            let _ = count.send(tasks.len() as u64);
            (!tasks.is_empty()).then_some(Event::TasksRetried { job: asked, tasks })
        };
        let job = call.act(&self.handle, event, move |desk| desk.farm.job(&seen)).await?;
        let job = job.ok_or_else(|| not_found("job", &parent))?;
        let queued = counted.await.unwrap_or(0);
        tracing::info!(job = %job.id, queued, "tasks retried");
        Ok(Response::new(v1::RetryTasksResponse { queued, job: Some(convert::job(job)) }))
    }

    async fn skip_tasks(
        &self,
        request: Request<v1::SkipTasksRequest>,
    ) -> Result<Response<v1::SkipTasksResponse>, Status> {
        let call = Call::of(&request);
        let v1::SkipTasksRequest { parent, selector } = request.into_inner();
        let (skipped, job) = wishes::skip(&self.handle, &call, &parent, selector).await?;
        Ok(Response::new(v1::SkipTasksResponse { skipped, job: Some(job) }))
    }

    async fn pause_job(&self, request: Request<v1::PauseJobRequest>) -> Result<Response<v1::Job>, Status> {
        let call = Call::of(&request);
        let name = request.into_inner().name;
        wishes::change(&self.handle, &call, &name, |job| Event::JobPaused { job, paused: true }).await
    }

    async fn resume_job(&self, request: Request<v1::ResumeJobRequest>) -> Result<Response<v1::Job>, Status> {
        let call = Call::of(&request);
        let name = request.into_inner().name;
        wishes::change(&self.handle, &call, &name, |job| Event::JobPaused { job, paused: false }).await
    }

    async fn update_job(&self, request: Request<v1::UpdateJobRequest>) -> Result<Response<v1::Job>, Status> {
        let call = Call::of(&request);
        let v1::UpdateJobRequest { name, priority } = request.into_inner();
        let priority =
            priority.ok_or_else(|| invalid("priority", "is missing: nothing else can be changed"))?;
        if priority > 100 {
            return Err(invalid("priority", format!("is {priority}, must be 0 to 100")));
        }
        wishes::change(&self.handle, &call, &name, move |job| Event::JobUpdated { job, priority }).await
    }

    async fn explain_wait(
        &self,
        request: Request<v1::ExplainWaitRequest>,
    ) -> Result<Response<v1::ExplainWaitResponse>, Status> {
        let call = Call::of(&request);
        let v1::ExplainWaitRequest { parent, selector } = request.into_inner();
        Ok(Response::new(wishes::explain(&self.handle, &call, &parent, selector).await?))
    }

    type StreamLogsStream = Logs;

    async fn stream_logs(&self, request: Request<v1::StreamLogsRequest>) -> Result<Response<Logs>, Status> {
        Ok(Response::new(self.reading.begin(request).await?))
    }

    type WatchJobStream = Watch;

    async fn watch_job(&self, request: Request<v1::WatchJobRequest>) -> Result<Response<Watch>, Status> {
        let call = Call::of(&request);
        let v1::WatchJobRequest { name, resume_token } = request.into_inner();
        let id = convert::parse_job("name", &name)?;
        call.is_about(&self.handle, &id, &name).await?;
        Ok(Response::new(self.watching.begin(id, &name, &resume_token).await?))
    }
}

fn task_id(job: &JobId, layer: u64, task: u64) -> Result<TaskId, Status> {
    let number = |n: u64| u32::try_from(n).map_err(|_| invalid("page_token", "names no task"));
    Ok(TaskId { job: job.clone(), layer: number(layer)?, task: number(task)? })
}
