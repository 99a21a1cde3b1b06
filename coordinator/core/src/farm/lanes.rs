//! Shots that are in flight together on the same devices: who they are, and what each of them costs.
//!
//! A device's time is counted once, however many shots share it: each is charged its part. Their show holds the devices
//! once as well, from the first shot to the last.

use std::collections::BTreeSet;

use crate::{
    ids::{AttemptId, DeviceId, TaskId, WorkerId},
    mutant::{self, Mutant},
    split::{Mode, Seating},
    time::Time,
    worker::{Busy, Lane},
};

use super::{Farm, schedule::expected_ms};

/// Whether tasks that are seated like this are in flight together, memory permitting: only where each rank has some of the
/// layers is one idle while another works.
pub(super) fn in_flight(seating: Seating) -> bool {
    match seating.mode {
        Mode::Layers => seating.ranks > 1,
        Mode::Tensor | Mode::Guidance => false,
    }
}

impl Lane {
    /// Of a task's layer on `devices`, by rank.
    pub(super) fn of(task: &TaskId, devices: &[DeviceId]) -> Self {
        Self { job: task.job.clone(), layer: task.layer, devices: devices.into() }
    }
}

impl Farm {
    /// Changes what a device does, and the list of lanes with it. `None` for a device that is not there.
    pub(super) fn change<T>(&mut self, at: &DeviceId, act: impl FnOnce(&mut Busy) -> T) -> Option<T> {
        let device = self.workers.get_mut(&at.worker)?.devices.get_mut(&at.index)?;
        let before = device.busy.leads().map(key);
        let done = act(&mut device.busy);
        let after = device.busy.leads().map(key);
        if before != after {
            if let Some(key) = before {
                self.unlist(&key, |device| device == at);
            }
            if let Some(key) = after {
                self.lanes.entry(key).or_default().insert(at.clone());
            }
        }
        Some(done)
    }

    /// Lists the lanes that a worker's devices lead, after all of them may have changed.
    pub(super) fn list_lanes(&mut self, id: &WorkerId) {
        let keys: Vec<_> = self.lanes.keys().cloned().collect();
        keys.iter().for_each(|key| self.unlist(key, |device| device.worker == *id));
        let Some(worker) = self.workers.get(id) else { return };
        for (index, device) in &worker.devices {
            if let Some(lane) = device.busy.leads() {
                let at = DeviceId { worker: id.clone(), index: *index };
                self.lanes.entry(key(lane)).or_default().insert(at);
            }
        }
    }

    fn unlist(&mut self, key: &(crate::ids::JobId, u32), gone: impl Fn(&DeviceId) -> bool) {
        if let Some(devices) = self.lanes.get_mut(key) {
            devices.retain(|device| !gone(device));
            if devices.is_empty() {
                self.lanes.remove(key);
            }
        }
    }

    pub(super) fn busy(&self, at: &DeviceId) -> Option<&Busy> {
        Some(&self.workers.get(&at.worker)?.devices.get(&at.index)?.busy)
    }

    /// Shots of a lane whose time is counted: from their start until it is settled, whatever their devices do.
    fn shots(&self, lane: &Lane) -> BTreeSet<AttemptId> {
        self.flights.get(lane).cloned().unwrap_or_default()
    }

    /// The lane of a live attempt, if it has one.
    fn lane_with(&self, attempt: &AttemptId) -> Option<Lane> {
        let layer = self.jobs.get(&attempt.task.job)?.layers.get(attempt.task.layer as usize)?;
        let live = layer.tasks.get(&attempt.task.task)?.live.as_deref()?;
        let devices = || live.seats.iter().map(|seat| seat.device.clone()).collect::<Vec<_>>();
        live.flies.then(|| Lane::of(&attempt.task, &devices()))
    }

    /// The time of `attempt` is counted from here on. How many share it, itself among them.
    pub(super) fn takes_off(&mut self, attempt: &AttemptId) -> usize {
        let Some(lane) = self.lane_with(attempt) else { return 1 };
        let shots = self.flights.entry(lane).or_default();
        shots.insert(attempt.clone());
        shots.len()
    }

    /// The time of `attempt` is counted no longer.
    pub(super) fn lands(&mut self, attempt: &AttemptId) {
        let Some(lane) = self.lane_with(attempt) else { return };
        if let Some(shots) = self.flights.get_mut(&lane) {
            shots.remove(attempt);
            if shots.is_empty() {
                self.flights.remove(&lane);
            }
        }
    }

    /// Counts the time of `attempt` up to now, and of those that share it; how many they are.
    pub(super) fn count_companions(&mut self, now: Time, attempt: &AttemptId) -> usize {
        let mut companions = self.lane_with(attempt).map(|lane| self.shots(&lane)).unwrap_or_default();
        companions.insert(attempt.clone());
        self.count_shots(now, &companions);
        companions.len()
    }

    fn count_shots(&mut self, now: Time, companions: &BTreeSet<AttemptId>) {
        let parts = if mutant::on(Mutant::LaneChargedTwice) { 1 } else { companions.len() as u64 };
        for companion in companions {
            if let Some(live) = self.live(companion) {
                live.count(now, parts);
            }
        }
    }

    /// Charges the show of a task that starts, beside shots that may be in flight on its devices: gives the device
    /// milliseconds that it is expected to use.
    pub(super) fn charge(
        &mut self,
        now: Time,
        task: &TaskId,
        devices: &[DeviceId],
        lane: Option<&Lane>,
    ) -> u64 {
        let beside = lane.map(|lane| self.shots(lane)).unwrap_or_default();
        self.count_shots(now, &beside);
        let Some(job) = self.jobs.get(&task.job) else { return 0 };
        let ranks = devices.len() as u32;
        let whole = expected_ms(self, job, task.layer).saturating_mul(u64::from(ranks));
        let charged_ms = whole / (beside.len() as u64 + 1);
        let holds = if beside.is_empty() || mutant::on(Mutant::LaneHeldTwice) { ranks } else { 0 };
        if let Some(show) = self.shows.get_mut(job.plan.show()) {
            show.charge(holds, charged_ms);
        }
        charged_ms
    }
}

fn key(lane: &Lane) -> (crate::ids::JobId, u32) {
    (lane.job.clone(), lane.layer)
}
