//! Devices that are kept for a task that needs several (EASY backfill): the ones that will be free soonest. Others may
//! use them meanwhile when they are measured to end before the last of them comes free.

use std::collections::BTreeSet;

use crate::{
    ids::{DeviceId, TaskId},
    time::Time,
};

/// Tasks that devices are kept for at once.
pub(super) const RESERVATIONS_MAX: usize = 8;
/// A backfilled task must be expected to end with this much to spare, as a fraction of its time.
const SPARE: (u64, u64) = (5, 4);

/// What is kept for one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::farm) struct Reservation {
    pub(in crate::farm) task: TaskId,
    pub(in crate::farm) devices: BTreeSet<DeviceId>,
    pub(in crate::farm) made: Time,
    /// From here on nobody uses them meanwhile: forecasts were wrong long enough.
    pub(in crate::farm) firm: Time,
}

impl Reservation {
    /// Kept from `made` on, when all of them should be free at `due`.
    pub(super) fn new(task: TaskId, devices: BTreeSet<DeviceId>, made: Time, due: Time) -> Self {
        let firm = made.plus_ms(due.since(made).saturating_mul(2));
        Self { task, devices, made, firm }
    }

    /// Whether a task measured to take `ms` may use one of the devices until the last comes free at `due`.
    pub(super) fn lends(&self, now: Time, due: Time, ms: Option<u64>) -> bool {
        let ends = |ms: u64| now.plus_ms(ms.saturating_mul(SPARE.0) / SPARE.1);
        now < self.firm && ms.is_some_and(|ms| ends(ms) <= due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::JobId;

    #[test]
    fn a_device_is_lent_only_to_what_ends_in_time_and_not_for_ever() {
        let task = TaskId { job: JobId::new("gang").expect("a name"), layer: 0, task: 0 };
        let kept = Reservation::new(task, BTreeSet::new(), Time(0), Time(100));
        assert!(kept.lends(Time(0), Time(100), Some(80)));
        assert!(!kept.lends(Time(0), Time(100), Some(81)));
        assert!(!kept.lends(Time(0), Time(100), None), "what was never measured is not lent to");
        assert!(!kept.lends(Time(200), Time(1_000), Some(1)), "forecasts that keep slipping end the lending");
    }
}
