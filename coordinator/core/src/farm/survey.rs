//! The whole farm in a few numbers, for those who keep an eye on it: what waits and why, by show and state.

use std::collections::BTreeMap;

use crate::{
    access::Caller,
    ids::TaskId,
    time::Time,
    view::{TaskState, WaitReason},
};

use super::Farm;

/// Layers of which one task is asked why it waits. What waits behind more of them waits its turn for certain.
const LAYERS_ASKED: usize = 32;

/// Counts of one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// Of jobs that are not settled, by show and state.
    pub tasks: BTreeMap<(String, TaskState), u64>,
    /// Tasks that have not started, by why; one of a layer speaks for all of it.
    pub waits: BTreeMap<WaitReason, u64>,
    pub jobs_active: u64,
}

impl Farm {
    /// Looks at every job that is not settled, and asks the first task of some layers why it waits.
    #[must_use]
    pub fn survey(&self, now: Time) -> Survey {
        let mut survey = Survey::default();
        let (mut asked, mut speaks_for) = (Vec::new(), Vec::new());
        for (id, job) in self.jobs.iter().filter(|(_, job)| job.settled.is_none()) {
            survey.jobs_active += 1;
            let counts = job.counts();
            for (state, tasks) in [
                (TaskState::Waiting, counts.waiting),
                (TaskState::Queued, counts.queued),
                (TaskState::Running, counts.running),
                (TaskState::Publishing, counts.publishing),
                (TaskState::Succeeded, counts.succeeded),
                (TaskState::Failed, counts.failed),
                (TaskState::Cancelled, counts.cancelled),
                (TaskState::Skipped, counts.skipped),
            ] {
                if tasks > 0 {
                    *survey.tasks.entry((job.plan.show().to_owned(), state)).or_default() += tasks;
                }
            }
            for (at, layer) in (0..).zip(&job.layers) {
                let mut add = |reason, tasks| *survey.waits.entry(reason).or_default() += tasks;
                if layer.counts.waiting > 0 {
                    add(WaitReason::Layer, layer.counts.waiting);
                }
                let queued = layer.counts.queued;
                let first = layer.line(|position| job.plan.order(at, position)).next();
                match first {
                    _ if queued == 0 => {}
                    _ if job.paused => add(WaitReason::Paused, queued),
                    // All that are queued wait out a failure.
                    None => add(WaitReason::Backoff, queued),
                    Some(task) if asked.len() < LAYERS_ASKED => {
                        asked.push(TaskId { job: id.clone(), layer: at, task });
                        speaks_for.push(queued);
                    }
                    Some(_) => add(WaitReason::Turn, queued),
                }
            }
        }
        let waits = self.explain_all(now, &asked, &Caller::Local);
        for (wait, tasks) in waits.into_iter().zip(speaks_for) {
            *survey.waits.entry(wait.reason).or_default() += tasks;
        }
        survey
    }
}
