//! Answers to questions. Nothing here changes anything.

use crate::{
    access::Caller,
    ids::{AttemptId, DeviceId, JobId, SessionId, TaskId},
    job::{Job, Layer},
    plan::Plan,
    time::Time,
    view::{
        DeviceView, JobView, LayerView, Selector, StatusView, TaskState, TaskView, WorkerState, WorkerView,
    },
    worker::{Busy, Device, Tenant, Worker},
};

use super::Farm;

/// What a task is called to somebody who may not know of its show.
const ANOTHERS: &str = "a task of another show";

impl Farm {
    #[must_use]
    pub fn job(&self, id: &JobId) -> Option<JobView> {
        self.jobs.get(id).map(|job| self.view_job(id, job))
    }

    /// All jobs, oldest first.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobView> {
        let mut jobs: Vec<(&JobId, &Job)> = self.jobs.iter().collect();
        jobs.sort_by_key(|(_, job)| job.number);
        jobs.into_iter().map(|(id, job)| self.view_job(id, job)).collect()
    }

    /// The job that a request made.
    #[must_use]
    pub fn request(&self, request_id: &str) -> Option<JobId> {
        self.requests.get(request_id).cloned()
    }

    #[must_use]
    pub fn plan(&self, id: &JobId) -> Option<&Plan> {
        self.jobs.get(id).map(|job| &job.plan)
    }

    #[must_use]
    pub fn layer_index(&self, id: &JobId, name: &str) -> Option<u32> {
        let at = self.jobs.get(id)?.plan.layers().iter().position(|layer| layer.name == name)?;
        u32::try_from(at).ok()
    }

    /// `job/layer/0001`, as people see a task.
    #[must_use]
    pub fn name(&self, id: &TaskId) -> Option<String> {
        let layer = self.jobs.get(&id.job)?.plan.layers().get(id.layer as usize)?;
        Some(format!("{}/{}/{:04}", id.job, layer.name, id.task + 1))
    }

    /// The same for somebody who may not know of every show.
    pub(super) fn name_for(&self, reader: &Caller, id: &TaskId) -> Option<String> {
        let show = self.jobs.get(&id.job)?.plan.show();
        if reader.may_see(show).is_ok() { self.name(id) } else { Some(ANOTHERS.to_owned()) }
    }

    /// `cpu`, `nvidia` …
    #[must_use]
    pub fn device_kind(&self, id: &DeviceId) -> Option<&str> {
        Some(&self.workers.get(&id.worker)?.devices.get(&id.index)?.info.kind)
    }

    /// The kind of device that rank 0 of a live attempt is on.
    #[must_use]
    pub fn kind_of(&self, attempt: &AttemptId) -> Option<&str> {
        let layer = self.jobs.get(&attempt.task.job)?.layers.get(attempt.task.layer as usize)?;
        let live = layer.tasks.get(&attempt.task.task)?.live.as_ref()?;
        self.device_kind(live.device())
    }

    /// The attempt of a task that runs or is being published.
    #[must_use]
    pub fn live_attempt(&self, id: &TaskId) -> Option<AttemptId> {
        let task = self.jobs.get(&id.job)?.layers.get(id.layer as usize)?.tasks.get(&id.task)?;
        let live = task.live.as_ref()?;
        Some(AttemptId { task: id.clone(), number: live.number, fence: live.fence })
    }

    /// By rank, the streams over which a live attempt reports.
    #[must_use]
    pub fn seats(&self, attempt: &AttemptId) -> Option<Vec<Option<SessionId>>> {
        let job = self.jobs.get(&attempt.task.job)?;
        let task = job.layers.get(attempt.task.layer as usize)?.tasks.get(&attempt.task.task)?;
        let live = task.live.as_ref().filter(|live| live.fence == attempt.fence)?;
        Some(live.seats.iter().map(|seat| seat.session).collect())
    }

    /// Whether files of `attempt` may still be written: it is the one that renders or is being published.
    #[must_use]
    pub fn current(&self, attempt: &AttemptId) -> bool {
        let task = self
            .jobs
            .get(&attempt.task.job)
            .and_then(|job| job.layers.get(attempt.task.layer as usize))
            .and_then(|layer| layer.tasks.get(&attempt.task.task));
        task.is_some_and(|task| task.is_live(attempt.fence))
    }

    #[must_use]
    pub fn task(&self, id: &TaskId) -> Option<TaskView> {
        let job = self.jobs.get(&id.job)?;
        let layer = job.layers.get(id.layer as usize)?;
        (id.task < layer.total).then(|| self.view_task(job, layer, id))
    }

    /// Up to `limit` tasks that match, by layer and index, those behind `after`.
    #[must_use]
    pub fn tasks(
        &self,
        id: &JobId,
        selector: &Selector,
        after: Option<&TaskId>,
        limit: usize,
    ) -> Option<Vec<TaskView>> {
        let job = self.jobs.get(id)?;
        let ids = self.select(job, id, selector, after).take(limit);
        Some(ids.map(|task| self.view_task(job, &job.layers[task.layer as usize], &task)).collect())
    }

    /// Every task that matches, by name only.
    #[must_use]
    pub fn task_ids(&self, id: &JobId, selector: &Selector) -> Option<Vec<TaskId>> {
        let job = self.jobs.get(id)?;
        Some(self.select(job, id, selector, None).collect())
    }

    fn select<'a>(
        &'a self,
        job: &'a Job,
        id: &'a JobId,
        selector: &'a Selector,
        after: Option<&TaskId>,
    ) -> impl Iterator<Item = TaskId> + 'a {
        let (layer0, task0) = after.map_or((0, 0), |after| (after.layer, after.task + 1));
        (layer0..job.layers.len() as u32)
            .filter(move |at| {
                selector.layer.as_ref().is_none_or(|name| *name == job.plan.layers()[*at as usize].name)
            })
            .flat_map(move |at| {
                let from = if at == layer0 { task0 } else { 0 };
                (from..job.layers[at as usize].total).map(move |task| (at, task))
            })
            .filter(move |(at, task)| {
                (selector.tasks.is_empty() || selector.tasks.contains(task))
                    && (selector.states.is_empty()
                        || selector.states.contains(&job.layers[*at as usize].state(*task)))
                    && matches_axes(&job.plan, *at, *task, selector)
            })
            .map(move |(layer, task)| TaskId { job: id.clone(), layer, task })
    }

    #[must_use]
    pub fn workers(&self) -> Vec<WorkerView> {
        self.workers_for(&Caller::Local)
    }

    /// The same for somebody who may not know of every show: what runs of others has no name.
    #[must_use]
    pub fn workers_for(&self, reader: &Caller) -> Vec<WorkerView> {
        let view = |(id, worker): (&crate::ids::WorkerId, &Worker)| WorkerView {
            id: id.clone(),
            state: match worker.state {
                WorkerState::Ready if worker.session.is_none() => WorkerState::Lost,
                state => state,
            },
            host: worker.host.clone(),
            version: worker.version.clone(),
            tags: worker.tags.clone(),
            seen: worker.seen,
            locks: worker.locks.clone(),
            devices: worker.devices.values().map(|device| self.view_device(device, reader)).collect(),
        };
        self.workers.iter().map(view).collect()
    }

    /// Whose stream it is.
    #[must_use]
    pub fn worker_of(&self, session: crate::ids::SessionId) -> Option<crate::ids::WorkerId> {
        self.sessions.get(&session).cloned()
    }

    #[must_use]
    pub fn status(&self) -> StatusView {
        let ready = self.workers.values().filter(|worker| worker.session.is_some());
        let mut status = StatusView::default();
        for worker in ready {
            status.workers += 1;
            status.devices += worker.devices.len() as u32;
            status.devices_busy +=
                worker.devices.values().filter(|device| device.busy != Busy::Free).count() as u32;
        }
        for job in self.jobs.values().filter(|job| job.settled.is_none()) {
            let counts = job.counts();
            status.jobs_active += 1;
            status.tasks_queued += counts.queued + counts.waiting;
            status.tasks_running += counts.running + counts.publishing;
        }
        status
    }

    /// What would keep the layers of a job waiting on the devices that are here.
    #[must_use]
    pub fn warnings(&self, id: &JobId) -> Vec<String> {
        let Some(plan) = self.plan(id) else { return Vec::new() };
        (0..plan.layers().len()).filter_map(|layer| self.forecast(plan, layer as u32).warning).collect()
    }

    fn view_job(&self, id: &JobId, job: &Job) -> JobView {
        let layers = (0..).zip(job.plan.layers()).zip(&job.layers).map(|((at, plan), layer)| LayerView {
            name: plan.name.clone(),
            model: plan.card.name.clone(),
            after: plan.after.map(|at| job.plan.layers()[at as usize].name.clone()),
            counts: layer.counts.clone(),
            seating: job.plan.resources(at).seating().or(layer.seating),
        });
        let devices = u64::from(self.status_devices()).max(1);
        let left = job.plan.layers().iter().zip(&job.layers).map(|(plan, layer)| {
            let left = layer.counts.unsettled();
            let pace = layer
                .duration
                .median_ms()
                .or_else(|| self.paces.get(&plan.card.digest).and_then(crate::pace::Pace::median_ms));
            if left == 0 { Some(0) } else { pace.map(|ms| ms.saturating_mul(left)) }
        });
        let left_ms: Option<u64> = left.sum();
        JobView {
            id: id.clone(),
            show: job.plan.show().to_owned(),
            state: job.state(),
            priority: job.priority,
            paused: job.paused,
            labels: job.plan.labels().clone(),
            created: job.created,
            settled: job.settled,
            counts: job.counts(),
            layers: layers.collect(),
            spec_digest: job.plan.spec_digest().to_owned(),
            device_ms: job.device_ms,
            eta_ms: left_ms.map(|ms| ms / devices),
        }
    }

    fn status_devices(&self) -> u32 {
        let ready = self.workers.values().filter(|worker| worker.session.is_some());
        ready.map(|worker| worker.devices.len() as u32).sum()
    }

    fn view_task(&self, job: &Job, layer: &Layer, id: &TaskId) -> TaskView {
        let recipe = job.plan.recipe(&id.job, id.layer, id.task);
        let task = layer.tasks.get(&id.task);
        let state = layer.state(id.task);
        let output =
            if recipe.output.still.is_empty() { recipe.output.frames_dir } else { recipe.output.still };
        let failure = match (task, &layer.rest) {
            (Some(task), _) => task.failure.as_deref().cloned(),
            (None, Some(why)) => {
                Some(crate::failure::Failure::new(crate::failure::Cause::Cancelled, &**why, ""))
            }
            (None, None) => None,
        };
        TaskView {
            id: id.clone(),
            layer: job.plan.layers()[id.layer as usize].name.clone(),
            state,
            axes: job.plan.axes(id.layer, id.task),
            output,
            seed: recipe.seed,
            attempts: task.map(|task| task.attempts()).unwrap_or_default(),
            failure,
            published: task.and_then(|task| task.published.as_deref().cloned()),
            wait_reason: self.why(job, id, state),
        }
    }

    /// Why a task has not started, in a few words: what a list can afford. [`Farm::explain`] has all of it.
    fn why(&self, job: &Job, id: &TaskId, state: TaskState) -> String {
        match state {
            TaskState::Waiting => self.waits_for(job, id),
            TaskState::Queued => self.waits_in_line(job, id),
            TaskState::Running
            | TaskState::Publishing
            | TaskState::Succeeded
            | TaskState::Failed
            | TaskState::Cancelled
            | TaskState::Skipped => String::new(),
        }
    }

    fn waits_in_line(&self, job: &Job, id: &TaskId) -> String {
        if job.paused {
            return "the job is paused".to_owned();
        }
        let task = job.layers[id.layer as usize].tasks.get(&id.task);
        if let Some(due) = task.map(|task| task.not_before)
            && due > self.checked
        {
            return format!("tries again in {} s after a failure", due.since(self.checked).div_ceil(1_000));
        }
        let status = self.status();
        match (status.workers, status.devices - status.devices_busy.min(status.devices)) {
            (0, _) => "no worker is connected".to_owned(),
            (_, 0) => format!("all {} devices are busy", status.devices),
            (_, _) => "waits its turn; `croft why` tells more".to_owned(),
        }
    }

    fn view_device(&self, device: &Device, reader: &Caller) -> DeviceView {
        let running = device.busy.tenants().filter_map(|Tenant { attempt, .. }| {
            let name = self.name_for(reader, &attempt.task)?;
            Some(if name == ANOTHERS { name } else { format!("{name}#{}", attempt.number) })
        });
        let held = if device.held_until > self.checked {
            let left = Time::since(device.held_until, self.checked).div_ceil(1_000);
            format!("on hold for {left} s after {} failures in a row", device.row)
        } else {
            String::new()
        };
        DeviceView {
            info: device.info.clone(),
            running: running.collect(),
            succeeded: device.succeeded,
            failed: device.failed,
            held,
        }
    }
}

fn matches_axes(plan: &Plan, layer: u32, task: u32, selector: &Selector) -> bool {
    if selector.axes.is_empty() {
        return true;
    }
    let axes = plan.axes(layer, task);
    selector.axes.iter().all(|(name, value)| axes.get(name) == Some(value))
}
