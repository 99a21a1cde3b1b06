//! Who had better not render what: learned from failures, forgotten with success or in time.
//!
//! A task goes elsewhere after one failure; a job after two on one device, as long as there are others, and after three
//! it leaves that device alone for a while even where there are none; a model after three on one worker. A device that
//! fails the tasks of several jobs in a row is put on hold for all (`worker.rs`).

use std::collections::BTreeMap;

use crate::{
    ids::{DeviceId, JobId},
    time::Time,
};

const JOB_FAILURES: u32 = 2;
const JOB_FAILURES_TO_HOLD: u32 = 3;
const MODEL_FAILURES: u32 = 3;
/// The first hold; it doubles with each further failure.
const HOLD_MS: u64 = 30_000;
const HOLD_MS_MAX: u64 = 10 * 60_000;
/// A repaired machine gets another chance without a word from anybody.
const FORGOTTEN_MS: u64 = 30 * 60_000;
/// Pairs remembered, of each kind.
const KEPT: usize = 10_000;

/// Failures by device and job, and by worker and model.
#[derive(Debug, Default)]
pub(super) struct Avoided {
    jobs: BTreeMap<(JobId, DeviceId), Failures>,
    models: BTreeMap<(String, crate::ids::WorkerId), Failures>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Time,
}

/// How a job stands to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Good,
    /// Others go first.
    Last,
    /// Not before this time.
    Not(Time),
}

impl Avoided {
    pub(super) fn failed(&mut self, now: Time, job: &JobId, model: &str, device: &DeviceId) {
        if self.jobs.len() >= KEPT || self.models.len() >= KEPT {
            self.forget(now);
        }
        if self.jobs.len() < KEPT {
            self.jobs.entry((job.clone(), device.clone())).or_insert(Failures::none(now)).more(now);
        }
        if self.models.len() < KEPT {
            let worker = device.worker.clone();
            self.models.entry((model.to_owned(), worker)).or_insert(Failures::none(now)).more(now);
        }
    }

    /// A success takes the blame away.
    pub(super) fn succeeded(&mut self, job: &JobId, model: &str, device: &DeviceId) {
        if !self.jobs.is_empty() {
            self.jobs.remove(&(job.clone(), device.clone()));
        }
        if !self.models.is_empty() {
            self.models.remove(&(model.to_owned(), device.worker.clone()));
        }
    }

    /// Drops what is old.
    pub(super) fn forget(&mut self, now: Time) {
        self.jobs.retain(|_, failures| now.since(failures.last) < FORGOTTEN_MS);
        self.models.retain(|_, failures| now.since(failures.last) < FORGOTTEN_MS);
    }

    pub(super) fn drop_job(&mut self, job: &JobId) {
        self.jobs.retain(|(known, _), _| known != job);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.models.is_empty()
    }

    /// How tasks of `job` with `model` stand to `device`.
    pub(super) fn standing(&self, now: Time, job: &JobId, model: &str, device: &DeviceId) -> Standing {
        if self.is_empty() {
            return Standing::Good;
        }
        let of_job = self.jobs.get(&(job.clone(), device.clone()));
        if let Some(until) = of_job.and_then(Failures::hold).filter(|until| *until > now) {
            return Standing::Not(until);
        }
        let of_model = self.models.get(&(model.to_owned(), device.worker.clone()));
        let many = |failures: Option<&Failures>, enough| failures.is_some_and(|f| f.count >= enough);
        if many(of_job, JOB_FAILURES) || many(of_model, MODEL_FAILURES) {
            Standing::Last
        } else {
            Standing::Good
        }
    }
}

impl Failures {
    fn none(now: Time) -> Self {
        Self { count: 0, last: now }
    }

    fn more(&mut self, now: Time) {
        self.count += 1;
        self.last = now;
    }

    /// Until when the job leaves the device alone.
    fn hold(&self) -> Option<Time> {
        let over = self.count.checked_sub(JOB_FAILURES_TO_HOLD)?;
        Some(self.last.plus_ms(HOLD_MS.saturating_mul(1 << over.min(10)).min(HOLD_MS_MAX)))
    }
}
