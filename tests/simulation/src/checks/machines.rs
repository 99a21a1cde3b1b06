//! What a leader believes of workers and devices, against what they do: who is there, who is silent, who holds what; and
//! whether what it says to those who wait is so.

use croft_core::{
    farm::Farm,
    ids::{SessionId, TaskId},
    view::{Selector, TaskState, WaitReason, WorkerState},
};

use crate::{
    ledger::{At, Entry},
    node::LEASE_MS,
    world::World,
};

/// What a loop gets to hear of something and to act on it.
const SLACK_MS: u64 = 1_000;
/// Waiting tasks that are asked why, at each look.
const ASKED: usize = 2;

impl World {
    pub(super) fn knows_its_workers(&self, node: usize) -> Result<(), String> {
        let Some(leading) = self.nodes[node].leading.as_ref() else { return Ok(()) };
        let (farm, turned) = (&leading.farm, leading.turned);
        let now = self.nodes[node].clock.at(turned);
        for worker in farm.workers() {
            let busy = worker.devices.iter().flat_map(|device| &device.running).next();
            if let Some(running) = busy
                && worker.state != WorkerState::Gone
                && now.since(worker.seen) > LEASE_MS + SLACK_MS
            {
                let silent = now.since(worker.seen);
                return Err(format!("{} was silent for {silent} ms, and is to run {running}", worker.id));
            }
            let known = self.workers.iter().find(|known| known.name == worker.id);
            let stream = known.and_then(|known| self.wires.stream(known.stream?));
            if let Some(stream) = stream
                && (stream.node, stream.node_open) == (node, true)
                && stream.welcomed.saturating_add(SLACK_MS) < turned
                && worker.state != WorkerState::Ready
            {
                return Err(format!(
                    "{} is welcomed and there, and the farm has it as {:?}",
                    worker.id, worker.state
                ));
            }
            for running in worker.devices.iter().flat_map(|device| &device.running) {
                self.may_hold(farm, running, turned).map_err(|what| format!("{}: {what}", worker.id))?;
            }
        }
        waits_are_true(farm, now)
    }

    /// Whether an attempt may still hold a device at `turned`.
    fn may_hold(&self, farm: &Farm, running: &str, turned: u64) -> Result<(), String> {
        let Some((task, number)) = parsed(farm, running) else { return Ok(()) };
        match self.ledger.entry(&task) {
            Some(Entry { number: newest, at: At::Decided | At::Done, .. }) if *newest == number => {
                Err(format!("{running} has saved, and holds a device"))
            }
            Some(Entry { number: newest, ended: Some(ended), .. })
                if *newest == number && ended + LEASE_MS + SLACK_MS < turned =>
            {
                Err(format!("{running} ended {} ms ago, and holds a device", turned - ended))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// A stream is hung up on: its worker must have been silent, or have another.
    pub(crate) fn check_hang_up(&mut self, node: usize, session: SessionId) {
        let Some(leading) = self.nodes[node].leading.as_ref() else { return };
        let Some(stream) = self.wires.stream(session.0).filter(|stream| stream.node_open) else { return };
        let worker = &self.workers[stream.worker];
        let is_well = worker.up && worker.stream == Some(session.0) && worker.welcomed;
        // What it said after the loop had turned could not be known.
        if is_well && (leading.turned.saturating_sub(LEASE_MS - 1)..=leading.turned).contains(&stream.heard) {
            let what = format!("{} is well, and is hung up on", worker.name);
            self.accuse(what);
        }
    }
}

/// `job/layer/0001#2`.
fn parsed(farm: &Farm, running: &str) -> Option<(TaskId, u32)> {
    let (name, number) = running.split_once('#')?;
    let mut parts = name.split('/');
    let job = croft_core::ids::JobId::new(parts.next()?).ok()?;
    let layer = farm.layer_index(&job, parts.next()?)?;
    let task = parts.next()?.parse::<u32>().ok()?.checked_sub(1)?;
    Some((TaskId { job, layer, task }, number.parse().ok()?))
}

/// Just after a tick nothing is next: what could start has started.
fn waits_are_true(farm: &Farm, now: croft_core::time::Time) -> Result<(), String> {
    let queued = Selector { states: vec![TaskState::Queued], ..Selector::default() };
    for job in farm.jobs().iter().filter(|job| job.settled.is_none()) {
        for task in farm.tasks(&job.id, &queued, None, ASKED).unwrap_or_default() {
            let wait =
                farm.explain(now, &task.id).ok_or_else(|| format!("{:?} waits for no reason", task.id))?;
            if matches!(wait.reason, WaitReason::Next | WaitReason::Settled | WaitReason::Running) {
                return Err(format!("{:?} is queued after a tick, and says: {:?}", task.id, wait.words));
            }
        }
    }
    Ok(())
}
