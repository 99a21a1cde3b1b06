//! What time alone does: leases pass, deadlines strike, stops are waited out.

use crate::{
    failure::{Cause, Failure},
    ids::{AttemptId, DeviceId, JobId, TaskId, WorkerId},
    mutant::{self, Mutant},
    step::{Command, TICK_MS},
    time::Time,
    view::{TaskState, WorkerState},
    worker::Doing,
};

use std::collections::BTreeSet;

use super::Farm;

/// Workers watch their attempts' deadlines themselves; the farm strikes this much later, for those that do not.
const GRACE_MS: u64 = 5_000;
/// A pause between two ticks that is not the farm's usual pace.
const SLEPT_MS: u64 = 10 * TICK_MS;
const AGE_EVERY_MS: u64 = 60_000;

impl Farm {
    pub(super) fn check_timers(&mut self, now: Time) {
        if now.since(self.checked) < TICK_MS {
            return;
        }
        self.forgive(now.since(self.checked), now);
        self.checked = now;
        self.age(now);
        self.check_leases(now);
        self.check_stops(now);
        self.check_deadlines(now);
    }

    /// Silence counts only while somebody listens: after a pause of the coordinator itself, what was said meanwhile is
    /// still on its way to it.
    fn forgive(&mut self, slept: u64, now: Time) {
        if slept < SLEPT_MS {
            return;
        }
        for worker in self.workers.values_mut() {
            worker.seen = worker.seen.plus_ms(slept).min(now);
        }
        for attempt in self.running() {
            if let Some(live) = self.live(&attempt) {
                live.moved = live.moved.plus_ms(slept).min(now);
                live.stage_since = live.stage_since.plus_ms(slept).min(now);
            }
        }
    }

    /// Counts waiting in, once a minute: layers that were not served rise in their show's line.
    fn age(&mut self, now: Time) {
        if now.since(self.aged) < AGE_EVERY_MS {
            return;
        }
        self.aged = now;
        self.avoided.forget(now);
        let line = self.ready.values().flatten().map(|ready| (ready.job.clone(), ready.layer.0));
        let waiting: Vec<(JobId, u32)> = line.collect();
        for (job, layer) in waiting {
            self.refresh(&job, layer);
        }
    }

    fn check_leases(&mut self, now: Time) {
        let lease_ms = self.config.lease_ms;
        let silent: Vec<WorkerId> = self
            .workers
            .iter()
            .filter(|(_, w)| w.state == WorkerState::Ready && now.since(w.seen) > lease_ms)
            .filter(|_| !mutant::on(Mutant::LeaseNeverPasses))
            .map(|(id, _)| id.clone())
            .collect();
        for id in silent {
            let why = format!("its worker was silent for more than {} s", lease_ms as f64 / 1e3);
            self.forsake(now, &id, WorkerState::Lost, Cause::LeaseLost, &why);
        }
    }

    /// A rank that does not stop when asked is its worker's business; its device is not kept from work for ever.
    fn check_stops(&mut self, now: Time) {
        let mut over = Vec::new();
        for (id, worker) in &self.workers {
            for (index, device) in &worker.devices {
                for tenant in device.busy.tenants() {
                    if matches!(tenant.doing, Doing::Stops { until } if until <= now) {
                        over.push((DeviceId { worker: id.clone(), index: *index }, tenant.held()));
                    }
                }
            }
        }
        for (device, held) in over.into_iter().filter(|_| !mutant::on(Mutant::StopsNeverWaitedOut)) {
            self.release_device(&device, &held.attempt, held.rank);
        }
    }

