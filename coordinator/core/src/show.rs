//! A show's share of the farm: device time is given out by weight, whatever the number and size of its jobs.
//!
//! Each show carries a virtual time that runs with the device time it uses, divided by its weight; the one whose clock
//! is furthest behind is served next. What a task will cost is charged at its start by the measured pace, and put right
//! at its end.

use serde::{Deserialize, Serialize};

use crate::{
    mutant::{self, Mutant},
    usage::Days,
};

/// The weight of a show that nobody set.
pub const WEIGHT: u32 = 100;
pub const WEIGHT_MAX: u32 = 1_000;
/// Keeps the division by a weight exact enough.
const SCALE: u64 = 1_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShowSettings {
    /// 1 to [`WEIGHT_MAX`].
    pub weight: u32,
    /// Devices that it may hold at once; `None` for no bound.
    pub max_devices: Option<u32>,
}

impl Default for ShowSettings {
    fn default() -> Self {
        Self { weight: WEIGHT, max_devices: None }
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Show {
    pub(crate) settings: ShowSettings,
    /// Whether somebody set it, or it is only known from a job.
    pub(crate) set: bool,
    /// Devices that it holds now.
    pub(crate) devices: u32,
    /// Its virtual time.
    pub(crate) clock: u64,
    /// Device milliseconds used since the coordinator started.
    pub(crate) used_ms: u64,
    /// What its forgotten jobs have used.
    pub(crate) forgotten: Days,
}

impl Show {
    /// What `device_ms` move its clock.
    pub(crate) fn cost(&self, device_ms: u64) -> u64 {
        if mutant::on(Mutant::WeightIgnored) {
            return device_ms;
        }
        device_ms.saturating_mul(SCALE) / u64::from(self.settings.weight.clamp(1, WEIGHT_MAX))
    }

    /// A task starts that is expected to take `device_ms`.
    pub(crate) fn charge(&mut self, devices: u32, device_ms: u64) {
        self.devices += devices;
        self.clock = self.clock.saturating_add(self.cost(device_ms));
    }

    /// It ended: what was charged is put right.
    pub(crate) fn settle(&mut self, devices: u32, charged_ms: u64, used_ms: u64) {
        self.devices = self.devices.saturating_sub(devices);
        self.clock = self.clock.saturating_add(self.cost(used_ms)).saturating_sub(self.cost(charged_ms));
        self.used_ms = self.used_ms.saturating_add(used_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_the_weight_costs_half() {
        let show = |weight| Show { settings: ShowSettings { weight, max_devices: None }, ..Show::default() };
        assert_eq!(show(200).cost(1_000) * 2, show(100).cost(1_000));
    }

    #[test]
    fn a_wrong_guess_is_put_right() {
        let mut show = Show::default();
        show.charge(1, 60_000);
        show.settle(1, 60_000, 500);
        assert_eq!((show.clock, show.devices), (show.cost(500), 0));
    }
}
