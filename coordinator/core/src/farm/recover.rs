//! A farm out of its records, after a restart or a change of leader.
//!
//! Running attempts live on: their workers count as away since now, and each is adopted when its worker comes back with
//! it, or ends when the lease passes. What was decided to be published is published again, which changes nothing where
//! it was done.

use crate::{
    failure::{Cause, Failure, RETRY_WAIT_MS_MAX},
    ids::{AttemptId, DeviceId, JobId, SessionId, TaskId},
    job::Job,
    mutant::{self, Mutant},
    plan::Plan,
    record::{self, Error, Records, ShowRecord},
    show::Show,
    task::Ended,
    time::Time,
    view::{TaskState, WorkerState},
    worker::{Device, Held, Lane, Worker},
};

use super::{Config, Farm, usage};

impl Farm {
    /// The farm that `records` tell of, at `now`. `fence_seed` as for [`Farm::new`]; the stored bound counts as well.
    ///
    /// # Errors
    /// When a record is of a later format or damaged, and which.
    pub fn recover(
        config: Config,
        fence_seed: u64,
        now: Time,
        records: &[(String, Vec<u8>)],
    ) -> Result<Self, Error> {
        let records = Records::read(records)?;
        let mut farm = Self::new(config, fence_seed.max(records.fences));
        farm.checked = now;
        farm.aged = now;
        for (name, record) in records.shows {
            let ShowRecord { settings, set, forgotten, .. } = record;
            let show = Show { settings, set, forgotten, ..Show::default() };
            farm.shows.insert(name, show);
        }
        farm.limits = records.limits.into_iter().map(|(name, record)| (name, record.max)).collect();
        farm.invitations =
            records.invitations.into_iter().map(|(hash, record)| (hash, record.invitation)).collect();
        for ((kind, chunk), record) in records.audit {
            farm.audit.recover(kind, chunk, record.entries);
        }
        for (id, record) in records.workers {
            let worker = Worker {
                state: WorkerState::Ready,
                session: None,
                incarnation: record.incarnation,
                host: record.host,
                version: record.build,
                tags: record.tags,
                link: record.link,
                seen: now,
                locks: record.locks.into_iter().collect(),
                devices: record.devices.into_iter().map(|info| (info.index, Device::new(info))).collect(),
            };
            farm.workers.insert(id, worker);
        }
        for (id, record) in records.jobs {
            let job = recovered_job(&id, record, now)?;
            farm.submissions = farm.submissions.max(job.number + 1);
            if !mutant::on(Mutant::RequestsForgotten) {
                farm.requests.insert(job.request_id.clone(), id.clone());
            }
            farm.shows.entry(job.plan.show().to_owned()).or_default();
            farm.jobs.insert(id, job);
        }
        for (chunk, record) in records.chunks {
            let layer =
                farm.jobs.get_mut(&chunk.job).and_then(|job| job.layers.get_mut(chunk.layer as usize));
            // Of a job that was forgotten: its own record is gone, and so the farm knows nothing of it.
            let Some(layer) = layer else { continue };
            for task in record.tasks.into_iter().filter(|task| task.task < layer.total) {
                layer.tasks.insert(task.task, task.task(now));
            }
        }
        let jobs: Vec<JobId> = farm.jobs.keys().cloned().collect();
        for id in &jobs {
            farm.resume(now, id);
        }
        Ok(farm)
    }

    /// Everything about a job that follows from its tasks.
    fn resume(&mut self, now: Time, id: &JobId) {
        let job = self.jobs.get_mut(id).expect("the caller lists what is there");
        for at in 0..job.layers.len() {
            if let Some(before) = job.plan.layers()[at].after {
                let before = &job.layers[before as usize];
                let done: Vec<u32> =
                    before.tasks.iter().filter(|(_, task)| task.state.done()).map(|(at, _)| *at).collect();
                let all_done = done.len() as u64 == u64::from(before.total);
                job.layers[at].recovered(done.into_iter(), all_done);
            }
            job.layers[at].recount();
        }
        // The job's own record may be older than its tasks'.
        let ended = job.layers.iter().flat_map(|layer| layer.tasks.values()).flat_map(|task| &task.ended);
        let spent = ended.map(Ended::device_ms).fold(0, u64::saturating_add);
        job.device_ms = job.device_ms.max(spent);
        for task in job.layers.iter().flat_map(|layer| layer.tasks.values()) {
            job.used.add_all(&usage::used(task));
        }
        let (mut live, mut waiting) = (Vec::new(), Vec::new());
        for (at, layer) in job.layers.iter_mut().enumerate() {
            for (task, known) in &mut layer.tasks {
                let task = TaskId { job: id.clone(), layer: at as u32, task: *task };
                // A clock that was set back must not turn a wait of seconds into one of days.
                known.not_before = known.not_before.min(now.plus_ms(RETRY_WAIT_MS_MAX));
                match known.state {
                    TaskState::Queued if known.not_before > now => {
                        if !mutant::on(Mutant::DelayedForgotten) {
                            self.delayed.insert((known.not_before, task));
                        }
                    }
                    TaskState::Queued => drop(layer.requeued.insert(task.task)),
                    TaskState::Running | TaskState::Publishing => live.push(task),
                    TaskState::Waiting => waiting.push(task),
                    TaskState::Succeeded | TaskState::Failed | TaskState::Cancelled | TaskState::Skipped => {}
                }
            }
        }
        // That a task may start is not written when it becomes so.
        for task in waiting {
            if job.may_start(task.layer, task.task) && !mutant::on(Mutant::WaitingForgotten) {
                job.layers[task.layer as usize].release(task.task, now);
            }
        }
        let layers = job.layers.len() as u32;
        for task in live {
            self.take_up(now, &task);
        }
        (0..layers).for_each(|layer| self.refresh(id, layer));
        self.settle_job(now, id);
    }

