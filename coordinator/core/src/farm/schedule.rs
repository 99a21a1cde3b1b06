//! Who renders what: free devices meet ready tasks, once a tick.

use crate::{
    ids::{DeviceId, SessionId, TaskId},
    time::Time,
};

use super::{Farm, Ready};

/// Ready layers that one device looks at; the rest wait their turn.
const LAYERS_LOOKED_AT: usize = 64;

impl Farm {
    /// Gives every free device a task while there are any.
    ///
    /// First the devices that hold the weights of something urgent, then the others: loading a model again costs more
    /// than a poor order among equals.
    pub(super) fn schedule(&mut self, now: Time) {
        self.requeue_due(now);
        for warm_only in [true, false] {
            let free: Vec<DeviceId> =
                if self.ready.is_empty() { return } else { self.free.iter().cloned().collect() };
            for device in free {
                if self.ready.is_empty() {
                    return;
                }
                let Some(session) = self.usable(now, &device) else { continue };
                if let Some(task) = self.choose(&device, warm_only) {
                    self.start(now, device, session, task);
                }
            }
        }
    }

    /// Tasks whose wait after a failure is over join the line.
    fn requeue_due(&mut self, now: Time) {
        while let Some((due, task)) = self.delayed.first().cloned() {
            if due > now {
                return;
            }
            self.delayed.pop_first();
            let Some(job) = self.jobs.get_mut(&task.job) else { continue };
            let layer = &mut job.layers[task.layer as usize];
            // It may have been cancelled, retried by hand, or failed anew since.
            let waits = layer
                .tasks
                .get(&task.task)
                .is_some_and(|t| t.state == crate::view::TaskState::Queued && t.not_before <= now);
            if waits {
                layer.requeued.insert(task.task);
                self.refresh(&task.job, task.layer);
            }
        }
    }

    /// The stream of a device that may be given work now.
    fn usable(&self, now: Time, device: &DeviceId) -> Option<SessionId> {
        let worker = self.workers.get(&device.worker)?;
        let held = worker.devices.get(&device.index)?.held_until > now;
        if held { None } else { worker.session }
    }

    /// The first task, in the order of `ready`, for this device; of equal priority only such whose model it holds, when
    /// `warm_only`.
    fn choose(&mut self, device: &DeviceId, warm_only: bool) -> Option<TaskId> {
        let others = self.workers.iter().any(|(id, worker)| *id != device.worker && worker.session.is_some());
        let urgent = self.ready.first()?.priority;
        let looked_at: Vec<Ready> = self
            .ready
            .iter()
            .take_while(|ready| !warm_only || ready.priority == urgent)
            .take(LAYERS_LOOKED_AT)
            .cloned()
            .collect();
        for Ready { layer, job: id, .. } in looked_at {
            let layer = layer.0;
            let job = self.jobs.get_mut(&id).expect("ready layers belong to jobs that exist");
            let model = &job.plan.layers()[layer as usize].card.name;
            let warm = self
                .workers
                .get(&device.worker)
                .and_then(|worker| worker.devices.get(&device.index))
                .is_some_and(|device| device.holds(model));
            if warm_only && !warm {
                continue;
            }
            let plan = &job.plan;
            let order = |position| plan.order(layer, position);
            if let Some(task) = job.layers[layer as usize].next(&device.worker, others, order) {
                return Some(TaskId { job: id, layer, task });
            }
        }
        None
    }
}
