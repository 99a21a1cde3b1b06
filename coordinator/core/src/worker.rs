//! A worker and its devices, as the farm knows them.
//!
//! ```text
//! hello -> Ready --silent past the lease, or stream broken and not back in time--> Lost --hello--> Ready
//!            '--goodbye--> Gone --hello--> Ready
//! ```
//!
//! Locks are something else: a locked worker is there and gets no work.

mod busy;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    ids::{JobId, SessionId},
    mutant::{self, Mutant},
    split::{Kind, Link, Room},
    step::DeviceInfo,
    time::Time,
    view::WorkerState,
};

pub(crate) use busy::{Busy, Doing, Held, Lane, Tenant};

/// Failures in a row that put a device on hold, when they were of different jobs.
const FAILURES_TO_HOLD: u32 = 3;
/// The first hold; it doubles with each further failure.
const HOLD_MS: u64 = 30_000;
const HOLD_MS_MAX: u64 = 10 * 60_000;

/// Who keeps a worker from getting work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockKind {
    /// A wrangler.
    Locked,
    /// The workstation itself: its owner is there, or it is outside of its schedule.
    Nimby,
    /// A wrangler who wants it empty.
    Draining,
}

impl LockKind {
    /// As people write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Locked => "LOCKED",
            Self::Nimby => "NIMBY_LOCKED",
            Self::Draining => "DRAINING",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) state: WorkerState,
    /// Its stream; `None` while it is away.
    pub(crate) session: Option<SessionId>,
    pub(crate) incarnation: String,
    pub(crate) host: String,
    pub(crate) version: String,
    pub(crate) tags: Vec<String>,
    /// Between its devices, where it says.
    pub(crate) link: Option<Link>,
    pub(crate) seen: Time,
    pub(crate) locks: BTreeMap<LockKind, String>,
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
    /// Whose task failed first in that row, and whether another job's did since.
    row_job: Option<JobId>,
    row_mixed: bool,
    pub(crate) held_until: Time,
}

/// What makes devices alike for the scheduler.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Class {
    pub(crate) tags: Vec<String>,
    pub(crate) room: Room,
    pub(crate) resident: Vec<String>,
}

impl Worker {
    /// Whether it takes work.
    pub(crate) fn open(&self) -> bool {
        self.session.is_some() && (self.locks.is_empty() || mutant::on(Mutant::LocksIgnored))
    }

    pub(crate) fn class(&self, device: &Device) -> Class {
        Class { tags: self.tags.clone(), room: device.room(), resident: device.info.resident_models.clone() }
    }
}

impl Device {
    pub(crate) fn new(info: DeviceInfo) -> Self {
        Self {
            info,
            busy: Busy::Free,
            succeeded: 0,
            failed: 0,
            row: 0,
            row_job: None,
            row_mixed: false,
            held_until: Time::default(),
        }
    }

    pub(crate) fn room(&self) -> Room {
        Room { kind: Kind::of(&self.info.kind), memory_bytes: self.info.memory_bytes }
    }

    /// A failure that was this device's fault. A device that fails everything it is given would otherwise eat the
    /// tries of a whole job, being the quickest to be free again.
    pub(crate) fn blamed(&mut self, now: Time, job: &JobId) {
        self.failed += 1;
        self.row += 1;
        match &self.row_job {
            None => self.row_job = Some(job.clone()),
            Some(first) => self.row_mixed |= first != job,
        }
        // Failures of one job alone may be that job's fault, which leaves the device alone by itself.
        if self.row_mixed && self.row >= FAILURES_TO_HOLD {
            let doubled = HOLD_MS.saturating_mul(1 << (self.row - FAILURES_TO_HOLD).min(10));
            self.held_until = now.plus_ms(doubled.min(HOLD_MS_MAX));
        }
    }

    pub(crate) fn praised(&mut self) {
        self.succeeded += 1;
        self.row = 0;
        self.row_job = None;
        self.row_mixed = false;
        self.held_until = Time::default();
    }
}
