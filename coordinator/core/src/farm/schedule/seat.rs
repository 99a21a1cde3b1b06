//! How many devices a layer's tasks take where its spec leaves that to the farm: from the model, and the workers that are
//! known. What was chosen is kept with the job from the first start on, since bytes depend on it.

use std::collections::BTreeMap;

use super::Demand;
use crate::{
    farm::Farm,
    ids::{DeviceId, TaskId, WorkerId},
    plan::LayerPlan,
    spec::{Ranks, Resources},
    split::{Choice, Deal, Fleet, Host, Kind, Link, Mode, Residency, Room, Seating, choose},
    view::WorkerState,
    worker::{Device, Worker},
};

/// How one task starts.
pub(in crate::farm) struct Seated {
    pub(in crate::farm) seating: Seating,
    /// Whether the farm chose it, so that it is to be remembered.
    pub(in crate::farm) chosen: bool,
    pub(in crate::farm) deal: Deal,
    /// By rank, estimated; 0 where nothing can be.
    pub(in crate::farm) needs: Vec<u64>,
    /// Whether others of its layer may be in flight beside it.
    pub(in crate::farm) flies: bool,
}

impl Farm {
    /// How a task starts on `devices`, one a rank.
    pub(in crate::farm) fn seated(&self, task: &TaskId, devices: &[DeviceId]) -> Seated {
        let job = &self.jobs[&task.job];
        let demand = Demand::of(self, job, task.layer);
        let room = |id: &DeviceId| self.workers.get(&id.worker)?.devices.get(&id.index).map(Device::room);
        let rooms: Vec<Room> = devices.iter().filter_map(room).collect();
        // The draft has dealt it on the same devices.
        let leanest = || Deal { residency: Residency::Streamed, shares: vec![1; devices.len()] };
        let deal = demand.deal(&rooms).unwrap_or_else(leanest);
        let flies = demand.flies(&rooms);
        let clips = if flies { demand.seating.ranks } else { 1 };
        let need = |(rank, room): (usize, &Room)| {
            demand.need(&deal, rank, room.kind, clips).map_or(0, |need| need.total())
        };
        let needs = rooms.iter().enumerate().map(need).collect();
        let is_reckoned = job.plan.layers()[task.layer as usize].card.shape.is_some();
        let chosen = is_reckoned && job.plan.resources(task.layer).seating().is_none();
        Seated { seating: demand.seating, chosen, deal, needs, flies }
    }

    /// The choice for a layer that leaves it to the farm, `shots` of whose tasks wait.
    pub(in crate::farm) fn seat(
        &self,
        plan: &LayerPlan,
        wants: &Resources,
        scale: f64,
        shots: u64,
    ) -> Seating {
        if plan.card.shape.is_none() || wants.ranks == Ranks::Unsaid && self.holds_whole(plan, wants, scale) {
            return Seating::ALONE;
        }
        match self.choice(plan, wants, scale, shots).and_then(|choice| choice.chosen) {
            Some(way) => Seating { ranks: way.ranks, mode: way.mode.unwrap_or_default() },
            None => Seating::ALONE,
        }
    }

    /// Whether a device that is known holds the model without streaming its weights.
    fn holds_whole(&self, plan: &LayerPlan, wants: &Resources, scale: f64) -> bool {
        let Some((shape, shot)) = plan.card.shape.as_ref().zip(plan.shot.as_ref()) else { return true };
        self.here(wants).flat_map(|(_, worker)| worker.devices.values()).any(|device| {
            shape
                .deal(shot, Mode::Tensor, &[scaled(device, scale)])
                .is_some_and(|deal| deal.residency != Residency::Streamed)
        })
    }

    /// All ways over the workers that are known; `None` for a model of which nothing can be reckoned.
    pub(in crate::farm) fn choice(
        &self,
        plan: &LayerPlan,
        wants: &Resources,
        scale: f64,
        shots: u64,
    ) -> Option<Choice> {
        let (shape, shot) = plan.card.shape.as_ref().zip(plan.shot.as_ref())?;
        Some(choose(shape, shot, &self.fleet(wants, scale), shots, wants.wish()))
    }

    /// Workers with the tags that a layer asks for. One that is away may come back; one that said goodbye may not.
    fn here<'a>(&'a self, wants: &'a Resources) -> impl Iterator<Item = (&'a WorkerId, &'a Worker)> {
        let tagged = |worker: &Worker| wants.tags.iter().all(|tag| worker.tags.contains(tag));
        self.workers.iter().filter(move |(_, worker)| worker.state == WorkerState::Ready && tagged(worker))
    }

    fn fleet(&self, wants: &Resources, scale: f64) -> Fleet {
        let mut hosts = Vec::new();
        for (name, worker) in self.here(wants) {
            let mut kinds: BTreeMap<Kind, Host> = BTreeMap::new();
            for device in worker.devices.values() {
                let room = scaled(device, scale);
                let host = kinds.entry(room.kind).or_insert_with(|| Host {
                    link: worker.link.clone().unwrap_or_else(Link::within),
                    ..Host::new(name.as_str(), room.kind, Vec::new())
                });
                host.devices.push(room.memory_bytes);
                if device.info.gflops > 0 {
                    host.flops = device.info.gflops as f64 * 1e9;
                }
            }
            hosts.extend(kinds.into_values());
        }
        Fleet { hosts, between: self.config.between.clone() }
    }
}

fn scaled(device: &Device, scale: f64) -> Room {
    let room = device.room();
    Room { memory_bytes: (room.memory_bytes as f64 / scale) as u64, ..room }
}
