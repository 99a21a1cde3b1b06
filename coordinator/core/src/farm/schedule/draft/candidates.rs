//! The layers of a show that have something to start, in the order in which they are served.

use std::{cmp::Reverse, collections::BTreeSet, iter::Peekable};

use super::super::{Demand, fit::Shunned};
use crate::{
    farm::Farm,
    ids::{DeviceId, JobId, TaskId, WorkerId},
    job::{Job, Ready},
    model_card::ModelCard,
    spec::Resources,
    time::Time,
    worker::Class,
};

/// Layers of one priority among which one whose model is loaded somewhere goes first.
const WINDOW: usize = 64;

/// What one show would start, the most urgent first.
pub(super) struct ShowLine<'a> {
    farm: &'a Farm,
    pub(super) clock: u64,
    pub(super) devices: u32,
    pub(super) max_devices: Option<u32>,
    name: &'a str,
    window: Vec<Candidate<'a>>,
    rest: Peekable<std::collections::btree_set::Iter<'a, Ready>>,
}

/// A layer with tasks that may start.
pub(super) struct Candidate<'a> {
    pub(super) id: &'a JobId,
    pub(super) job: &'a Job,
    pub(super) layer: u32,
    priority: Reverse<u32>,
    pub(super) tasks: Box<dyn Iterator<Item = u32> + 'a>,
    pub(super) demand: Demand<'a>,
    shunned: Option<Shunned>,
}

impl<'a> ShowLine<'a> {
    pub(super) fn new(farm: &'a Farm, name: &'a str, line: &'a BTreeSet<Ready>) -> Self {
        let show = farm.shows.get(name).cloned().unwrap_or_default();
        Self {
            farm,
            clock: show.clock,
            devices: show.devices,
            max_devices: show.settings.max_devices,
            name,
            window: Vec::new(),
            rest: line.iter().peekable(),
        }
    }

    /// The layer to serve next: of those with the highest priority the first that is warm somewhere, else the first.
    pub(super) fn next(&mut self, is_warm: impl Fn(&Candidate<'a>) -> bool) -> Option<Candidate<'a>> {
        let priority = match self.window.first() {
            Some(first) => first.priority,
            None => self.rest.peek()?.priority,
        };
        while self.window.len() < WINDOW
            && let Some(ready) = self.rest.next_if(|ready| ready.priority == priority)
        {
            self.window.push(Candidate::new(self.farm, ready));
        }
        let at = self.window.iter().position(is_warm).unwrap_or(0);
        Some(self.window.remove(at))
    }

    /// A layer that may have more to start takes its place again.
    pub(super) fn put_back(&mut self, candidate: Candidate<'a>) {
        let place = |c: &Candidate<'_>| (c.job.number, Reverse(c.layer));
        let at = self.window.partition_point(|known| place(known) < place(&candidate));
        self.window.insert(at, candidate);
    }

    /// A task starts on so many devices, beside so many shots that are in flight there and hold them already.
    pub(super) fn charge(&mut self, devices: u32, ms: u64, beside: usize) {
        let show = self.farm.shows.get(self.name);
        let part = ms.saturating_mul(u64::from(devices)) / (beside as u64 + 1);
        self.clock = self.clock.saturating_add(show.map_or(part, |show| show.cost(part)));
        self.devices += if beside == 0 { devices } else { 0 };
    }
}

impl<'a> Candidate<'a> {
    pub(super) fn new(farm: &'a Farm, ready: &'a Ready) -> Self {
        let job = &farm.jobs[&ready.job];
        let layer = ready.layer.0;
        let tasks = job.layers[layer as usize].line(move |position| job.plan.order(layer, position));
        let demand = Demand::of(farm, job, layer);
        Self { id: &ready.job, job, layer, priority: ready.priority, tasks, demand, shunned: None }
    }

    pub(super) fn wants(&self) -> &'a Resources {
        self.demand.wants
    }

    pub(super) fn card(&self) -> &'a ModelCard {
        &self.job.plan.layers()[self.layer as usize].card
    }

    pub(super) fn fits(&self, class: &Class) -> bool {
        self.demand.fits(&class.tags, class.room)
    }

    pub(super) fn task_id(&self, task: u32) -> TaskId {
        TaskId { job: self.id.clone(), layer: self.layer, task }
    }

    /// Where the task failed last.
    fn failed_on(&self, task: u32) -> Option<&'a WorkerId> {
        self.job.layers[self.layer as usize].tasks.get(&task)?.avoid.as_ref()
    }

    /// Whether the task shuns a worker of its own.
    pub(super) fn is_marked(&self, task: u32) -> bool {
        self.failed_on(task).is_some()
    }

    /// Looks up who is shunned, where anybody might be.
    pub(super) fn look_for_shunned(&mut self, farm: &Farm, now: Time, task: u32) {
        if self.shunned.is_none() && (self.is_marked(task) || !farm.avoided.is_empty()) {
            self.shunned = Some(Shunned::of(farm, now, self.id, self.job, self.layer));
        }
    }

    pub(super) fn may_go_to(&self, device: &DeviceId, task: u32) -> bool {
        self.shunned.as_ref().is_none_or(|shunned| shunned.allows(device, self.failed_on(task)))
    }

    /// The same for a task that needs so many devices that it cannot be choosy.
    pub(super) fn may_go_at_worst(&self, device: &DeviceId) -> bool {
        self.shunned.as_ref().is_none_or(|shunned| shunned.allows_at_worst(device))
    }

    /// Tasks that were looked at and not placed stand in front again.
    pub(super) fn return_tasks(&mut self, tasks: Vec<u32>) {
        if !tasks.is_empty() {
            let rest = std::mem::replace(&mut self.tasks, Box::new(std::iter::empty()));
            self.tasks = Box::new(tasks.into_iter().chain(rest));
        }
    }
}
