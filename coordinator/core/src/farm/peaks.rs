//! What ranks measured of their memory beside what was estimated: a model that takes more than its shape says is placed by
//! what it takes. Learned anew after a restart, as paces are.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    failure::{Cause, Failure},
    ids::{AttemptId, DeviceId, SessionId},
    split::bytes,
};

use super::{Farm, schedule::Demand};

/// Measurements kept of each model: the largest counts, and an odd one is forgotten after so many.
const WINDOW: usize = 31;
/// Models remembered.
const MODELS_MAX: usize = 1_000;
/// An estimate that is further off than this is a defect of the estimate, and no reason to refuse devices.
const SCALE_MAX: f64 = 2.0;
/// Beyond the memory in which an attempt ran out of it, the next one is taken to need so much more.
const STRAIN: f64 = 1.05;

/// By model digest, measured over estimated.
#[derive(Debug, Default)]
pub(super) struct Peaks(BTreeMap<String, VecDeque<f64>>);

impl Peaks {
    pub(super) fn measured(&mut self, model: &str, estimated: u64, peak: u64) {
        if estimated == 0 || peak == 0 {
            return;
        }
        if self.0.len() >= MODELS_MAX && !self.0.contains_key(model) {
            return;
        }
        let window = self.0.entry(model.to_owned()).or_default();
        if window.len() == WINDOW {
            window.pop_front();
        }
        window.push_back(peak as f64 / estimated as f64);
    }

    /// By how much estimates of a model are to be raised: 1 where nothing was measured, or less than was estimated.
    pub(super) fn scale(&self, model: &str) -> f64 {
        let window = self.0.get(model).into_iter().flatten();
        window.copied().fold(1.0, f64::max).min(SCALE_MAX)
    }
}

impl Farm {
    /// A rank that is done says how much memory it held.
    pub(super) fn peak_measured(&mut self, session: SessionId, attempt: &AttemptId, rank: u32, peak: u64) {
        let seat = self.live(attempt).and_then(|live| live.seats.get(rank as usize));
        let Some(estimated) = seat.filter(|seat| seat.session == Some(session)).map(|seat| seat.need_bytes)
        else {
            return;
        };
        let Some(job) = self.jobs.get(&attempt.task.job) else { return };
        let model = job.plan.layers()[attempt.task.layer as usize].card.digest.clone();
        self.peaks.measured(&model, estimated, peak);
    }

    /// After an attempt that ran out of memory on `device`: the layer counts as needing more than that device has, in the
    /// residency that it had there. The failure says what that means for the next attempt.
    pub(super) fn strained(&mut self, attempt: &AttemptId, device: &DeviceId, failure: Failure) -> Failure {
        if !matches!(failure.cause, Cause::OomDevice | Cause::OomHost) {
            return failure;
        }
        let id = &attempt.task;
        let seat = self.live(attempt).and_then(|live| live.seats.iter().find(|seat| seat.device == *device));
        let estimated = seat.map_or(0, |seat| seat.need_bytes);
        let known = self.workers.get(&device.worker).and_then(|worker| worker.devices.get(&device.index));
        let Some(room) = known.map(|device| device.room()) else { return failure };
        let Some(job) = self.jobs.get_mut(&id.job) else { return failure };
        if estimated == 0 || room.memory_bytes == 0 {
            return failure;
        }
        let layer = &mut job.layers[id.layer as usize];
        layer.strain = layer.strain.max(room.memory_bytes as f64 / estimated as f64 * STRAIN);
        let strain = layer.strain;
        let job = &self.jobs[&id.job];
        let demand = Demand::of(self, job, id.layer);
        let next = match demand.deal(&[room]).filter(|_| demand.seating.ranks == 1) {
            Some(deal) => format!("it is tried {} on devices of this size", deal.residency.name()),
            None => "it is tried on larger devices, where there are".to_owned(),
        };
        let why = format!(
            "estimated {} of {}; from now on this layer counts for {strain:.2} times its estimate: {next}",
            bytes(estimated),
            bytes(room.memory_bytes),
        );
        let remedy = if failure.remedy.is_empty() {
            "fewer frames or pixels, or vae_tiling: true, need less".to_owned()
        } else {
            failure.remedy
        };
        Failure { message: format!("{} ({why})", failure.message), remedy, ..failure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_of_the_newest_counts_and_less_than_estimated_counts_for_nothing() {
        let mut peaks = Peaks::default();
        assert_eq!(peaks.scale("m"), 1.0);
        peaks.measured("m", 100, 80);
        assert_eq!(peaks.scale("m"), 1.0);
        peaks.measured("m", 100, 120);
        (1..WINDOW).for_each(|_| peaks.measured("m", 100, 110));
        assert_eq!(peaks.scale("m"), 1.2);
        peaks.measured("m", 100, 110);
        assert_eq!(peaks.scale("m"), 1.1, "the oldest is forgotten");
        peaks.measured("m", 1, 100);
        assert_eq!(peaks.scale("m"), SCALE_MAX);
        peaks.measured("other", 0, 100);
        assert_eq!(peaks.scale("other"), 1.0, "what was not estimated is not compared");
    }
}
