//! The coordinator's only reader of time.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use croft_core::time::Time;

/// Time that never goes back: the wall clock is read once, then only the steady one. A clock set by hand or by NTP
/// must not break every lease of the farm.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
    epoch_ms: u64,
}

impl Clock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that may")]
    pub(crate) fn start() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), epoch_ms: millis(since) }
    }

    /// Milliseconds times 2^20: what is minted by counting from here lies above whatever an earlier life minted, unless
    /// the clock was set back; what was stored counts then.
    pub(crate) fn seed(&self) -> u64 {
        self.now().0 << 20
    }

    pub(crate) fn now(&self) -> Time {
        Time(self.epoch_ms).plus_ms(millis(self.started.elapsed()))
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
