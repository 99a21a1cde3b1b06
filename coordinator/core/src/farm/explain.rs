//! Why a task waits: read off the same draft that the next tick carries out, so that the answer is what will happen.

use std::collections::BTreeMap;

use crate::{
    access::Caller,
    ids::{DeviceId, TaskId},
    job::Job,
    split::{Room, bytes},
    time::Time,
    view::{TaskState, Wait, WaitReason},
    worker::{Busy, Device, LockKind, Worker},
};

use super::{
    Farm,
    avoid::Standing,
    schedule::{Demand, Draft, Refusal},
};

/// Devices named, of each kind.
const NAMED: usize = 5;

/// Devices by what keeps them from a task.
#[derive(Default)]
struct Devices {
    /// When each comes free, and what it does.
    able: Vec<(Time, String)>,
    unusable: Vec<String>,
    free: u32,
    busy: u32,
    kept: u32,
    avoided: u32,
    locked: u32,
}

impl Farm {
    /// Why a task waits at `now`; `None` for one that is not there.
    #[must_use]
    pub fn explain(&self, now: Time, id: &TaskId) -> Option<Wait> {
        self.explain_by(now, id, &self.draft(now), &Caller::Local)
    }

    /// The same for many tasks, by one look at the farm, in words for `reader`: tasks of shows that are none of theirs have no
    /// name.
    #[must_use]
    pub fn explain_all(&self, now: Time, ids: &[TaskId], reader: &Caller) -> Vec<Wait> {
        let draft = self.draft(now);
        ids.iter().filter_map(|id| self.explain_by(now, id, &draft, reader)).collect()
    }

    fn explain_by(&self, now: Time, id: &TaskId, draft: &Draft, reader: &Caller) -> Option<Wait> {
        let job = self.jobs.get(&id.job)?;
        let state = self.task_state(id)?;
        let mut wait = Wait {
            reason: WaitReason::Settled,
            words: String::new(),
            nearest: Vec::new(),
            unusable: Vec::new(),
            since: self.waits_since(job, id),
        };
        (wait.reason, wait.words) = match state {
            TaskState::Succeeded | TaskState::Failed | TaskState::Cancelled | TaskState::Skipped => {
                (WaitReason::Settled, "it is settled".to_owned())
            }
            TaskState::Running | TaskState::Publishing => {
                (WaitReason::Running, "it runs or is being published".to_owned())
            }
            TaskState::Waiting => (WaitReason::Layer, self.waits_for(job, id)),
            TaskState::Queued => self.queued(now, job, id, (draft, reader), &mut wait),
        };
        Some(wait)
    }

    fn waits_since(&self, job: &Job, id: &TaskId) -> Time {
        let task = job.layers[id.layer as usize].tasks.get(&id.task);
        task.and_then(|task| task.ended.last()).map_or(job.created, |ended| ended.ended)
    }

    pub(super) fn waits_for(&self, job: &Job, id: &TaskId) -> String {
        let before = job.plan.layers()[id.layer as usize].after.map_or(0, |at| at as usize);
        let name = &job.plan.layers()[before].name;
        if job.plan.after_each(id.layer) {
            format!("waits for {}/{name}/{:04}", id.job, id.task + 1)
        } else {
            let counts = &job.layers[before].counts;
            format!("waits for layer {name}: {} of {} done", counts.succeeded, counts.total())
        }
    }

