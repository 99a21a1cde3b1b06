//! How long to wait before the next dial: doubling up to a bound, with chance in it, so that a hundred workers do not
//! all knock in the same instant after their coordinator was restarted. Of several coordinators one leads: all are tried
//! in quick succession, and none is left alone for long, since an election takes seconds.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);
/// With several coordinators.
const LONGEST_OF_SEVERAL: Duration = Duration::from_millis(800);
/// Between two coordinators of one round.
const NEXT: Duration = Duration::from_millis(20);

/// The waits between failed dials.
#[derive(Debug)]
pub(crate) struct Backoff {
    coordinators: u32,
    failures: u32,
}

impl Backoff {
    /// For this many addresses, dialled in turn.
    pub(crate) fn of(coordinators: usize) -> Self {
        Self { coordinators: u32::try_from(coordinators.max(1)).unwrap_or(u32::MAX), failures: 0 }
    }

    /// The next wait; `chance` is between 0 and 1.
    pub(crate) fn next(&mut self, chance: f64) -> Duration {
        self.failures = self.failures.saturating_add(1);
        if !self.failures.is_multiple_of(self.coordinators) {
            return NEXT;
        }
        let rounds = self.failures / self.coordinators - 1;
        let longest = if self.coordinators > 1 { LONGEST_OF_SEVERAL } else { LONGEST };
        let doubled = FIRST.saturating_mul(1 << rounds.min(10)).min(longest);
        doubled.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
    }

    /// A dial went well.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(coordinators: usize) -> Vec<u128> {
        let mut backoff = Backoff::of(coordinators);
        (0..8).map(|_| backoff.next(1.0).as_millis()).collect()
    }

    #[test]
    fn waits_double_to_a_bound_and_start_again() {
        assert_eq!(waits(1), [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        let mut backoff = Backoff::of(1);
        backoff.next(1.0);
        backoff.reset();
        assert_eq!(backoff.next(0.0), FIRST / 2);
    }

    #[test]
    fn all_of_several_are_tried_before_a_wait_and_no_wait_is_long() {
        assert_eq!(waits(3), [20, 20, 200, 20, 20, 400, 20, 20]);
        assert_eq!(*waits(2).last().expect("eight"), 800);
    }
}
