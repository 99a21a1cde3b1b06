//! Tasks that need several devices: all at once, or devices are kept for them.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{expected_ms, reserve::RESERVATIONS_MAX},
    Candidate, Demand, Drafting, Reservation, Start,
};
use crate::{
    ids::{DeviceId, TaskId, WorkerId},
    split::{Kind, Room},
    time::Time,
    view::TaskState,
    worker::{Doing, Tenant},
};

impl<'a> Drafting<'a> {
    /// Devices for all ranks of a task: where nothing like it failed, else where nothing forbids it.
    pub(super) fn gang(&self, next: &mut Candidate<'a>, task: u32) -> Option<Vec<DeviceId>> {
        next.look_for_shunned(self.farm, self.now, task);
        self.ranks_of(next, task, &|device| next.may_go_to(device, task))
            .or_else(|| self.ranks_of(next, task, &|device| next.may_go_at_worst(device)))
    }

    /// The same among devices that `may` take it.
    fn ranks_of(
        &self,
        next: &Candidate<'a>,
        task: u32,
        may: &dyn Fn(&DeviceId) -> bool,
    ) -> Option<Vec<DeviceId>> {
        Kind::FASTEST_FIRST.into_iter().find_map(|kind| self.ranks_among(kind, next, task, may))
    }

    /// The same among those of one kind; on one worker where that goes.
    fn ranks_among(
        &self,
        kind: Kind,
        next: &Candidate<'a>,
        task: u32,
        may: &dyn Fn(&DeviceId) -> bool,
    ) -> Option<Vec<DeviceId>> {
        let wants = next.wants();
        let ranks = next.demand.seating.ranks as usize;
        let id = next.task_id(task);
        let model = &next.card().name;
        let mut by_worker: BTreeMap<&WorkerId, Vec<(bool, &DeviceId)>> = BTreeMap::new();
        for (class, devices) in
            self.free.iter().filter(|(class, _)| class.room.kind == kind && next.fits(class))
        {
            let cold = !class.resident.contains(model);
            for device in devices {
                if may(device) && self.is_for(device, &id) {
                    by_worker.entry(&device.worker).or_default().push((cold, device));
                }
            }
        }
        let mut workers: Vec<Vec<(bool, &DeviceId)>> = by_worker.into_values().collect();
        workers.iter_mut().for_each(|devices| devices.sort());
        // The fullest first, so that a gang is spread over as few workers as there must be; of equals the warmest.
        workers.sort_by_key(|devices| {
            (std::cmp::Reverse(devices.len()), devices.iter().filter(|(cold, _)| *cold).count())
        });
        let whole = workers.iter().filter(|devices| devices.len() >= ranks);
        let warmest = whole.min_by_key(|d| (d.iter().take(ranks).filter(|(cold, _)| *cold).count(), d.len()));
        let named = |devices: &mut dyn Iterator<Item = &(bool, &DeviceId)>| -> Vec<DeviceId> {
            devices.map(|(_, device)| (*device).clone()).collect()
        };
        let first = match warmest {
            Some(devices) => self.seat(next, named(&mut devices.iter().take(ranks))),
            None if wants.same_worker => return None,
            None => self.seat(next, named(&mut workers.iter().flatten().take(ranks))),
        };
        // What is in order by place and warmth may be too small together: the largest are not, if any are.
        first.or_else(|| match wants.same_worker {
            true => workers.iter().find_map(|devices| self.largest(next, named(&mut devices.iter()))),
            false => self.largest(next, named(&mut workers.iter().flatten())),
        })
    }

    fn room(&self, id: &DeviceId) -> Option<Room> {
        Some(self.farm.workers.get(&id.worker)?.devices.get(&id.index)?.room())
    }

