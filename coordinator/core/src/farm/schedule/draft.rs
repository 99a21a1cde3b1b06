//! What a tick would start, from one snapshot of the farm. Pure: the same farm gives the same draft.

mod candidates;
mod flight;
mod gangs;

use std::collections::{BTreeMap, BTreeSet};

use candidates::{Candidate, ShowLine};
use flight::{Beside, Rooms};

use super::{Demand, Reservation, expected_ms, measured_ms};
use crate::{
    farm::Farm,
    ids::{DeviceId, JobId, TaskId},
    mutant::{self, Mutant},
    split::Kind,
    time::Time,
    worker::Class,
};

/// Tasks of one layer that are looked at for one that may go somewhere.
const TASKS_LOOKED_AT: usize = 64;
/// Layers that one tick may find unplaceable; the rest waits for the next.
const REFUSALS_MAX: usize = 4_096;

/// What a tick does.
#[derive(Debug, Default)]
pub(in crate::farm) struct Draft {
    pub(in crate::farm) starts: Vec<Start>,
    pub(in crate::farm) reservations: Vec<Reservation>,
    /// Layers of which nothing more could start, and why.
    pub(in crate::farm) refused: BTreeMap<(JobId, u32), Refusal>,
}

/// One task and where its ranks go.
#[derive(Debug)]
pub(in crate::farm) struct Start {
    pub(in crate::farm) task: TaskId,
    pub(in crate::farm) devices: Vec<DeviceId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::farm) enum Refusal {
    /// A limit is used up, or nobody defined it.
    Limit(String),
    /// Its show holds as many devices as it may.
    Quota,
    /// No free device may take it.
    Device,
}

/// A snapshot that is being used up.
struct Drafting<'a> {
    farm: &'a Farm,
    now: Time,
    free: BTreeMap<&'a Class, BTreeSet<&'a DeviceId>>,
    limits: BTreeMap<&'a str, u32>,
    shows: BTreeMap<&'a str, ShowLine<'a>>,
    /// Which reservation keeps a device.
    kept: BTreeMap<DeviceId, usize>,
    /// When the devices given away in this draft should be free again.
    given: BTreeMap<DeviceId, Time>,
    /// Tasks that reservations have placed or keep devices for.
    taken: BTreeSet<TaskId>,
    /// What is left beside shots in flight.
    rooms: Rooms,
    /// Devices that shots of this draft go to, with all devices of that shot: others may join it there.
    joined: BTreeMap<DeviceId, Vec<DeviceId>>,
    /// Layers of which nothing more joins in this draft.
    asked: BTreeSet<(JobId, u32)>,
    /// Layers that need one device and found none: they go before those that come later.
    hungry: Vec<Candidate<'a>>,
    draft: Draft,
}

impl Farm {
    pub(in crate::farm) fn draft(&self, now: Time) -> Draft {
        let mut drafting = Drafting::new(self, now);
        drafting.keep_reservations();
        drafting.fill();
        drafting.draft
    }

    fn is_on_hold(&self, now: Time, id: &DeviceId) -> bool {
        let device = self.workers.get(&id.worker).and_then(|worker| worker.devices.get(&id.index));
        device.is_some_and(|device| device.held_until > now)
    }
}

impl<'a> Drafting<'a> {
    fn new(farm: &'a Farm, now: Time) -> Self {
        let mut free: BTreeMap<&Class, BTreeSet<&DeviceId>> = BTreeMap::new();
        for (class, devices) in &farm.free {
            let usable: BTreeSet<&DeviceId> =
                devices.iter().filter(|device| !farm.is_on_hold(now, device)).collect();
            if !usable.is_empty() {
                free.insert(class, usable);
            }
        }
        let shows = farm.ready.iter().map(|(name, line)| (name.as_str(), ShowLine::new(farm, name, line)));
        let mut drafting = Self {
            farm,
            now,
            free,
            limits: farm.limits_used(),
            shows: shows.collect(),
            kept: BTreeMap::new(),
            given: BTreeMap::new(),
            taken: BTreeSet::new(),
            rooms: Rooms::new(),
            joined: BTreeMap::new(),
            asked: BTreeSet::new(),
            hungry: Vec::new(),
            draft: Draft::default(),
        };
        drafting.rooms = drafting.rooms();
        drafting
    }

    /// Serves the show that is furthest behind until devices or tasks run out.
    fn fill(&mut self) {
        while (!self.free.is_empty() || self.may_join()) && self.draft.refused.len() < REFUSALS_MAX {
            let behind = self.shows.iter().min_by_key(|(name, show)| (show.clock, **name));
            let Some(name) = behind.map(|(name, _)| *name) else { return };
            let mut show = self.shows.remove(name).expect("it was just found");
            let Some(mut next) = show.next(|candidate| self.is_warm(candidate)) else { continue };
            match self.place(&mut next, &show) {
                Ok(Some((start, beside))) => {
                    let devices = start.devices.len() as u32;
                    show.charge(devices, expected_ms(self.farm, next.job, next.layer), beside);
                    self.give(&next, start);
                    show.put_back(next);
                }
                // Nothing is left in it to start.
                Ok(None) => drop(self.asked.insert((next.id.clone(), next.layer))),
                Err(refusal) => {
                    let layer = (next.id.clone(), next.layer);
                    self.asked.insert(layer.clone());
                    if refusal == Refusal::Device && next.demand.seating.ranks == 1 && !self.rooms.is_empty()
                    {
                        self.hungry.push(next);
                    }
                    self.draft.refused.insert(layer, refusal);
                }
            }
            self.shows.insert(name, show);
        }
    }

