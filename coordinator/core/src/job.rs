//! A job and its layers: which tasks may start, and how many are in which state.
//!
//! Tasks are a pure function of the plan, so a layer keeps only those that have left "as submitted"; the rest are
//! numbers behind a cursor. A job of a million tasks costs what its running and ended ones cost.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    failure::Cause,
    ids::JobId,
    pace::Pace,
    plan::Plan,
    split::Seating,
    task::Task,
    time::Time,
    usage::Days,
    view::{Counts, JobState, TaskState},
};

/// Waiting this long without a start is worth one point of priority.
pub(crate) const AGEING_MS: u64 = 10 * 60_000;

#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) plan: Plan,
    pub(crate) request_id: String,
    /// Rises with each submission: the order of equals.
    pub(crate) number: u64,
    pub(crate) created: Time,
    pub(crate) settled: Option<Time>,
    pub(crate) cancelled: bool,
    pub(crate) paused: bool,
    /// 0 to 100; the spec's until somebody changed it.
    pub(crate) priority: u32,
    pub(crate) layers: Vec<Layer>,
    pub(crate) device_ms: u64,
    /// By ended attempts.
    pub(crate) used: Days,
    /// Where its spans belong; empty for nowhere.
    pub(crate) trace: String,
}

#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) total: u32,
    /// Those with a history.
    pub(crate) tasks: BTreeMap<u32, Task>,
    fresh: Fresh,
    /// Tasks with a history that are queued and due.
    pub(crate) requeued: BTreeSet<u32>,
    pub(crate) counts: Counts,
    /// Why the tasks without a history are cancelled, once they are.
    pub(crate) rest: Option<Arc<str>>,
    /// Wall time of whole attempts.
    pub(crate) duration: Pace,
    /// Longest silences of attempts that went well.
    pub(crate) gap: Pace,
    /// When a task of it started last, or when it became ready.
    pub(crate) served: Time,
    /// How its tasks are seated, where the farm chose: from its first start on.
    pub(crate) seating: Option<Seating>,
    /// By how much its need was raised after attempts that ran out of memory.
    pub(crate) strain: f64,
    /// Its key in the farm's line of ready layers, while it stands there.
    pub(crate) in_line: Option<Ready>,
}

/// A layer with work, in the order in which the layers of one show are served: urgent first, then by submission; within
/// a job, what completes a shot goes before what begins another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ready {
    /// With what waiting has added to it.
    pub(crate) priority: Reverse<u32>,
    pub(crate) submission: u64,
    pub(crate) layer: Reverse<u32>,
    pub(crate) job: JobId,
}

/// Which tasks without a history may start.
#[derive(Debug)]
enum Fresh {
    /// All, in the plan's order from position `next` on.
    Open { next: u32 },
    /// None: another layer must succeed as a whole.
    Gated,
    /// Those whose counterpart in another layer succeeded.
    Each { ready: BTreeSet<u32> },
}