    fn queued(
        &self,
        now: Time,
        job: &Job,
        id: &TaskId,
        (draft, reader): (&Draft, &Caller),
        wait: &mut Wait,
    ) -> (WaitReason, String) {
        if job.paused {
            return (WaitReason::Paused, format!("the job is paused; `croft resume {}`", id.job));
        }
        let task = job.layers[id.layer as usize].tasks.get(&id.task);
        if let Some(due) = task.map(|task| task.not_before).filter(|due| *due > now) {
            let cause = task.and_then(|task| task.ended.last()?.failure.as_ref()).map(|f| f.cause.name());
            let words = format!(
                "tries again in {} s after {}",
                due.since(now).div_ceil(1_000),
                cause.unwrap_or("a failure")
            );
            return (WaitReason::Backoff, words);
        }
        if let Some(start) = draft.starts.iter().find(|start| start.task == *id) {
            let devices: Vec<String> = start.devices.iter().map(name).collect();
            return (WaitReason::Next, format!("starts now on {}", devices.join(", ")));
        }
        match draft.refused.get(&(id.job.clone(), id.layer)) {
            Some(Refusal::Limit(limit)) => match self.limits.get(limit) {
                Some(max) => {
                    return (WaitReason::Limit, format!("limit '{limit}' is used up: {max} of {max} in use"));
                }
                None => {
                    let words = format!("limit '{limit}' is not defined; `croft limit set {limit} N`");
                    return (WaitReason::Limit, words);
                }
            },
            Some(Refusal::Quota) => {
                let show = job.plan.show();
                let max = self.shows.get(show).and_then(|show| show.settings.max_devices).unwrap_or(0);
                let words = format!("show '{show}' may hold {max} devices at once, and does");
                return (WaitReason::Quota, words);
            }
            Some(Refusal::Device) | None => {}
        }
        let devices = self.devices_for(now, job, id, (draft, reader));
        wait.nearest = devices.able.iter().take(NAMED).map(|(_, words)| words.clone()).collect();
        wait.unusable = devices.unusable.iter().take(NAMED).cloned().collect();
        self.no_device(job, id, draft, &devices)
    }

    /// Why no device is left for a task that may start.
    fn no_device(&self, job: &Job, id: &TaskId, draft: &Draft, devices: &Devices) -> (WaitReason, String) {
        let demand = Demand::of(self, job, id.layer);
        let ranks = demand.seating.ranks;
        let able = devices.able.len() as u32;
        let needs = if ranks == 1 { "a device".to_owned() } else { format!("{ranks} devices at once") };
        if self.sessions.is_empty() {
            return (WaitReason::NoWorker, "no worker is connected".to_owned());
        }
        if able < ranks {
            return match () {
                () if able + devices.locked >= ranks => {
                    (WaitReason::Locked, format!("needs {needs}, and those that fit are locked"))
                }
                () if able + devices.locked + devices.avoided >= ranks => {
                    (WaitReason::Avoided, format!("needs {needs}, and those that fit failed lately"))
                }
                () => {
                    let tags = &job.plan.resources(id.layer).tags;
                    let with = if tags.is_empty() {
                        String::new()
                    } else {
                        format!(" on workers tagged {}", tags.join(", "))
                    };
                    let words =
                        format!("no fit: needs {needs}{with}; {able} are there{}", self.too_small(&demand));
                    (WaitReason::NoFit, words)
                }
            };
        }
        if let Some(kept) = draft.reservations.iter().find(|kept| kept.task == *id) {
            let names: Vec<String> = kept.devices.iter().map(name).collect();
            let words = format!("needs {needs}; {} are kept for it and come free", names.join(", "));
            return (WaitReason::Busy, words);
        }
        if devices.free == 0 && devices.kept > 0 {
            let words = format!("{} free devices are kept for tasks that need several", devices.kept);
            return (WaitReason::Reserved, words);
        }
        let status = self.status();
        if devices.free < ranks || status.devices_busy >= status.devices {
            return (WaitReason::Busy, format!("needs {needs}; {} that fit are busy", devices.busy));
        }
        (WaitReason::Turn, "others go first: by their show's share, priority or age".to_owned())
    }

    /// The arithmetic of memory, where it is what keeps a task from the devices that are here.
    fn too_small(&self, demand: &Demand<'_>) -> String {
        let here = self.workers.values().filter(|worker| worker.session.is_some());
        let devices = here.flat_map(|worker| worker.devices.values().map(move |device| (worker, device)));
        let small = |(worker, device): &(&Worker, &Device)| {
            demand.fits(&worker.tags, Room { memory_bytes: 0, ..device.room() })
                && demand.deal(&vec![device.room(); demand.seating.ranks.max(1) as usize]).is_none()
        };
        let Some((_, largest)) = devices.filter(small).max_by_key(|(_, device)| device.info.memory_bytes)
        else {
            return String::new();
        };
        match demand.words(largest.room().kind) {
            Some(words) => format!(
                "; {words}, and the largest device that is too small has {}: fewer frames or pixels, vae_tiling: true or \
                 more ranks need less",
                bytes(largest.info.memory_bytes)
            ),
            None => "; its weights are larger than the memory of the others".to_owned(),
        }
    }

