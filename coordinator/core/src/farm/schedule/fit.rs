//! Which devices could ever take a task of a layer, and which had better not.

use std::collections::BTreeSet;

use crate::{
    farm::{Farm, avoid::Standing, lanes::in_flight},
    ids::{DeviceId, JobId, WorkerId},
    job::Job,
    model_card::ModelCard,
    mutant::{self, Mutant},
    plan::LayerPlan,
    spec::Resources,
    split::{Deal, Kind, Mode, Need, Part, Residency, Room, Seating, Shot},
    time::Time,
};

/// What the tasks of a layer need of the devices that render them, by its largest task.
#[derive(Debug, Clone)]
pub(in crate::farm) struct Demand<'a> {
    pub(in crate::farm) wants: &'a Resources,
    pub(in crate::farm) seating: Seating,
    card: &'a ModelCard,
    shot: Option<Shot>,
    /// What was measured of estimates like it, 1 or more.
    scale: f64,
    /// The least that a rank needs, by kind of device.
    least: [u64; 2],
}

impl<'a> Demand<'a> {
    /// Of a layer of a job, as it would be placed now.
    pub(in crate::farm) fn of(farm: &Farm, job: &'a Job, layer: u32) -> Self {
        let (plan, known) = (&job.plan.layers()[layer as usize], &job.layers[layer as usize]);
        let wants = job.plan.resources(layer);
        let scale = farm.peaks.scale(&plan.card.digest).max(known.strain);
        let chosen = wants.seating().or(known.seating);
        let seating = chosen.unwrap_or_else(|| farm.seat(plan, wants, scale, known.counts.unsettled()));
        Self::new(plan, wants, seating, scale)
    }

    pub(in crate::farm) fn new(
        plan: &'a LayerPlan,
        wants: &'a Resources,
        seating: Seating,
        scale: f64,
    ) -> Self {
        let mut demand = Self { wants, seating, card: &plan.card, shot: plan.shot, scale, least: [0; 2] };
        demand.least = [Kind::Cpu, Kind::Gpu].map(|kind| demand.least(kind));
        demand
    }

    fn least(&self, kind: Kind) -> u64 {
        let Some((shape, shot)) = self.card.shape.as_ref().zip(self.shot.as_ref()) else {
            return self.card.weights_bytes / u64::from(self.seating.ranks.max(1));
        };
        let Seating { ranks, mode } = self.seating;
        // Of several the last, which decodes nothing; it may have a single head.
        let shares = match (ranks, mode) {
            (0 | 1, _) => vec![1],
            (_, Mode::Tensor) => vec![shape.heads.saturating_sub(1).max(1), 1],
            (_, Mode::Layers | Mode::Guidance) => vec![1; ranks as usize],
        };
        let part = Part { mode, rank: shares.len() - 1, shares: &shares, clips: 1 };
        self.scaled(shape.need(shot, &part, Residency::Streamed, kind).total())
    }

    fn scaled(&self, bytes: u64) -> u64 {
        (bytes as f64 * self.scale) as u64
    }

    /// Whether a device with these tags could take one rank: a bound that no placement passes. A device that does not say
    /// how much memory it has is trusted; a model without a shape is judged by the size of its weights.
    pub(in crate::farm) fn fits(&self, tags: &[String], room: Room) -> bool {
        self.wants.tags.iter().all(|tag| tags.contains(tag) || mutant::on(Mutant::TagsIgnored))
            && (room.memory_bytes == 0 || room.memory_bytes >= self.least[room.kind as usize])
    }

    /// What each rank takes on `rooms`, rank 0 on the first; `None` where they do not hold it all.
    pub(in crate::farm) fn deal(&self, rooms: &[Room]) -> Option<Deal> {
        let Some((shape, shot)) = self.card.shape.as_ref().zip(self.shot.as_ref()) else {
            return Some(Deal { residency: Residency::Resident, shares: vec![1; rooms.len()] });
        };
        shape.deal(shot, self.seating.mode, &self.rooms(rooms))
    }

