//! Which devices could ever take a task of a layer, and which had better not.

use std::collections::BTreeSet;

use crate::{
    farm::{Farm, avoid::Standing},
    ids::{DeviceId, JobId, WorkerId},
    job::Job,
    model_card::ModelCard,
    mutant::{self, Mutant},
    spec::Resources,
    time::Time,
};

/// Whether a device with these tags and this much memory could take one rank: a bound that no placement passes, by the
/// size of the weights alone. A device that does not say how much memory it has is trusted.
pub(in crate::farm) fn fits(tags: &[String], memory_bytes: u64, wants: &Resources, card: &ModelCard) -> bool {
    wants.tags.iter().all(|tag| tags.contains(tag) || mutant::on(Mutant::TagsIgnored))
        && (memory_bytes == 0 || memory_bytes >= card.weights_bytes / u64::from(wants.ranks.max(1)))
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
        let wants = job.plan.resources(layer);
        let mut shunned = Self::default();
        for (name, worker) in farm.workers.iter().filter(|(_, worker)| worker.open()) {
            for (index, device) in &worker.devices {
                if !fits(&worker.tags, device.info.memory_bytes, wants, &plan.card) {
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