    fn devices_for(&self, now: Time, job: &Job, id: &TaskId, (draft, reader): (&Draft, &Caller)) -> Devices {
        let plan = &job.plan.layers()[id.layer as usize];
        let demand = Demand::of(self, job, id.layer);
        let kept: BTreeMap<&DeviceId, &TaskId> =
            draft.reservations.iter().flat_map(|kept| kept.devices.iter().map(|d| (d, &kept.task))).collect();
        let mut found = Devices::default();
        for (worker_id, worker) in &self.workers {
            if worker.session.is_none() {
                found.unusable.push(format!("{worker_id} (not connected)"));
                continue;
            }
            let fit = |device: &Device| demand.fits(&worker.tags, device.room());
            let fitting = worker.devices.values().filter(|device| fit(device)).count() as u32;
            if fitting == 0 {
                found.unusable.push(format!("{worker_id} ({})", misfit(worker, &demand.wants.tags)));
                continue;
            }
            if let Some((kind, why)) = worker.locks.iter().next() {
                found.locked += fitting;
                found.unusable.push(locked(worker_id.as_str(), *kind, why));
                continue;
            }
            for (index, device) in worker.devices.iter().filter(|(_, device)| fit(device)) {
                let at = DeviceId { worker: worker_id.clone(), index: *index };
                if device.held_until > now {
                    found.avoided += 1;
                    let left = device.held_until.since(now).div_ceil(1_000);
                    found.unusable.push(format!("{} (on hold for {left} s after failures)", name(&at)));
                    continue;
                }
                let standing = self.avoided.standing(now, &id.job, &plan.card.digest, &at);
                if let Standing::Not(until) = standing {
                    found.avoided += 1;
                    let left = until.since(now).div_ceil(1_000);
                    let why = "this job failed on it and leaves it alone";
                    found.unusable.push(format!("{} ({why} for {left} s)", name(&at)));
                    continue;
                }
                let free_at = self.free_at(now, &at);
                let words = match (&device.busy, kept.get(&at)) {
                    (Busy::Free, Some(task)) if **task != *id => {
                        found.kept += 1;
                        let whom = self.name_for(reader, task).unwrap_or_default();
                        format!("{} free, kept for {whom}", name(&at))
                    }
                    (Busy::Free, _) => {
                        found.free += 1;
                        format!("{} free", name(&at))
                    }
                    (Busy::Alone(..) | Busy::Companions(_), _) => {
                        found.busy += 1;
                        let names =
                            device.busy.tenants().filter_map(|t| self.name_for(reader, &t.attempt.task));
                        let whom = names.collect::<Vec<_>>().join(" and ");
                        let left = free_at.since(now).div_ceil(1_000);
                        format!("{} busy with {whom}, ends in about {left} s", name(&at))
                    }
                };
                found.able.push((free_at, words));
            }
        }
        found.able.sort();
        found
    }
}

fn name(device: &DeviceId) -> String {
    format!("{}:{}", device.worker, device.index)
}

fn locked(worker: &str, kind: LockKind, why: &str) -> String {
    if why.is_empty() {
        format!("{worker} ({})", kind.name())
    } else {
        format!("{worker} ({}: {why})", kind.name())
    }
}

fn misfit(worker: &Worker, tags: &[String]) -> String {
    let missing: Vec<&str> =
        tags.iter().filter(|tag| !worker.tags.contains(tag)).map(String::as_str).collect();
    if missing.is_empty() {
        let largest = worker.devices.values().map(|device| device.info.memory_bytes).max().unwrap_or(0);
        format!("too little memory: {} a device", bytes(largest))
    } else {
        format!("not tagged {}", missing.join(", "))
    }
}
