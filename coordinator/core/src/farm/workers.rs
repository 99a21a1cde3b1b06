//! Workers come, are heard, and go.

use std::collections::BTreeMap;

use crate::{
    failure::{Cause, Failure},
    ids::{AttemptId, DeviceId, SessionId, WorkerId},
    mutant::{self, Mutant},
    step::{Command, Joined},
    time::Time,
    view::{TaskState, WorkerState},
    worker::{Busy, Device, Doing, Held, LockKind, Tenant, Worker},
};

use super::Farm;

impl Farm {
    pub(super) fn worker_joined(&mut self, now: Time, hello: Joined) {
        let Joined { session, worker: id, incarnation, host, version, tags, devices, link, running } = hello;
        if let Some(known) = self.workers.get(&id)
            && known.session.is_some()
            && known.incarnation != incarnation
            && !mutant::on(Mutant::NamesakeAccepted)
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
            if !mutant::on(Mutant::OldSessionCounts) {
                self.sessions.remove(&old);
            }
            self.out.commands.push(Command::HangUp { session: old });
        }
        let same_process = known.as_ref().is_some_and(|known| known.incarnation == incarnation);
        // Ends and starts below must not meet devices of the old hello on offer.
        self.withdraw_worker(&id, known.as_ref());
        let locks = known.as_ref().map(|known| known.locks.clone()).unwrap_or_default();
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
            let knows =
                |tenant: Tenant<'_>| same_process && running.contains(&(tenant.attempt.clone(), tenant.rank));
            broken.extend(device.busy.keep(knows).into_iter().map(|(held, _)| held));
        }
        self.sessions.insert(session, id.clone());
        let worker = Worker {
            state: WorkerState::Ready,
            session: Some(session),
            incarnation,
            host,
            version,
            tags,
            link,
            seen: now,
            locks,
            devices: now_has,
        };
        self.workers.insert(id.clone(), worker);
        self.list_lanes(&id);
        self.out.workers.insert(id.clone());
        self.out.commands.push(Command::Welcome { session });
        for (attempt, rank) in running {
            self.adopt_or_revoke(&id, session, attempt, rank);
        }
        for Held { attempt, rank } in broken {
            let message = if same_process {
                format!("{id} does not know of it any more")
            } else {
                format!("{id} started anew while it ran")
            };
            self.lose(now, &attempt, rank, Failure::new(Cause::LeaseLost, message, ""));
        }
        self.offer_devices(&id);
    }

    /// A rank is gone without a word of its own.
    fn lose(&mut self, now: Time, attempt: &AttemptId, rank: u32, failure: Failure) {
        // One that had saved before is not needed any more: its task is being published, or waits for other ranks.
        let seat = self.live(attempt).and_then(|live| live.seats.get(rank as usize).cloned());
        if let Some(seat) = seat.filter(|seat| !seat.done) {
            self.end_badly_on(now, attempt, failure, true, &seat.device);
        }
    }

    fn adopt_or_revoke(&mut self, id: &WorkerId, session: SessionId, attempt: AttemptId, rank: u32) {
        let state = self.task_state(&attempt.task);
        let seat = self.live(&attempt).and_then(|live| live.seats.get_mut(rank as usize));
        if let Some(seat) = seat
            && seat.device.worker == *id
            && state == Some(TaskState::Running)
        {
            seat.session = Some(session);
        } else if (state != Some(TaskState::Publishing) || self.live(&attempt).is_none())
            && !mutant::on(Mutant::StrangersKeepRunning)
        {
            self.out.commands.push(Command::Revoke { session, attempt, now: true });
        }
    }

    /// Puts the free devices of a worker that takes work on offer.
    pub(super) fn offer_devices(&mut self, id: &WorkerId) {
        let Some(worker) = self.workers.get(id).filter(|worker| worker.open()) else { return };
        for (index, device) in &worker.devices {
            if device.busy == Busy::Free {
                let alike = self.free.entry(worker.class(device)).or_default();
                alike.insert(DeviceId { worker: id.clone(), index: *index });
            }
        }
    }

    /// Takes one device off the offer.
    pub(super) fn withdraw(&mut self, at: &DeviceId) {
        let Some(worker) = self.workers.get(&at.worker) else { return };
        let Some(device) = worker.devices.get(&at.index) else { return };
        let class = worker.class(device);
        if let Some(alike) = self.free.get_mut(&class) {
            alike.remove(at);
            if alike.is_empty() {
                self.free.remove(&class);
            }
        }
    }

    /// Takes all devices of a worker off the offer.
    pub(super) fn withdraw_worker(&mut self, id: &WorkerId, worker: Option<&Worker>) {
        let Some(worker) = worker else { return };
        for (index, device) in &worker.devices {
            let class = worker.class(device);
            if let Some(alike) = self.free.get_mut(&class) {
                alike.remove(&DeviceId { worker: id.clone(), index: *index });
                if alike.is_empty() {
                    self.free.remove(&class);
                }
            }
        }
    }

    /// Locks a worker with a reason, or takes a lock off it.
    pub(super) fn worker_set(
        &mut self,
        now: Time,
        id: &WorkerId,
        lock: LockKind,
        reason: Option<String>,
        give_back: bool,
    ) {
        self.withdraw_all(id);
        let Some(worker) = self.workers.get_mut(id) else { return };
        let locked = reason.is_some();
        let changed = match reason {
            Some(reason) => worker.locks.insert(lock, reason.clone()) != Some(reason),
            None => worker.locks.remove(&lock).is_some(),
        };
        let running = worker.devices.values().flat_map(|device| device.busy.running());
        let running: Vec<AttemptId> = running.map(|tenant| tenant.attempt.clone()).collect();
        if changed && !mutant::on(Mutant::LockUnwritten) {
            self.out.workers.insert(id.clone());
        }
        self.offer_devices(id);
        if locked && give_back {
            let why = format!("{id} was locked ({})", lock.name());
            for attempt in running {
                self.end_badly(now, &attempt, Failure::new(Cause::Yielded, why.clone(), ""), false);
            }
        }
    }

    fn withdraw_all(&mut self, id: &WorkerId) {
        if let Some(worker) = self.workers.remove(id) {
            self.withdraw_worker(id, Some(&worker));
            self.workers.insert(id.clone(), worker);
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
        self.withdraw_all(&id);
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.session = None;
        let running = worker.devices.values().flat_map(|device| device.busy.running());
        let running: Vec<Held> = running.map(|tenant| tenant.held()).collect();
        if goodbye {
            self.forsake(now, &id, WorkerState::Gone, Cause::Yielded, "its worker said goodbye");
        } else {
            for Held { attempt, rank } in running {
                if let Some(seat) = self.live(&attempt).and_then(|live| live.seats.get_mut(rank as usize)) {
                    seat.session = None;
                }
            }
        }
    }

    /// Ends everything that runs on a worker, which is gone or lost.
    pub(super) fn forsake(&mut self, now: Time, id: &WorkerId, state: WorkerState, cause: Cause, why: &str) {
        self.withdraw_all(id);
        let Some(worker) = self.workers.get_mut(id) else { return };
        worker.state = state;
        if let Some(session) = worker.session.take() {
            self.sessions.remove(&session);
            self.out.commands.push(Command::HangUp { session });
        }
        let all = worker.devices.values_mut().flat_map(|device| device.busy.keep(|_| false));
        let ended: Vec<Held> = all.filter(|(_, doing)| *doing == Doing::Runs).map(|(held, _)| held).collect();
        self.list_lanes(id);
        for Held { attempt, rank } in ended {
            self.lose(now, &attempt, rank, Failure::new(cause, format!("{why} ({id})"), ""));
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
        let at = DeviceId { worker: id.clone(), index };
        self.withdraw(&at);
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Some(device) = worker.devices.get_mut(&index) else { return };
        device.info.resident_models = resident_models;
        if device.busy == Busy::Free {
            self.offer(&at);
        }
    }

    /// Puts one free device on offer, when its worker takes work.
    fn offer(&mut self, at: &DeviceId) {
        let Some(worker) = self.workers.get(&at.worker).filter(|worker| worker.open()) else { return };
        let Some(device) = worker.devices.get(&at.index) else { return };
        self.free.entry(worker.class(device)).or_default().insert(at.clone());
    }

    /// The device of a rank that its worker is done with.
    pub(super) fn release_device(&mut self, at: &DeviceId, attempt: &AttemptId, rank: u32) {
        let free = self.change(at, |busy| {
            let held = busy.holds(attempt, rank);
            busy.end(attempt, rank);
            held && *busy == Busy::Free
        });
        if free == Some(true) {
            self.offer(at);
        }
    }

    /// Which device of `id` holds a rank of `attempt`.
    pub(super) fn device_with(&self, id: &WorkerId, attempt: &AttemptId, rank: u32) -> Option<DeviceId> {
        let worker = self.workers.get(id)?;
        let (index, _) = worker.devices.iter().find(|(_, device)| device.busy.holds(attempt, rank))?;
        Some(DeviceId { worker: id.clone(), index: *index })
    }

    /// Every rank that runs as far as the farm knows, those being stopped left out.
    pub(super) fn held(&self) -> impl Iterator<Item = Tenant<'_>> {
        let devices = self.workers.values().flat_map(|worker| worker.devices.values());
        devices.flat_map(|device| device.busy.running())
    }
}
