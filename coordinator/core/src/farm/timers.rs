//! What time alone does: leases pass, deadlines strike, stops are waited out.

use crate::{
    failure::{Cause, Failure},
    ids::{AttemptId, DeviceId, TaskId, WorkerId},
    step::{Command, TICK_MS},
    time::Time,
    view::{TaskState, WorkerState},
    worker::Busy,
};

use super::Farm;

/// Workers watch their attempts' deadlines themselves; the farm strikes this much later, for those that do not.
const GRACE_MS: u64 = 5_000;

impl Farm {
    pub(super) fn check_timers(&mut self, now: Time) {
        if now.since(self.checked) < TICK_MS {
            return;
        }
        self.checked = now;
        self.check_leases(now);
        self.check_stops(now);
        self.check_deadlines(now);
    }

    fn check_leases(&mut self, now: Time) {
        let lease_ms = self.config.lease_ms;
        let silent: Vec<WorkerId> = self
            .workers
            .iter()
            .filter(|(_, w)| w.state == WorkerState::Ready && now.since(w.seen) > lease_ms)
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
                if let Busy::Stopping { attempt, until } = &device.busy
                    && *until <= now
                {
                    over.push((DeviceId { worker: id.clone(), index: *index }, attempt.clone()));
                }
            }
        }
        for (device, attempt) in over {
            self.release_device(&device, &attempt);
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
            } else if now.since(live.moved) > live.no_progress_ms.saturating_add(GRACE_MS) {
                let message = format!("no step ended for {} s", live.no_progress_ms as f64 / 1e3);
                let remedy = "look at the worker's rank log; policy.timeout.no_progress sets the limit";
                late.push((attempt.task, Failure::new(Cause::TimeoutNoProgress, message, remedy)));
            }
        }
        for (task, failure) in late {
            self.stop(now, &task, true, failure);
        }
    }

    fn running(&self) -> Vec<AttemptId> {
        let devices = self.workers.values().flat_map(|worker| worker.devices.values());
        let attempts = devices.filter_map(|device| match &device.busy {
            Busy::With(attempt) => Some(attempt.clone()),
            Busy::Free | Busy::Stopping { .. } => None,
        });
        attempts.collect()
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
        let deadlines = self.running().into_iter().filter_map(|attempt| {
            let job = self.jobs.get(&attempt.task.job)?;
            let task = job.layers[attempt.task.layer as usize].tasks.get(&attempt.task.task)?;
            let live = task.live.as_ref()?;
            let total = live.started.plus_ms(job.plan.timeout_total_ms().saturating_add(GRACE_MS + 1));
            Some(total.min(live.moved.plus_ms(live.no_progress_ms.saturating_add(GRACE_MS + 1))))
        });
        let stops =
            self.workers.values().flat_map(|worker| worker.devices.values()).filter_map(
                |device| match &device.busy {
                    Busy::Stopping { until, .. } => Some(*until),
                    Busy::Free | Busy::With(_) => None,
                },
            );
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
