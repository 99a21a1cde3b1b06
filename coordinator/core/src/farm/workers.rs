//! Workers come, are heard, and go.

use std::collections::BTreeMap;

use crate::{
    failure::{Cause, Failure},
    ids::{AttemptId, DeviceId, SessionId, WorkerId},
    step::{Command, Joined},
    time::Time,
    view::{TaskState, WorkerState},
    worker::{Busy, Device, Worker},
};

use super::Farm;

impl Farm {
    pub(super) fn worker_joined(&mut self, now: Time, hello: Joined) {
        let Joined { session, worker: id, incarnation, host, version, tags, devices, running } = hello;
        if let Some(known) = self.workers.get(&id)
            && known.session.is_some()
            && known.incarnation != incarnation
        {
            let reason = format!(
                "a worker named '{id}' is connected already, from {}; give this one another --name",
                known.host
            );
            self.out.commands.push(Command::Refuse { session, reason });
            return;
        }
        let mut known = self.workers.remove(&id);
        if let Some(old) = known.as_ref().and_then(|known| known.session) {
            // The same process dialled again: its old stream is dead, even where nobody noticed yet.
            self.sessions.remove(&old);
            self.out.commands.push(Command::HangUp { session: old });
        }
        let same_process = known.as_ref().is_some_and(|known| known.incarnation == incarnation);
        let mut now_has: BTreeMap<u32, Device> = BTreeMap::new();
        let mut broken = Vec::new();
        for info in devices {
            let index = info.index;
            let before = known.as_mut().and_then(|known| known.devices.remove(&index));
            let device = match before {
                Some(mut device) => {
                    device.info = info;
                    device
                }
                None => Device::new(info),
            };
            now_has.insert(index, device);
        }
        // What the farm believes to run there, and the worker does not know of, is lost.
        let gone = known.iter_mut().flat_map(|known| known.devices.values_mut());
        for device in now_has.values_mut().chain(gone) {
            if let Busy::With(attempt) | Busy::Stopping { attempt, .. } = &device.busy
                && !(same_process && running.contains(attempt))
            {
                broken.push(attempt.clone());
                device.busy = Busy::Free;
            }
        }
        self.sessions.insert(session, id.clone());
        let worker = Worker {
            state: WorkerState::Ready,
            session: Some(session),
            incarnation,
            host,
            version,
            tags,
            seen: now,
            devices: now_has,
        };
        self.workers.insert(id.clone(), worker);
        self.out.commands.push(Command::Welcome { session });
        for attempt in running {
            self.adopt_or_revoke(&id, session, attempt);
        }
        for attempt in broken {
            let message = if same_process {
                format!("{id} does not know of it any more")
            } else {
                format!("{id} started anew while it ran")
            };
            self.end_badly(now, &attempt, Failure::new(Cause::LeaseLost, message, ""));
        }
        self.offer_devices(&id);
    }

    fn adopt_or_revoke(&mut self, id: &WorkerId, session: SessionId, attempt: AttemptId) {
        let state = self.task_state(&attempt.task);
        if let Some(live) = self.live(&attempt)
            && live.device.worker == *id
            && state == Some(TaskState::Running)
        {
            live.session = Some(session);
        } else if state != Some(TaskState::Publishing) || self.live(&attempt).is_none() {
            self.out.commands.push(Command::Revoke { session, attempt, now: true });
        }
    }

    /// Puts the free devices of a connected worker on offer.
    fn offer_devices(&mut self, id: &WorkerId) {
        let Some(worker) = self.workers.get(id) else { return };
        for (index, device) in &worker.devices {
            if device.busy == Busy::Free {
                self.free.insert(DeviceId { worker: id.clone(), index: *index });
            }
        }
    }

    /// A sign of life. Gives the worker's name, or `None` for a stream that no longer counts.
    pub(super) fn heard(&mut self, now: Time, session: SessionId) -> Option<WorkerId> {
        let id = self.sessions.get(&session)?.clone();
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.seen = now;
        }
        Some(id)
    }

    /// A stream ended. Without a goodbye its attempts live on until the lease passes: networks hiccup.
    pub(super) fn worker_left(&mut self, now: Time, session: SessionId, goodbye: bool) {
        let Some(id) = self.sessions.remove(&session) else { return };
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.session = None;
        self.free.retain(|device| device.worker != id);
        let mut running = Vec::new();
        for device in worker.devices.values() {
            if let Busy::With(attempt) = &device.busy {
                running.push(attempt.clone());
            }
        }
        if goodbye {
            self.forsake(now, &id, WorkerState::Gone, Cause::Yielded, "its worker said goodbye");
        } else {
            for attempt in running {
                if let Some(live) = self.live(&attempt) {
                    live.session = None;
                }
            }
        }
    }

    /// Ends everything that runs on a worker, which is gone or lost.
    pub(super) fn forsake(&mut self, now: Time, id: &WorkerId, state: WorkerState, cause: Cause, why: &str) {
        let Some(worker) = self.workers.get_mut(id) else { return };
        worker.state = state;
        if let Some(session) = worker.session.take() {
            self.sessions.remove(&session);
            self.out.commands.push(Command::HangUp { session });
        }
        self.free.retain(|device| device.worker != *id);
        let mut ended = Vec::new();
        for device in worker.devices.values_mut() {
            match std::mem::replace(&mut device.busy, Busy::Free) {
                Busy::With(attempt) => ended.push(attempt),
                Busy::Free | Busy::Stopping { .. } => {}
            }
        }
        for attempt in ended {
            self.end_badly(now, &attempt, Failure::new(cause, format!("{why} ({id})"), ""));
        }
    }

    pub(super) fn device_reported(
        &mut self,
        now: Time,
        session: SessionId,
        index: u32,
        resident_models: Vec<String>,
    ) {
        let Some(id) = self.heard(now, session) else { return };
        if let Some(device) = self.workers.get_mut(&id).and_then(|worker| worker.devices.get_mut(&index)) {
            device.info.resident_models = resident_models;
        }
    }

    /// The device of an attempt that its worker is done with.
    pub(super) fn release_device(&mut self, at: &DeviceId, attempt: &AttemptId) -> Option<&mut Device> {
        let worker = self.workers.get_mut(&at.worker)?;
        let connected = worker.session.is_some();
        let device = worker.devices.get_mut(&at.index)?;
        match &device.busy {
            Busy::With(held) | Busy::Stopping { attempt: held, .. } if held == attempt => {
                device.busy = Busy::Free;
                if connected {
                    self.free.insert(at.clone());
                }
            }
            Busy::Free | Busy::With(_) | Busy::Stopping { .. } => {}
        }
        Some(device)
    }

    /// Which device of `id` holds `attempt`.
    pub(super) fn device_with(&self, id: &WorkerId, attempt: &AttemptId) -> Option<DeviceId> {
        let worker = self.workers.get(id)?;
        let holds = |device: &Device| match &device.busy {
            Busy::With(held) | Busy::Stopping { attempt: held, .. } => held == attempt,
            Busy::Free => false,
        };
        let (index, _) = worker.devices.iter().find(|(_, device)| holds(device))?;
        Some(DeviceId { worker: id.clone(), index: *index })
    }
}