impl Job {
    pub(crate) fn new(plan: Plan, request_id: String, number: u64, now: Time) -> Self {
        let layers = (0..plan.layers().len())
            .map(|at| {
                let layer = &plan.layers()[at];
                let total = layer.tasks;
                let fresh = match layer.after {
                    None => Fresh::Open { next: 0 },
                    Some(_) if plan.after_each(at as u32) => Fresh::Each { ready: BTreeSet::new() },
                    Some(_) => Fresh::Gated,
                };
                let (waiting, queued) =
                    if layer.after.is_some() { (u64::from(total), 0) } else { (0, u64::from(total)) };
                Layer {
                    total,
                    tasks: BTreeMap::new(),
                    fresh,
                    requeued: BTreeSet::new(),
                    counts: Counts { waiting, queued, ..Counts::default() },
                    rest: None,
                    duration: Pace::default(),
                    gap: Pace::default(),
                    served: now,
                    seating: None,
                    strain: 1.0,
                    in_line: None,
                }
            })
            .collect();
        let priority = plan.priority();
        Self {
            plan,
            request_id,
            number,
            created: now,
            settled: None,
            cancelled: false,
            paused: false,
            priority,
            layers,
            device_ms: 0,
            used: Days::default(),
            trace: String::new(),
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut all = Counts::default();
        self.layers.iter().for_each(|layer| all.add(&layer.counts));
        all
    }

    pub(crate) fn state(&self) -> JobState {
        let counts = self.counts();
        if counts.unsettled() > 0 {
            JobState::Active
        } else if counts.failed > 0 {
            JobState::Failed
        } else if counts.cancelled > 0 {
            JobState::Cancelled
        } else {
            JobState::Succeeded
        }
    }

    /// Layers that wait for layer `of`.
    pub(crate) fn dependents(&self, of: u32) -> Vec<u32> {
        let waits = |at: &usize| self.plan.layers()[*at].after == Some(of);
        (0..self.layers.len()).filter(waits).map(|at| at as u32).collect()
    }

    /// Whether what `task` of `layer` waits for has succeeded.
    pub(crate) fn may_start(&self, layer: u32, task: u32) -> bool {
        match self.plan.layers()[layer as usize].after {
            None => true,
            Some(before) => {
                let before = &self.layers[before as usize];
                if self.plan.after_each(layer) { before.state(task).done() } else { before.is_done() }
            }
        }
    }

    /// Puts `task` in line: Queued when what it waits for has succeeded, else Waiting.
    pub(crate) fn enqueue(&mut self, layer: u32, task: u32, not_before: Time, now: Time) {
        let state = if self.may_start(layer, task) { TaskState::Queued } else { TaskState::Waiting };
        let layer = &mut self.layers[layer as usize];
        layer.set(task, state);
        let entry = layer.touch(task);
        entry.not_before = not_before;
        if state == TaskState::Queued && not_before <= now {
            layer.requeued.insert(task);
        }
    }
}

impl Layer {
    /// Where a task stands.
    pub(crate) fn state(&self, task: u32) -> TaskState {
        if let Some(task) = self.tasks.get(&task) {
            return task.state;
        }
        if self.rest.is_some() {
            return TaskState::Cancelled;
        }
        match &self.fresh {
            Fresh::Open { .. } => TaskState::Queued,
            Fresh::Gated => TaskState::Waiting,
            Fresh::Each { ready } if ready.contains(&task) => TaskState::Queued,
            Fresh::Each { .. } => TaskState::Waiting,
        }
    }

    /// The task with a history from now on.
    pub(crate) fn touch(&mut self, task: u32) -> &mut Task {
        let state = self.state(task);
        if let Fresh::Each { ready } = &mut self.fresh {
            ready.remove(&task);
        }
        self.tasks.entry(task).or_insert_with(|| Task::new(state))
    }

    /// Moves a task to `state`, and the counts with it.
    pub(crate) fn set(&mut self, task: u32, state: TaskState) {
        let old = self.state(task);
        *self.counts.of(old) -= 1;
        *self.counts.of(state) += 1;
        self.requeued.remove(&task);
        self.touch(task).state = state;
    }

    /// Whether what waits for the whole layer may start.
    pub(crate) fn is_done(&self) -> bool {
        self.counts.succeeded + self.counts.skipped == u64::from(self.total)
    }

    pub(crate) fn retried(&mut self, cause: Cause) {
        *self.counts.retried.entry(cause).or_default() += 1;
    }

    /// Tasks without a history.
    pub(crate) fn untouched(&self) -> u64 {
        u64::from(self.total) - self.tasks.len() as u64
    }

    /// Cancels every task without a history.
    pub(crate) fn cancel_rest(&mut self, why: &str) {
        if self.rest.is_some() {
            return;
        }
        let untouched = self.untouched();
        match &mut self.fresh {
            Fresh::Open { .. } => self.counts.queued -= untouched,
            Fresh::Gated => self.counts.waiting -= untouched,
            Fresh::Each { ready } => {
                self.counts.queued -= ready.len() as u64;
                self.counts.waiting -= untouched - ready.len() as u64;
                ready.clear();
            }
        }
        self.counts.cancelled += untouched;
        self.rest = Some(why.into());
    }

    /// The counterpart of `task` in the layer before succeeded.
    pub(crate) fn release(&mut self, task: u32, now: Time) {
        if self.state(task) != TaskState::Waiting {
            return;
        }
        match &mut self.fresh {
            Fresh::Each { ready } if !self.tasks.contains_key(&task) => {
                ready.insert(task);
                self.counts.waiting -= 1;
                self.counts.queued += 1;
            }
            Fresh::Open { .. } | Fresh::Gated | Fresh::Each { .. } => {
                self.set(task, TaskState::Queued);
                self.touch(task).not_before = now;
                self.requeued.insert(task);
            }
        }
    }