    /// The devices by rank, when they hold all ranks together: rank 0, which decodes, on the largest.
    fn seat(&self, next: &Candidate<'a>, mut devices: Vec<DeviceId>) -> Option<Vec<DeviceId>> {
        if devices.len() != next.demand.seating.ranks as usize {
            return None;
        }
        devices.sort_by_key(|device| self.room(device).map(|room| room.order()));
        let rooms: Vec<Room> = devices.iter().filter_map(|device| self.room(device)).collect();
        next.demand.deal(&rooms).map(|_| devices)
    }

    fn largest(&self, next: &Candidate<'a>, mut devices: Vec<DeviceId>) -> Option<Vec<DeviceId>> {
        devices.sort_by_key(|device| self.room(device).map(|room| room.order()));
        devices.truncate(next.demand.seating.ranks as usize);
        self.seat(next, devices)
    }

    /// Whether a device is kept for nobody else.
    pub(super) fn is_for(&self, device: &DeviceId, task: &TaskId) -> bool {
        self.kept.get(device).is_none_or(|at| self.draft.reservations[*at].task == *task)
    }

    /// Reservations of the last tick that still make sense go first: their task starts, or its devices stay kept.
    pub(super) fn keep_reservations(&mut self) {
        for kept in self.farm.reservations.clone() {
            if self.is_wanted(&kept) {
                self.keep(kept);
            }
        }
        for at in 0..self.draft.reservations.len() {
            let kept = self.draft.reservations[at].clone();
            let all_free = kept.devices.iter().all(|device| self.is_free(device));
            let show = self.farm.jobs[&kept.task.job].plan.show();
            let Some(mut line) = self.shows.remove(show) else { continue };
            if all_free
                && let Some(next) = self.candidate(&kept.task)
                && self.allowed(&next, &line, next.demand.seating.ranks).is_ok()
                && let Some(devices) = self.seat(&next, kept.devices.iter().cloned().collect())
            {
                line.charge(kept.devices.len() as u32, expected_ms(self.farm, next.job, next.layer), 0);
                self.give(&next, Start { task: kept.task.clone(), devices });
            }
            self.shows.insert(show, line);
        }
        // What has started keeps nothing any more.
        let started: BTreeSet<TaskId> = self.draft.starts.iter().map(|start| start.task.clone()).collect();
        self.draft.reservations.retain(|kept| !started.contains(&kept.task));
        self.kept.clear();
        for (at, kept) in self.draft.reservations.iter().enumerate() {
            self.kept.extend(kept.devices.iter().map(|device| (device.clone(), at)));
        }
    }

