//! Who renders what: once a tick, free devices meet ready tasks.
//!
//! A tick drafts from one snapshot (`draft`), which changes nothing and is also what `explain` looks at; then the draft
//! is carried out. Between shows, device time is shared by weight; within a show, priority and then submission decide.
//! A task that needs several devices gets them all at once or none, and devices are kept for it meanwhile (`reserve`).

mod draft;
mod fit;
mod reserve;
mod seat;

pub(super) use draft::{Draft, Refusal};
pub(super) use fit::Demand;
pub(super) use reserve::Reservation;
pub(super) use seat::Seated;

use crate::mutant::{self, Mutant};
use crate::{job::Job, pace::Pace, time::Time, view::TaskState};

use super::Farm;

/// What a task is taken to need while nothing like it was measured, milliseconds.
const EXPECTED_UNMEASURED_MS: u64 = 60_000;

impl Farm {
    pub(super) fn schedule(&mut self, now: Time) {
        self.requeue_due(now);
        if self.free.is_empty() && self.lanes.is_empty() || self.ready.is_empty() {
            return;
        }
        let Draft { starts, reservations, .. } = self.draft(now);
        self.reservations = reservations;
        for start in starts {
            self.start(now, &start.task, start.devices);
        }
    }

    /// Tasks whose wait after a failure is over join the line.
    fn requeue_due(&mut self, now: Time) {
        while let Some((due, task)) = self.delayed.first().cloned() {
            if due > now {
                return;
            }
            self.delayed.pop_first();
            if mutant::on(Mutant::DelayedNeverDue) {
                continue;
            }
            let Some(job) = self.jobs.get_mut(&task.job) else { continue };
            let layer = &mut job.layers[task.layer as usize];
            // It may have been cancelled, retried by hand, or failed anew since.
            let waits = layer
                .tasks
                .get(&task.task)
                .is_some_and(|t| t.state == TaskState::Queued && t.not_before <= now);
            if waits {
                layer.requeued.insert(task.task);
                self.refresh(&task.job, task.layer);
            }
        }
    }
}

/// The measured wall time of a task of a layer, if any like it was measured.
pub(super) fn measured_ms(farm: &Farm, job: &Job, layer: u32) -> Option<u64> {
    let of_model =
        || farm.paces.get(&job.plan.layers()[layer as usize].card.digest).and_then(Pace::median_ms);
    job.layers[layer as usize].duration.median_ms().or_else(of_model)
}

/// The wall time that a task of a layer is expected to take.
pub(super) fn expected_ms(farm: &Farm, job: &Job, layer: u32) -> u64 {
    measured_ms(farm, job, layer).unwrap_or(EXPECTED_UNMEASURED_MS)
}
