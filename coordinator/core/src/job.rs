//! A job and its layers: which tasks may start, and how many are in which state.
//!
//! Tasks are a pure function of the plan, so a layer keeps only those that have left "as submitted"; the rest are
//! numbers behind a cursor. A job of a million tasks costs what its running and ended ones cost.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    failure::Cause,
    ids::WorkerId,
    pace::Pace,
    plan::Plan,
    task::Task,
    time::Time,
    view::{Counts, JobState, TaskState},
};

/// Requeued tasks that are looked at for one that may go to a worker.
const REQUEUED_LOOKED_AT: usize = 64;

#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) plan: Plan,
    pub(crate) request_id: String,
    /// Rises with each submission: the order of equals.
    pub(crate) number: u64,
    pub(crate) created: Time,
    pub(crate) settled: Option<Time>,
    pub(crate) cancelled: bool,
    pub(crate) layers: Vec<Layer>,
    pub(crate) device_ms: u64,
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
                }
            })
            .collect();
        Self { plan, request_id, number, created: now, settled: None, cancelled: false, layers, device_ms: 0 }
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
                if self.plan.after_each(layer) {
                    before.state(task) == TaskState::Succeeded
                } else {
                    before.counts.succeeded == u64::from(before.total)
                }
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

    /// The task that should start next on `worker`; `order` gives the task at a position of the plan's order. A task
    /// that failed on `worker` goes elsewhere while there are `others`.
    pub(crate) fn next(
        &mut self,
        worker: &WorkerId,
        others: bool,
        order: impl Fn(u32) -> u32,
    ) -> Option<u32> {
        let fits =
            |task: &&u32| !others || self.tasks.get(task).is_none_or(|t| t.avoid.as_ref() != Some(worker));
        if let Some(task) = self.requeued.iter().take(REQUEUED_LOOKED_AT).find(fits) {
            return Some(*task);
        }
        match &mut self.fresh {
            Fresh::Open { next } if self.rest.is_none() => {
                while *next < self.total {
                    let task = order(*next);
                    if !self.tasks.contains_key(&task) {
                        return Some(task);
                    }
                    *next += 1;
                }
                None
            }
            Fresh::Open { .. } | Fresh::Gated => None,
            Fresh::Each { ready } => ready.first().copied(),
        }
    }
}