    /// What `task` waits for is not done after all: it waits again, unless it has begun.
    pub(crate) fn hold(&mut self, task: u32) {
        if self.state(task) != TaskState::Queued {
            return;
        }
        match &mut self.fresh {
            Fresh::Each { ready } if ready.contains(&task) => {
                ready.remove(&task);
                self.counts.waiting += 1;
                self.counts.queued -= 1;
            }
            Fresh::Open { .. } | Fresh::Gated | Fresh::Each { .. } => self.set(task, TaskState::Waiting),
        }
    }

    /// The layer before succeeded as a whole.
    pub(crate) fn open(&mut self, now: Time) {
        if matches!(self.fresh, Fresh::Gated) {
            if self.rest.is_none() {
                let untouched = self.untouched();
                self.counts.waiting -= untouched;
                self.counts.queued += untouched;
            }
            self.fresh = Fresh::Open { next: 0 };
        }
        let waiting: Vec<u32> =
            self.tasks.iter().filter(|(_, t)| t.state == TaskState::Waiting).map(|(at, _)| *at).collect();
        waiting.into_iter().for_each(|task| self.release(task, now));
    }

    /// Whether some task could start now.
    pub(crate) fn has_ready(&self) -> bool {
        if !self.requeued.is_empty() {
            return true;
        }
        match &self.fresh {
            // The cursor skips touched tasks, so what is left is what is untouched.
            Fresh::Open { .. } => self.rest.is_none() && self.untouched() > 0,
            Fresh::Gated => false,
            Fresh::Each { ready } => !ready.is_empty(),
        }
    }

    /// The tasks that may start, in the order in which they should; `order` gives the task at a position of the plan's
    /// order.
    pub(crate) fn line<'a>(&'a self, order: impl Fn(u32) -> u32 + 'a) -> Box<dyn Iterator<Item = u32> + 'a> {
        let requeued = self.requeued.iter().copied();
        match &self.fresh {
            Fresh::Open { next } if self.rest.is_none() => {
                let fresh = (*next..self.total).map(order).filter(|task| !self.tasks.contains_key(task));
                Box::new(requeued.chain(fresh))
            }
            Fresh::Open { .. } | Fresh::Gated => Box::new(requeued),
            Fresh::Each { ready } => Box::new(requeued.chain(ready.iter().copied())),
        }
    }

    /// Moves the cursor past tasks that have begun.
    pub(crate) fn advance(&mut self, order: impl Fn(u32) -> u32) {
        if let Fresh::Open { next } = &mut self.fresh {
            while *next < self.total && self.tasks.contains_key(&order(*next)) {
                *next += 1;
            }
        }
    }

    /// After a recovery: what the layer before has done may start here.
    pub(crate) fn recovered(&mut self, done: impl Iterator<Item = u32>, all_done: bool) {
        match &mut self.fresh {
            Fresh::Open { .. } => {}
            Fresh::Gated if all_done => self.fresh = Fresh::Open { next: 0 },
            Fresh::Gated => {}
            Fresh::Each { ready } => {
                if self.rest.is_none() {
                    ready.extend(done.filter(|task| !self.tasks.contains_key(task)));
                }
            }
        }
    }

    /// Counts every task anew, for a layer that was put together from records.
    pub(crate) fn recount(&mut self) {
        let mut counts = Counts::default();
        for task in self.tasks.values() {
            *counts.of(task.state) += 1;
            let last = task.state == TaskState::Failed || task.state == TaskState::Cancelled;
            let again = task.ended.len() - usize::from(last).min(task.ended.len());
            for failure in task.ended[..again].iter().filter_map(|ended| ended.failure.as_ref()) {
                *counts.retried.entry(failure.cause).or_default() += 1;
            }
        }
        let untouched = self.untouched();
        match (&self.rest, &self.fresh) {
            (Some(_), _) => counts.cancelled += untouched,
            (None, Fresh::Open { .. }) => counts.queued += untouched,
            (None, Fresh::Gated) => counts.waiting += untouched,
            (None, Fresh::Each { ready }) => {
                counts.queued += ready.len() as u64;
                counts.waiting += untouched - ready.len() as u64;
            }
        }
        self.counts = counts;
    }
}
