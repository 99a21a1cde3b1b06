//! What was measured lately, in a bounded window, and its median: the one number that a slow outlier cannot move.

use std::collections::VecDeque;

/// Measurements kept.
const WINDOW: usize = 31;

/// The newest measurements of one quantity, milliseconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pace(VecDeque<u64>);

impl Pace {
    pub(crate) fn measured(&mut self, ms: u64) {
        if self.0.len() == WINDOW {
            self.0.pop_front();
        }
        self.0.push_back(ms);
    }

    /// The median, or `None` before the first measurement.
    pub(crate) fn median_ms(&self) -> Option<u64> {
        let mut sorted: Vec<u64> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_clip_does_not_move_the_pace() {
        let mut pace = Pace::default();
        assert_eq!(pace.median_ms(), None);
        for ms in [10, 11, 9, 100_000, 10] {
            pace.measured(ms);
        }
        assert_eq!(pace.median_ms(), Some(10));
    }

    #[test]
    fn the_window_forgets() {
        let mut pace = Pace::default();
        (0..WINDOW).for_each(|_| pace.measured(1));
        (0..WINDOW).for_each(|_| pace.measured(5));
        assert_eq!(pace.median_ms(), Some(5));
    }
}
