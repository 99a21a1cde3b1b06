//! A worker and its devices, as the farm knows them.
//!
//! ```text
//! hello -> Ready --silent past the lease, or stream broken and not back in time--> Lost --hello--> Ready
//!            '--goodbye--> Gone --hello--> Ready
//! ```

use std::collections::BTreeMap;

use crate::{
    ids::{AttemptId, SessionId},
    step::DeviceInfo,
    time::Time,
    view::WorkerState,
};

/// Failures in a row that put a device on hold.
const FAILURES_TO_HOLD: u32 = 3;
/// The first hold; it doubles with each further failure.
const HOLD_MS: u64 = 30_000;
const HOLD_MS_MAX: u64 = 10 * 60_000;

#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) state: WorkerState,
    /// Its stream; `None` while it is away.
    pub(crate) session: Option<SessionId>,
    pub(crate) incarnation: String,
    pub(crate) host: String,
    pub(crate) version: String,
    pub(crate) tags: Vec<String>,
    pub(crate) seen: Time,
    pub(crate) devices: BTreeMap<u32, Device>,
}

#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) info: DeviceInfo,
    pub(crate) busy: Busy,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    /// Failures in a row that were its fault.
    pub(crate) row: u32,
    pub(crate) held_until: Time,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Busy {
    Free,
    With(AttemptId),
    /// Asked to stop an attempt that no longer counts; free when it says so, or past `until`.
    Stopping {
        attempt: AttemptId,
        until: Time,
    },
}

impl Device {
    pub(crate) fn new(info: DeviceInfo) -> Self {
        Self { info, busy: Busy::Free, succeeded: 0, failed: 0, row: 0, held_until: Time::default() }
    }

    /// A failure that was this device's fault. A device that fails everything it is given would otherwise eat the
    /// tries of a whole job, being the quickest to be free again.
    pub(crate) fn blamed(&mut self, now: Time) {
        self.failed += 1;
        self.row += 1;
        if self.row >= FAILURES_TO_HOLD {
            let doubled = HOLD_MS.saturating_mul(1 << (self.row - FAILURES_TO_HOLD).min(10));
            self.held_until = now.plus_ms(doubled.min(HOLD_MS_MAX));
        }
    }

    pub(crate) fn praised(&mut self) {
        self.succeeded += 1;
        self.row = 0;
        self.held_until = Time::default();
    }

    /// Whether it holds the weights of `model`.
    pub(crate) fn holds(&self, model: &str) -> bool {
        self.info.resident_models.iter().any(|m| m == model)
    }
}
