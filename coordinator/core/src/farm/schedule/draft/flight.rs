//! Tasks that join shots in flight: they need no free device, only room beside their companions.

use std::collections::BTreeMap;

use super::{Candidate, Drafting};
use crate::{
    farm::{Farm, lanes::in_flight},
    ids::{DeviceId, JobId},
    mutant::{self, Mutant},
    worker::{Busy, Device, Lane},
};

/// Devices on which shots of a layer are in flight.
pub(super) struct Room {
    /// By rank.
    pub(super) devices: Vec<DeviceId>,
    shots: usize,
    left: usize,
}

/// Where a task would go, and how many shots are in flight there already.
pub(super) struct Beside {
    pub(super) devices: Vec<DeviceId>,
    pub(super) shots: usize,
}

/// The rooms of each layer.
pub(super) type Rooms = BTreeMap<(JobId, u32), Vec<Room>>;

impl Farm {
    fn lane_led_by(&self, first: &DeviceId) -> Option<(&Lane, usize)> {
        let busy = self.busy(first)?;
        Some((busy.leads()?, busy.tenants().count()))
    }
}

impl<'a> Drafting<'a> {
    pub(super) fn rooms(&self) -> Rooms {
        let room = |first: &DeviceId| {
            let (lane, shots) = self.farm.lane_led_by(first)?;
            let left = (0..).zip(&*lane.devices).map(|(rank, at)| self.left(lane, rank, at)).min();
            Some(Room { devices: lane.devices.to_vec(), shots, left: left.unwrap_or(0) })
        };
        let lanes = self.farm.lanes.iter();
        lanes.map(|(layer, firsts)| (layer.clone(), firsts.iter().filter_map(room).collect())).collect()
    }

    /// How many more may begin on one device of a lane.
    fn left(&self, lane: &Lane, rank: u32, at: &DeviceId) -> usize {
        let worker = self.farm.workers.get(&at.worker).filter(|worker| worker.open());
        let on_hold = self.farm.is_on_hold(self.now, at);
        match worker.and_then(|worker| worker.devices.get(&at.index)) {
            Some(device) if !on_hold => device.busy.room(lane, rank),
            Some(_) | None => 0,
        }
    }

    /// Whether a layer that has tasks in line and was not asked in this draft has room beside shots in flight.
    pub(super) fn may_join(&self) -> bool {
        self.rooms.iter().any(|(layer, rooms)| {
            let in_line = || self.farm.jobs.get(&layer.0)?.layers.get(layer.1 as usize)?.in_line.as_ref();
            rooms.iter().any(|room| room.left > 0) && !self.asked.contains(layer) && in_line().is_some()
        })
    }

    /// Devices on which `task` joins shots of its layer. Not those that are kept for another, nor those for which a task
    /// waits that is to go first: shots that follow each other would never let go of them.
    pub(super) fn beside(&self, next: &mut Candidate<'a>, task: u32) -> Option<Beside> {
        if !in_flight(next.demand.seating) || self.rooms.is_empty() {
            return None;
        }
        next.look_for_shunned(self.farm, self.now, task);
        let id = next.task_id(task);
        let of_layer = (next.id.clone(), next.layer);
        let mine = |layer: &(JobId, u32)| *layer == of_layer || mutant::on(Mutant::LaneOfAnother);
        let rooms = self.rooms.iter().filter(|(layer, _)| mine(layer)).flat_map(|(_, rooms)| rooms);
        let ranks = next.demand.seating.ranks as usize;
        let mut fit = rooms.filter(|room| room.left > 0 && room.devices.len() == ranks);
        let room = fit.find(|room| {
            room.devices.iter().all(|at| {
                let is_kept = !self.is_for(at, &id) && !mutant::on(Mutant::LaneNeverEnds);
                let is_wanted = self.is_wanted_first(at) && !mutant::on(Mutant::LaneGoesFirst);
                !is_kept && !is_wanted && next.may_go_to(at, task) && self.is_there(at, room)
            })
        })?;
        Some(Beside { devices: room.devices.clone(), shots: room.shots })
    }

    /// Whether a device is still what it was in the snapshot: its shots fly on, or nobody was given it but others of this
    /// room.
    fn is_there(&self, at: &DeviceId, room: &Room) -> bool {
        match self.farm.busy(at) {
            Some(Busy::Free) => self.joined.get(at).map_or(self.is_free(at), |with| *with == room.devices),
            Some(Busy::Companions(_)) => true,
            Some(Busy::Alone(..)) | None => false,
        }
    }

    /// Whether a task that goes first, and found no device, could go to this one.
    fn is_wanted_first(&self, at: &DeviceId) -> bool {
        let worker = self.farm.workers.get(&at.worker);
        let class = worker.and_then(|worker| Some(worker.class(worker.devices.get(&at.index)?)));
        class.is_some_and(|class| {
            self.hungry.iter().any(|hungry| hungry.fits(&class) && hungry.may_go_at_worst(at))
        })
    }

    /// A task of the layer starts on `devices`: what is left there for its companions.
    pub(super) fn joins(&mut self, next: &Candidate<'a>, devices: &[DeviceId]) {
        let room =
            |at: &DeviceId| self.farm.workers.get(&at.worker)?.devices.get(&at.index).map(Device::room);
        let rooms: Vec<_> = devices.iter().filter_map(room).collect();
        if !next.demand.flies(&rooms) {
            return;
        }
        self.joined.extend(devices.iter().map(|device| (device.clone(), devices.to_vec())));
        let rooms = self.rooms.entry((next.id.clone(), next.layer)).or_default();
        match rooms.iter_mut().find(|room| room.devices == devices) {
            Some(room) => {
                room.shots += 1;
                room.left = room.left.saturating_sub(1);
            }
            None => {
                let places = devices.len() + usize::from(mutant::on(Mutant::LaneOverfull));
                rooms.push(Room { devices: devices.to_vec(), shots: 1, left: places - 1 });
            }
        }
    }

    /// Whether shots of the layer are in flight on a device: what comes free there is theirs without being kept.
    pub(super) fn is_own(&self, next: &Candidate<'a>, at: &DeviceId) -> bool {
        let own = self.rooms.get(&(next.id.clone(), next.layer));
        own.is_some_and(|rooms| rooms.iter().any(|room| room.devices.contains(at)))
    }
}