    fn candidate(&self, task: &TaskId) -> Option<Candidate<'a>> {
        let ready = self.farm.jobs.get(&task.job)?.layers[task.layer as usize].in_line.as_ref()?;
        Some(Candidate::new(self.farm, ready))
    }

    /// Whether the task still waits and its devices could still take it.
    fn is_wanted(&self, kept: &Reservation) -> bool {
        let Some(job) = self.farm.jobs.get(&kept.task.job) else { return false };
        let layer = &job.layers[kept.task.layer as usize];
        let due = layer.tasks.get(&kept.task.task).is_none_or(|task| task.not_before <= self.now);
        let demand = Demand::of(self.farm, job, kept.task.layer);
        let able = |id: &DeviceId| {
            let worker = self.farm.workers.get(&id.worker).filter(|worker| worker.open());
            let device = worker.and_then(|worker| Some((worker, worker.devices.get(&id.index)?)));
            device.is_some_and(|(worker, device)| {
                demand.fits(&worker.tags, device.room()) && device.held_until <= self.now
            })
        };
        layer.in_line.is_some()
            && due
            && layer.state(kept.task.task) == TaskState::Queued
            && kept.devices.iter().all(able)
    }

    fn keep(&mut self, kept: Reservation) {
        let at = self.draft.reservations.len();
        self.taken.insert(kept.task.clone());
        self.kept.extend(kept.devices.iter().map(|device| (device.clone(), at)));
        self.draft.reservations.push(kept);
    }

    /// Keeps the devices that will be free soonest for a task that cannot start now.
    pub(super) fn reserve(&mut self, next: &Candidate<'a>, task: u32) {
        if self.draft.reservations.len() == RESERVATIONS_MAX {
            return;
        }
        let kept = Kind::FASTEST_FIRST.into_iter().find_map(|kind| self.reservation(kind, next, task));
        if let Some(kept) = kept {
            self.keep(kept);
        }
    }

    /// The same of one kind.
    fn reservation(&self, kind: Kind, next: &Candidate<'a>, task: u32) -> Option<Reservation> {
        let wants = next.wants();
        let ranks = next.demand.seating.ranks as usize;
        let mut by_worker: BTreeMap<&WorkerId, Vec<(Time, DeviceId)>> = BTreeMap::new();
        for (name, worker) in self.farm.workers.iter().filter(|(_, worker)| worker.open()) {
            for (index, device) in &worker.devices {
                let id = DeviceId { worker: name.clone(), index: *index };
                if device.room().kind == kind
                    && next.demand.fits(&worker.tags, device.room())
                    && device.held_until <= self.now
                    && next.may_go_at_worst(&id)
                    && !self.kept.contains_key(&id)
                    && !self.is_own(next, &id)
                {
                    by_worker.entry(name).or_default().push((self.free_at(&id), id));
                }
            }
        }
        by_worker.values_mut().for_each(|devices| devices.sort());
        let whole = by_worker.values().filter(|devices| devices.len() >= ranks);
        let soonest = whole.min_by_key(|devices| devices[ranks - 1].0);
        let chosen: Vec<(Time, DeviceId)> = match soonest {
            Some(devices) if wants.same_worker => devices[..ranks].to_vec(),
            None if wants.same_worker => return None,
            _ => {
                let mut all: Vec<(Time, DeviceId)> = by_worker.into_values().flatten().collect();
                all.sort();
                let soonest = all.iter().take(ranks).map(|(_, device)| device.clone()).collect();
                if self.seat(next, soonest).is_none() {
                    all.sort_by_key(|(_, device)| self.room(device).map(|room| room.order()));
                }
                all.truncate(ranks);
                all
            }
        };
        self.seat(next, chosen.iter().map(|(_, device)| device.clone()).collect())?;
        let due = chosen.iter().map(|(at, _)| *at).max().unwrap_or(self.now);
        let devices = chosen.into_iter().map(|(_, device)| device).collect();
        Some(Reservation::new(next.task_id(task), devices, self.now, due))
    }

    /// When all of `devices` should be free.
    pub(super) fn due(&self, devices: &BTreeSet<DeviceId>) -> Time {
        devices.iter().map(|device| self.free_at(device)).max().unwrap_or(self.now)
    }

    pub(super) fn is_free(&self, device: &DeviceId) -> bool {
        self.free.values().any(|devices| devices.contains(device))
    }

    /// When a device should be free: by the measured pace of what it runs.
    fn free_at(&self, id: &DeviceId) -> Time {
        if let Some(until) = self.given.get(id) {
            return *until;
        }
        self.farm.free_at(self.now, id)
    }
}

impl crate::farm::Farm {
    /// When a device should be free, by the measured pace of what it runs; `now` for one that is.
    pub(in crate::farm) fn free_at(&self, now: Time, id: &DeviceId) -> Time {
        let tenants = self.busy(id).into_iter().flat_map(|busy| busy.tenants());
        let ends = tenants.map(|Tenant { attempt, doing, .. }| match doing {
            Doing::Stops { until } => until,
            Doing::Runs => {
                let task = &attempt.task;
                let Some(job) = self.jobs.get(&task.job) else { return now };
                let live =
                    job.layers[task.layer as usize].tasks.get(&task.task).and_then(|t| t.live.as_ref());
                let started = live.map_or(now, |live| live.started);
                // Overdue: any moment now.
                started.plus_ms(expected_ms(self, job, task.layer)).max(now.plus_ms(1))
            }
        });
        // Of shots in flight the last lets go of it.
        ends.max().unwrap_or(now)
    }
}