    /// Whether tasks like it may be in flight together on `rooms`: each needs working memory of its own.
    pub(in crate::farm) fn flies(&self, rooms: &[Room]) -> bool {
        in_flight(self.seating)
            && (self.card.shape.as_ref().zip(self.shot.as_ref()))
                .is_none_or(|(shape, shot)| shape.flies(shot, self.seating.mode, &self.rooms(rooms)))
    }

    /// What `rooms` hold by the estimate.
    fn rooms(&self, rooms: &[Room]) -> Vec<Room> {
        let scaled =
            |room: &Room| Room { memory_bytes: (room.memory_bytes as f64 / self.scale) as u64, ..*room };
        rooms.iter().map(scaled).collect()
    }

    /// What rank `rank` of a deal is estimated to need for `clips` in flight; `None` for a model of which nothing can be
    /// reckoned.
    pub(in crate::farm) fn need(&self, deal: &Deal, rank: usize, kind: Kind, clips: u32) -> Option<Need> {
        let (shape, shot) = self.card.shape.as_ref().zip(self.shot.as_ref())?;
        let part = Part { mode: self.seating.mode, rank, shares: &deal.shares, clips };
        Some(shape.need(shot, &part, deal.residency, kind))
    }

    /// The most that a rank needs on devices of `kind`, however lean, in words.
    pub(in crate::farm) fn words(&self, kind: Kind) -> Option<String> {
        let deal =
            Deal { residency: Residency::Streamed, shares: vec![1; self.seating.ranks.max(1) as usize] };
        let need = self.need(&deal, 0, kind, 1)?;
        let measured = match self.scale {
            scale if scale > 1.0 => format!(", and {scale:.2} times that by what was measured"),
            _ => String::new(),
        };
        let whose = if self.seating.ranks > 1 {
            format!("a rank of {}", self.seating.words())
        } else {
            "it".to_owned()
        };
        Some(format!("{whose} needs {}{measured}, even streamed", need.words()))
    }
}

/// Devices that tasks of one layer had better not go to.
#[derive(Debug, Default)]
pub(super) struct Shunned {
    /// Not now, whatever else there is.
    not: BTreeSet<DeviceId>,
    /// Only where there are no others.
    last: BTreeSet<DeviceId>,
    /// Workers of all the others that could take them.
    others: BTreeSet<WorkerId>,
}

impl Shunned {
    pub(super) fn of(farm: &Farm, now: Time, id: &JobId, job: &Job, layer: u32) -> Self {
        let plan = &job.plan.layers()[layer as usize];
        let demand = Demand::of(farm, job, layer);
        let mut shunned = Self::default();
        for (name, worker) in farm.workers.iter().filter(|(_, worker)| worker.open()) {
            for (index, device) in &worker.devices {
                if !demand.fits(&worker.tags, device.room()) {
                    continue;
                }
                let at = DeviceId { worker: name.clone(), index: *index };
                match farm.avoided.standing(now, id, &plan.card.digest, &at) {
                    Standing::Good if device.held_until <= now => drop(shunned.others.insert(name.clone())),
                    Standing::Good => {}
                    Standing::Last => drop(shunned.last.insert(at)),
                    Standing::Not(_) => drop(shunned.not.insert(at)),
                }
            }
        }
        if shunned.others.is_empty() {
            shunned.others = std::mem::take(&mut shunned.last).into_iter().map(|at| at.worker).collect();
        }
        shunned
    }

    /// Whether nothing but a preference speaks against `device`.
    pub(super) fn allows_at_worst(&self, device: &DeviceId) -> bool {
        !self.not.contains(device)
    }

    /// Whether a task that failed last on `failed_on` may go to `device`.
    pub(super) fn allows(&self, device: &DeviceId, failed_on: Option<&WorkerId>) -> bool {
        let others = || self.others.iter().any(|other| *other != device.worker);
        let again = failed_on == Some(&device.worker) && others();
        !(again || self.not.contains(device) || self.last.contains(device))
    }
}
