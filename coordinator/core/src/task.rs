//! One task that has left "as submitted": its state, its tries, its attempts.

use crate::{
    failure::Failure,
    ids::{DeviceId, Fence, SessionId, WorkerId},
    step::{Artifact, Stage, Times},
    time::Time,
    view::{AttemptView, TaskState},
};

/// Attempts that a task remembers; older ones are forgotten.
const ATTEMPTS_KEPT: usize = 32;

/// A task with a history. A task without one is a number in its layer and takes no memory.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) state: TaskState,
    /// Number of the newest attempt; 0 before the first.
    pub(crate) number: u32,
    /// Tries spent of the budget.
    pub(crate) spent: u32,
    /// The newest attempt that may still report, while Running or Publishing.
    pub(crate) live: Option<Live>,
    /// Ended attempts, oldest first.
    pub(crate) ended: Vec<Ended>,
    /// Where it failed last: another worker goes first.
    pub(crate) avoid: Option<WorkerId>,
    /// While Queued after a failure: when it may start.
    pub(crate) not_before: Time,
    pub(crate) failure: Option<Failure>,
    pub(crate) artifacts: Vec<Artifact>,
}

/// A running or publishing attempt.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) number: u32,
    pub(crate) fence: Fence,
    pub(crate) device: DeviceId,
    /// The stream that its reports come over; `None` while its worker is away.
    pub(crate) session: Option<SessionId>,
    pub(crate) started: Time,
    /// The newest sign of progress.
    pub(crate) moved: Time,
    /// The longest wait between two signs so far.
    pub(crate) longest_gap_ms: u64,
    /// Silence that ends it, milliseconds.
    pub(crate) no_progress_ms: u64,
    pub(crate) stage: Stage,
    pub(crate) step: u32,
    pub(crate) steps: u32,
    pub(crate) times: Times,
}

/// An attempt that is over.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Ended {
    pub(crate) number: u32,
    pub(crate) device: DeviceId,
    pub(crate) started: Time,
    pub(crate) ended: Time,
    /// `None` when it succeeded.
    pub(crate) failure: Option<Failure>,
    pub(crate) stage: Stage,
    pub(crate) step: u32,
    pub(crate) steps: u32,
    pub(crate) times: Times,
}

impl Task {
    pub(crate) fn new(state: TaskState) -> Self {
        Self {
            state,
            number: 0,
            spent: 0,
            live: None,
            ended: Vec::new(),
            avoid: None,
            not_before: Time::default(),
            failure: None,
            artifacts: Vec::new(),
        }
    }

    /// Whether `fence` is that of the attempt that may report.
    pub(crate) fn is_live(&self, fence: Fence) -> bool {
        self.live.as_ref().is_some_and(|live| live.fence == fence)
    }

    /// Ends the live attempt and returns it.
    pub(crate) fn end(&mut self, now: Time, failure: Option<Failure>) -> Option<Live> {
        let live = self.live.take()?;
        if self.ended.len() == ATTEMPTS_KEPT {
            self.ended.remove(0);
        }
        self.ended.push(Ended {
            number: live.number,
            device: live.device.clone(),
            started: live.started,
            ended: now,
            failure,
            stage: live.stage,
            step: live.step,
            steps: live.steps,
            times: live.times,
        });
        Some(live)
    }

    /// All attempts, oldest first.
    pub(crate) fn attempts(&self) -> Vec<AttemptView> {
        let ended = self.ended.iter().map(|e| AttemptView {
            number: e.number,
            device: e.device.clone(),
            started: e.started,
            ended: Some(e.ended),
            failure: e.failure.clone(),
            stage: e.stage,
            step: e.step,
            steps: e.steps,
            times: e.times,
        });
        let live = self.live.iter().map(|l| AttemptView {
            number: l.number,
            device: l.device.clone(),
            started: l.started,
            ended: None,
            failure: None,
            stage: l.stage,
            step: l.step,
            steps: l.steps,
            times: l.times,
        });
        ended.chain(live).collect()
    }
}