    fn is_warm(&self, candidate: &Candidate<'_>) -> bool {
        let model = &candidate.card().name;
        self.free.keys().any(|class| class.resident.contains(model) && candidate.fits(class))
    }

    /// Whether limits and quota let one more task of the candidate start, which takes so many more devices.
    fn allowed(&self, next: &Candidate<'a>, show: &ShowLine<'a>, devices: u32) -> Result<(), Refusal> {
        let wants = next.wants();
        for limit in &wants.limits {
            let max = self.farm.limits.get(limit).copied().unwrap_or(0);
            if self.limits.get(limit.as_str()).copied().unwrap_or(0) >= max {
                return Err(Refusal::Limit(limit.clone()));
            }
        }
        if show.max_devices.is_some_and(|max| show.devices + devices > max)
            && !mutant::on(Mutant::QuotaIgnored)
        {
            return Err(Refusal::Quota);
        }
        Ok(())
    }

    /// The candidate's next task and its devices, with the number of shots that are in flight there; `None` when it has no
    /// more tasks.
    fn place(
        &mut self,
        next: &mut Candidate<'a>,
        show: &ShowLine<'a>,
    ) -> Result<Option<(Start, usize)>, Refusal> {
        // What joins shots in flight takes no device.
        self.allowed(next, show, 0)?;
        let ranks = next.demand.seating.ranks;
        let alone = self.allowed(next, show, ranks);
        let mut passed = Vec::new();
        let mut placed = Ok(None);
        for _ in 0..TASKS_LOOKED_AT {
            let Some(task) = next.tasks.next() else { break };
            let id = next.task_id(task);
            if ranks > 1 && self.taken.contains(&id) {
                continue;
            }
            if let Some(Beside { devices, shots }) = self.beside(next, task) {
                placed = Ok(Some((Start { task: id, devices }, shots)));
                break;
            }
            if let Err(refusal) = &alone {
                placed = Err(refusal.clone());
                passed.push(task);
                break;
            }
            let devices = if ranks == 1 { self.single(next, task) } else { self.gang(next, task) };
            if let Some(devices) = devices {
                placed = Ok(Some((Start { task: id, devices }, 0)));
                break;
            }
            placed = Err(Refusal::Device);
            passed.push(task);
            if ranks > 1 {
                self.reserve(next, task);
                break;
            }
            // Only a task that shuns a worker by itself differs from the next one.
            if !next.is_marked(task) {
                break;
            }
        }
        next.return_tasks(passed);
        placed
    }

    /// The best device for a task that needs one: of the fastest kind one that holds its model, else the first that may
    /// take it.
    fn single(&self, next: &mut Candidate<'a>, task: u32) -> Option<Vec<DeviceId>> {
        next.look_for_shunned(self.farm, self.now, task);
        let model = &next.card().name;
        let ms = measured_ms(self.farm, next.job, next.layer);
        // A model is loaded in less than what a processor takes longer.
        for (kind, warm) in Kind::FASTEST_FIRST.into_iter().flat_map(|kind| [(kind, true), (kind, false)]) {
            for (class, devices) in &self.free {
                let is_meant = class.room.kind == kind && class.resident.contains(model) == warm;
                if !is_meant || !next.fits(class) {
                    continue;
                }
                let may = |device: &&&DeviceId| next.may_go_to(device, task) && self.lent(device, ms);
                if let Some(device) = devices.iter().find(may) {
                    return Some(vec![(*device).clone()]);
                }
            }
        }
        None
    }

    /// Whether a device is kept for nobody, or may be used meanwhile.
    fn lent(&self, device: &DeviceId, ms: Option<u64>) -> bool {
        let Some(at) = self.kept.get(device) else { return true };
        let kept = &self.draft.reservations[*at];
        kept.lends(self.now, self.due(&kept.devices), ms) || mutant::on(Mutant::ReservationIgnored)
    }

    /// Takes what was placed out of the snapshot.
    fn give(&mut self, next: &Candidate<'a>, start: Start) {
        let until = self.now.plus_ms(expected_ms(self.farm, next.job, next.layer));
        for limit in &next.wants().limits {
            *self.limits.entry(limit.as_str()).or_default() += 1;
        }
        self.joins(next, &start.devices);
        for device in &start.devices {
            let given = self.given.entry(device.clone()).or_insert(until);
            *given = until.max(*given);
            let worker = self.farm.workers.get(&device.worker);
            let class = worker.and_then(|worker| Some(worker.class(worker.devices.get(&device.index)?)));
            if let Some(class) = class
                && let Some(alike) = self.free.get_mut(&class)
            {
                alike.remove(device);
                if alike.is_empty() {
                    self.free.remove(&class);
                }
            }
        }
        self.draft.starts.push(start);
    }
}
