//! What was used of the farm: device time, attempts, bytes; by the day (UTC) on which it ended.
//!
//! It follows from the attempts that tasks remember, and is stored with them: a task's record keeps the sum of what it
//! has forgotten, a show's that of its forgotten jobs. So counting costs no write of its own.

use std::{
    collections::BTreeMap,
    ops::{Add, AddAssign},
};

use serde::{Deserialize, Serialize};

use crate::{task::Ended, time::Time};

const DAY_MS: u64 = 24 * 3_600_000;
/// Days that are told apart; what is older than the newest of them counts to the oldest.
const DAYS_MAX: usize = 400;

/// Of attempts that have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    pub attempts: u64,
    /// Those that ended badly, whoever was to blame.
    pub wasted: u64,
    /// Wall time by the devices held.
    pub device_ms: u64,
    /// Of the attempts that ended badly.
    pub wasted_ms: u64,
    /// Published files.
    pub bytes: u64,
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            attempts: self.attempts.saturating_add(other.attempts),
            wasted: self.wasted.saturating_add(other.wasted),
            device_ms: self.device_ms.saturating_add(other.device_ms),
            wasted_ms: self.wasted_ms.saturating_add(other.wasted_ms),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// Usage by day.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Days(BTreeMap<u32, Usage>);

impl Days {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn add(&mut self, at: Time, usage: Usage) {
        *self.0.entry(day(at)).or_default() += usage;
        while self.0.len() > DAYS_MAX
            && let Some((_, oldest)) = self.0.pop_first()
            && let Some(mut next) = self.0.first_entry()
        {
            *next.get_mut() += oldest;
        }
    }

    pub(crate) fn add_all(&mut self, other: &Self) {
        for (day, usage) in &other.0 {
            self.add(Time(u64::from(*day) * DAY_MS), *usage);
        }
    }

    /// Of the day of `since` and later.
    pub(crate) fn sum(&self, since: Time) -> Usage {
        self.0.range(day(since)..).fold(Usage::default(), |sum, (_, usage)| sum + *usage)
    }
}

impl Usage {
    /// Of one attempt, whose task published `bytes` with it.
    pub(crate) fn of(ended: &Ended, bytes: u64) -> Self {
        let device_ms = ended.device_ms();
        let badly = ended.failure.is_some();
        Self {
            attempts: 1,
            wasted: u64::from(badly),
            device_ms,
            wasted_ms: if badly { device_ms } else { 0 },
            bytes: if badly { 0 } else { bytes },
        }
    }
}

fn day(at: Time) -> u32 {
    u32::try_from(at.0 / DAY_MS).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(device_ms: u64) -> Usage {
        Usage { attempts: 1, device_ms, ..Usage::default() }
    }

    #[test]
    fn what_ended_before_the_day_of_since_is_left_out() {
        let mut days = Days::default();
        days.add(Time(DAY_MS - 1), used(5));
        days.add(Time(DAY_MS), used(7));
        days.add(Time(2 * DAY_MS), used(11));
        assert_eq!(days.sum(Time(0)).device_ms, 23);
        assert_eq!(days.sum(Time(DAY_MS + 1)).device_ms, 18, "the whole day of `since` counts");
    }

    #[test]
    fn a_farm_of_many_years_keeps_its_sum_and_a_bound() {
        let mut days = Days::default();
        for at in 0..3 * DAYS_MAX as u64 {
            days.add(Time(at * DAY_MS), used(1));
        }
        assert_eq!((days.0.len(), days.sum(Time(0)).device_ms), (DAYS_MAX, 3 * DAYS_MAX as u64));
    }
}