    fn check_deadlines(&mut self, now: Time) {
        let mut late: Vec<(TaskId, Failure)> = Vec::new();
        for attempt in self.running() {
            let Some(job) = self.jobs.get(&attempt.task.job) else { continue };
            let task = job.layers[attempt.task.layer as usize].tasks.get(&attempt.task.task);
            let Some(live) = task
                .filter(|task| task.state == TaskState::Running)
                .and_then(|task| task.live.as_ref())
                .filter(|live| live.fence == attempt.fence)
            else {
                continue;
            };
            let total_ms = job.plan.timeout_total_ms();
            if now.since(live.started) > total_ms.saturating_add(GRACE_MS) {
                let message = format!("it ran longer than {} s", total_ms as f64 / 1e3);
                let remedy = "raise policy.timeout.total, or ask for less (steps, size, num_frames)";
                late.push((attempt.task, Failure::new(Cause::TimeoutTotal, message, remedy)));
            } else if let Some(ms) = job.plan.stages().of(live.stage)
                && now.since(live.stage_since) > ms
            {
                let stage = format!("{:?}", live.stage).to_lowercase();
                let message = format!("its stage '{stage}' took longer than {} s", ms as f64 / 1e3);
                let remedy = format!("raise policy.timeout.{stage}, or look at the worker's rank log");
                late.push((attempt.task, Failure::new(Cause::TimeoutTotal, message, remedy)));
            } else if now.since(live.moved) > live.no_progress_ms.saturating_add(GRACE_MS) {
                let message = format!("no step ended for {} s", live.no_progress_ms as f64 / 1e3);
                let remedy = "look at the worker's rank log; policy.timeout.no_progress sets the limit";
                late.push((attempt.task, Failure::new(Cause::TimeoutNoProgress, message, remedy)));
            }
        }
        for (task, failure) in late.into_iter().filter(|_| !mutant::on(Mutant::DeadlinesNeverStrike)) {
            self.stop(now, &task, true, failure);
        }
    }

    /// Running attempts, each once however many ranks it has.
    fn running(&self) -> BTreeSet<AttemptId> {
        self.held().map(|held| held.attempt.clone()).collect()
    }

    /// When something would happen by time alone, at the latest; `None` when nothing waits. A tick then is enough.
    #[must_use]
    pub fn next_timer(&self) -> Option<Time> {
        let lease_ms = self.config.lease_ms;
        let leases = self
            .workers
            .values()
            .filter(|worker| worker.state == WorkerState::Ready)
            .map(|worker| worker.seen.plus_ms(lease_ms + 1));
        let devices = self.workers.values().flat_map(|worker| worker.devices.values());
        let holds = devices.map(|device| device.held_until).filter(|until| *until > self.checked);
        let delayed = self.delayed.first().map(|(due, _)| *due);
        let delayed = delayed.into_iter().chain(self.unpublished.first().map(|(due, _)| *due));
        let deadlines = self.running().into_iter().filter_map(|attempt| {
            let job = self.jobs.get(&attempt.task.job)?;
            let task = job.layers[attempt.task.layer as usize].tasks.get(&attempt.task.task)?;
            let live = task.live.as_ref()?;
            let total = live.started.plus_ms(job.plan.timeout_total_ms().saturating_add(GRACE_MS + 1));
            let stage = job.plan.stages().of(live.stage).map(|ms| live.stage_since.plus_ms(ms + 1));
            Some(
                total
                    .min(stage.unwrap_or(total))
                    .min(live.moved.plus_ms(live.no_progress_ms.saturating_add(GRACE_MS + 1))),
            )
        });
        let devices = self.workers.values().flat_map(|worker| worker.devices.values());
        let stops =
            devices.flat_map(|device| device.busy.tenants()).filter_map(|tenant| match tenant.doing {
                Doing::Stops { until } => Some(until),
                Doing::Runs => None,
            });
        let all = leases.chain(holds).chain(delayed).chain(deadlines).chain(stops);
        // Timers are looked at once in TICK_MS.
        all.min().map(|due| due.max(self.checked.plus_ms(TICK_MS)))
    }

    /// Ends every stream; for a coordinator that stops in good order.
    #[must_use]
    pub fn hang_up(&self) -> Vec<Command> {
        self.sessions.keys().map(|session| Command::HangUp { session: *session }).collect()
    }
}