    /// A live attempt goes on where it was.
    fn take_up(&mut self, now: Time, id: &TaskId) {
        let job = self.jobs.get_mut(&id.job).expect("its task was just listed");
        let show = job.plan.show().to_owned();
        let layer = &mut job.layers[id.layer as usize];
        let task = layer.tasks.get_mut(&id.task).expect("it was just listed");
        let state = task.state;
        let Some(live) = task.live.as_mut() else {
            // No record of ours lacks it; a task that cannot be followed starts anew.
            job.enqueue(id.layer, id.task, now, now);
            self.changed(id);
            return;
        };
        let attempt = AttemptId { task: id.clone(), number: live.number, fence: live.fence };
        let ranks = live.seats.len() as u32;
        let seats =
            (0..).zip(&live.seats).filter(|(_, seat)| !seat.done || mutant::on(Mutant::DoneRanksHold));
        let held: Vec<(u32, DeviceId)> = seats.map(|(rank, seat)| (rank, seat.device.clone())).collect();
        if state == TaskState::Publishing && mutant::on(Mutant::PublishingRequeued) {
            return self.end_badly(now, &attempt, Failure::new(Cause::LeaseLost, "planted", ""), true);
        }
        if state == TaskState::Publishing {
            live.count(now, 1);
            if !mutant::on(Mutant::PublishingForgotten) {
                self.publish(&attempt);
            }
            return;
        }
        live.charged_ms = Some(0);
        let devices: Vec<DeviceId> = live.seats.iter().map(|seat| seat.device.clone()).collect();
        let lane = live.flies.then(|| Lane::of(id, &devices));
        let mut lost = false;
        for (rank, device) in held {
            let held = Held { attempt: attempt.clone(), rank };
            let begun = self.change(&device, |busy| {
                let is_second = mutant::on(Mutant::LaneForgotten) && busy.running().count() > 0;
                !is_second && busy.begin(held, lane.clone())
            });
            lost |= begun != Some(true);
        }
        let is_first = self.takes_off(&attempt) == 1 || mutant::on(Mutant::LaneHeldTwice);
        if let Some(show) = self.shows.get_mut(&show)
            && !mutant::on(Mutant::ShareForgotten)
        {
            show.devices += if is_first { ranks } else { 0 };
        }
        if lost {
            let failure = Failure::new(Cause::LeaseLost, "its device is not known any more", "");
            self.end_badly(now, &attempt, failure, true);
        }
    }

    /// The first session number that lies above all that a farm like this one may have seen.
    #[must_use]
    pub fn first_session(&self) -> SessionId {
        SessionId(self.next_fence)
    }
}

fn recovered_job(id: &JobId, record: record::JobRecord, now: Time) -> Result<Job, Error> {
    let key = record::job_key(id);
    let damaged = |what: String| Error::Damaged { key: key.clone(), what };
    let plan = Plan::from_record(record.plan).map_err(|problems| {
        damaged(problems.first().map_or_else(|| "its plan".to_owned(), ToString::to_string))
    })?;
    let mut job = Job::new(plan, record.request_id, record.number, now);
    job.created = record.created;
    job.settled = record.settled;
    job.cancelled = record.cancelled;
    job.paused = record.paused;
    job.priority = record.priority.min(100);
    job.device_ms = record.device_ms;
    job.trace = record.trace;
    for (layer, rest) in job.layers.iter_mut().zip(record.rest) {
        layer.rest = rest.map(Into::into);
    }
    for (layer, seating) in job.layers.iter_mut().zip(record.seatings) {
        layer.seating = seating;
    }
    Ok(job)
}
