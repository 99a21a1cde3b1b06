//! What a layer would meet on this farm, before it is submitted: which devices hold it and how, and how long it takes.

use std::collections::BTreeMap;

use crate::{
    pace::Pace,
    plan::Plan,
    split::{Kind, Residency, Room, bytes},
    view::{Forecast, WorkerState},
};

use super::{Farm, schedule::Demand};

impl Farm {
    #[must_use]
    pub fn forecast(&self, plan: &Plan, layer: u32) -> Forecast {
        let (planned, wants) = (&plan.layers()[layer as usize], plan.resources(layer));
        let tasks = u64::from(planned.tasks);
        let devices = self.status().devices;
        let scale = self.peaks.scale(&planned.card.digest);
        let seating = wants.seating().unwrap_or_else(|| self.seat(planned, wants, scale, tasks));
        let demand = Demand::new(planned, wants, seating, scale);
        let ranks = seating.ranks.max(1);
        let here = self.workers.values().filter(|worker| worker.state == WorkerState::Ready);
        let rooms: Vec<(bool, Room)> = here
            .filter(|worker| worker.session.is_some())
            .flat_map(|worker| worker.devices.values().map(|device| (&worker.tags, device)))
            .map(|(tags, device)| (demand.fits(tags, device.room()), device.room()))
            .collect();
        let mut fit: Vec<Room> = rooms.iter().filter(|(fits, _)| *fits).map(|(_, room)| *room).collect();
        fit.sort_by_key(Room::order);
        // Ranks of a gang are of one kind.
        let whole = |kind| -> Option<Vec<Room>> {
            let alike: Vec<Room> = fit.iter().copied().filter(|room| room.kind == kind).collect();
            let first = alike.get(..ranks as usize)?;
            demand.deal(first).is_some().then_some(alike)
        };
        let alike: Vec<Vec<Room>> = Kind::FASTEST_FIRST.into_iter().filter_map(whole).collect();
        let is_whole = !alike.is_empty();
        let devices_fit = alike.iter().map(|rooms| rooms.len() as u32).sum::<u32>();
        let pace = self.paces.get(&planned.card.digest).and_then(Pace::median_ms);
        let side_by_side = u64::from(devices_fit / ranks);
        let eta_ms = pace.filter(|_| side_by_side > 0).map(|ms| tasks.saturating_mul(ms) / side_by_side);
        let mut memory = Vec::new();
        if planned.card.shape.is_some() && is_whole {
            memory.extend(held(&demand, &alike));
        }
        let small = rooms.iter().filter(|(fits, _)| !fits).map(|(_, room)| *room);
        let warning = match small.max_by_key(|room| room.memory_bytes) {
            _ if is_whole || devices == 0 => None,
            Some(largest) => {
                let need = demand
                    .words(largest.kind)
                    .unwrap_or_else(|| format!("its weights are {}", bytes(planned.card.weights_bytes)));
                Some(format!(
                    "layer '{}' fits 0 of {devices} devices that are here: {need}, and the largest has {}; it waits for larger \
                     ones, or ask for fewer frames or pixels, vae_tiling: true, or more ranks",
                    planned.name,
                    bytes(largest.memory_bytes)
                ))
            }
            None => Some(format!(
                "layer '{}' asks for {ranks} devices at once, and {} that fit are here: it waits for more",
                planned.name,
                fit.len()
            )),
        };
        let split = match self.choice(planned, wants, scale, tasks) {
            // What one device holds whole needs no table.
            Some(choice) if seating.ranks > 1 || !is_whole => choice.words,
            Some(choice) if choice.others.len() > 1 => choice.words,
            Some(_) | None => Vec::new(),
        };
        Forecast { devices, devices_fit, eta_ms, memory, split, warning }
    }
}

/// On how many devices of which kind a rank lies how, and what it needs there, a line each.
fn held(demand: &Demand<'_>, alike: &[Vec<Room>]) -> Vec<String> {
    let ranks = demand.seating.ranks.max(1) as usize;
    let mut groups: BTreeMap<(Kind, Residency), (usize, String)> = BTreeMap::new();
    for gang in alike.iter().flat_map(|rooms| rooms.chunks_exact(ranks)) {
        let Some(deal) = demand.deal(gang) else { continue };
        let words = || demand.need(&deal, 0, gang[0].kind, 1).map(|need| need.words()).unwrap_or_default();
        groups.entry((gang[0].kind, deal.residency)).or_insert_with(|| (0, words())).0 += ranks;
    }
    let kind = |kind: Kind| match kind {
        Kind::Cpu => "cpu",
        Kind::Gpu => "gpu",
    };
    let whose = if ranks == 1 { String::new() } else { format!(", {}", demand.seating.words()) };
    groups
        .into_iter()
        .map(|((of, residency), (count, words))| {
            format!("{} on {count} {} devices{whose}: {words}", residency.name(), kind(of))
        })
        .collect()
}
