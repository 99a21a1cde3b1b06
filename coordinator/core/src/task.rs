//! One task that has left "as submitted": its state, its tries, its attempts.

use std::collections::BTreeMap;

use crate::{
    failure::{Cause, Failure},
    ids::{DeviceId, Fence, SessionId, WorkerId},
    mutant::{self, Mutant},
    step::{Artifact, Published, Stage, Times},
    time::Time,
    usage::{Days, Usage},
    view::{AttemptView, TaskState},
};

/// Attempts that a task remembers; older ones are forgotten.
const ATTEMPTS_KEPT: usize = 16;
/// Of a failure's texts: what is stored stays small.
const TEXT_CHARS_MAX: usize = 500;

/// A task with a history. A task without one is a number in its layer and takes no memory.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) state: TaskState,
    /// Number of the newest attempt; 0 before the first.
    pub(crate) number: u32,
    /// Tries spent, by cause.
    pub(crate) spent: BTreeMap<Cause, u32>,
    /// How often it was given back, by nobody's fault.
    pub(crate) yielded: u32,
    /// The newest attempt that may still report, while Running or Publishing.
    pub(crate) live: Option<Box<Live>>,
    /// Ended attempts, oldest first.
    pub(crate) ended: Vec<Ended>,
    /// What the attempts that are forgotten have used.
    pub(crate) older: Option<Box<Days>>,
    /// Where it failed last: another worker goes first.
    pub(crate) avoid: Option<WorkerId>,
    /// While Queued after a failure: when it may start.
    pub(crate) not_before: Time,
    pub(crate) failure: Option<Box<Failure>>,
    pub(crate) published: Option<Box<Published>>,
}

/// A running or publishing attempt.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) number: u32,
    pub(crate) fence: Fence,
    /// By rank.
    pub(crate) seats: Vec<Seat>,
    pub(crate) started: Time,
    /// The newest sign of progress.
    pub(crate) moved: Time,
    /// The longest wait between two signs so far.
    pub(crate) longest_gap_ms: u64,
    /// Silence that ends it, milliseconds.
    pub(crate) no_progress_ms: u64,
    pub(crate) stage: Stage,
    pub(crate) stage_since: Time,
    pub(crate) step: u32,
    pub(crate) steps: u32,
    pub(crate) times: Times,
    /// Device milliseconds that its show was charged at the start, until that is put right.
    pub(crate) charged_ms: Option<u64>,
    /// Whether others of its layer may be in flight beside it, on the same devices.
    pub(crate) flies: bool,
    /// Device milliseconds that it has used up to `counted`: of devices that it shares, its part.
    pub(crate) used_ms: u64,
    pub(crate) counted: Time,
    /// Publications that the store was not there for.
    pub(crate) unpublished: u32,
    /// What rank 0 saved.
    pub(crate) saved: Option<Artifact>,
}

/// Where one rank of a live attempt is.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    pub(crate) device: DeviceId,
    /// The stream that its reports come over; `None` while its worker is away.
    pub(crate) session: Option<SessionId>,
    pub(crate) done: bool,
    /// What it was estimated to need; 0 where nothing was, as after a restart.
    pub(crate) need_bytes: u64,
}

/// An attempt that is over.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Ended {
    pub(crate) number: u32,
    /// Of rank 0.
    pub(crate) device: DeviceId,
    pub(crate) ranks: u32,
    pub(crate) started: Time,
    pub(crate) ended: Time,
    /// `None` when it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<Box<Failure>>,
    pub(crate) stage: Stage,
    pub(crate) step: u32,
    pub(crate) steps: u32,
    pub(crate) times: Times,
    /// Device milliseconds, of an attempt that shared its devices with companions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shared_ms: Option<u64>,
}

impl Ended {
    /// Device milliseconds that it took; of devices that it shared, its part.
    pub(crate) fn device_ms(&self) -> u64 {
        self.shared_ms.unwrap_or_else(|| self.ended.since(self.started).saturating_mul(u64::from(self.ranks)))
    }
}

impl Task {
    pub(crate) fn new(state: TaskState) -> Self {
        Self {
            state,
            number: 0,
            spent: BTreeMap::new(),
            yielded: 0,
            live: None,
            ended: Vec::new(),
            older: None,
            avoid: None,
            not_before: Time::default(),
            failure: None,
            published: None,
        }
    }

    /// Whether `fence` is that of the attempt that may report.
    pub(crate) fn is_live(&self, fence: Fence) -> bool {
        self.live.as_ref().is_some_and(|live| live.fence == fence)
    }

    /// Ends the live attempt and returns it.
    pub(crate) fn end(&mut self, now: Time, failure: Option<Failure>) -> Option<Box<Live>> {
        let live = self.live.take()?;
        if self.ended.len() == ATTEMPTS_KEPT {
            let oldest = self.ended.remove(0);
            self.older.get_or_insert_default().add(oldest.ended, Usage::of(&oldest, 0));
        }
        let alone_ms = live.counted.since(live.started).saturating_mul(live.seats.len() as u64);
        // Most tasks end once: room for more would be most of what a task with a history costs.
        self.ended.reserve_exact(1);
        self.ended.push(Ended {
            number: live.number,
            device: live.device().clone(),
            ranks: live.seats.len() as u32,
            started: live.started,
            ended: now,
            failure: failure.map(|failure| Box::new(short(failure))),
            stage: live.stage,
            step: live.step,
            steps: live.steps,
            times: live.times,
            shared_ms: (live.used_ms < alone_ms).then_some(live.used_ms),
        });
        Some(live)
    }

    /// All attempts, oldest first.
    pub(crate) fn attempts(&self) -> Vec<AttemptView> {
        let ended = self.ended.iter().map(|e| AttemptView {
            number: e.number,
            device: e.device.clone(),
            ranks: e.ranks,
            started: e.started,
            ended: Some(e.ended),
            failure: e.failure.as_deref().cloned(),
            stage: e.stage,
            step: e.step,
            steps: e.steps,
            times: e.times,
        });
        let live = self.live.iter().map(|l| AttemptView {
            number: l.number,
            device: l.device().clone(),
            ranks: l.seats.len() as u32,
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

impl Live {
    /// Rank 0's.
    pub(crate) fn device(&self) -> &DeviceId {
        &self.seats[0].device
    }

    /// Whether `worker` is where a rank is.
    pub(crate) fn is_on(&self, rank: u32, worker: &WorkerId) -> bool {
        self.seats
            .get(rank as usize)
            .is_some_and(|seat| seat.device.worker == *worker || mutant::on(Mutant::AnyWorkerReports))
    }

    /// Ranks that have saved.
    pub(crate) fn done(&self) -> Vec<u32> {
        (0..).zip(&self.seats).filter(|(_, seat)| seat.done).map(|(rank, _)| rank).collect()
    }

    /// Counts its device time up to `now`, during which it had one of so many parts of its devices.
    pub(crate) fn count(&mut self, now: Time, parts: u64) {
        let whole = now.since(self.counted).saturating_mul(self.seats.len() as u64);
        self.used_ms = self.used_ms.saturating_add(whole / parts.max(1));
        self.counted = now;
    }
}

/// A failure whose texts have a bound.
pub(crate) fn short(failure: Failure) -> Failure {
    let cut = |text: String| match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    };
    Failure { cause: failure.cause, message: cut(failure.message), remedy: cut(failure.remedy) }
}
