//! A worker's stream: dialled at one coordinator after the other, greeted, kept alive, lost, dialled again.

use croft_core::{
    ids::SessionId,
    step::{DeviceInfo, Joined},
};

use crate::{
    agenda::Occurrence,
    node::LEASE_MS,
    wires::{Down, Up},
    world::World,
};

/// What a coordinator gets to answer a hello.
const ANSWER_MS: u64 = 10_000;
/// Heartbeats within one lease.
const BEATS: u64 = 4;
/// A host that does not answer is given up after this.
const CONNECT_MS: u64 = 5_000;

impl World {
    pub(crate) fn dial(&mut self, worker: usize, life: u32) {
        let it = &self.workers[worker];
        if it.life != life || !it.up || it.stream.is_some() {
            return;
        }
        let node = it.target;
        if !self.nodes[node].up || self.wires.is_cut(worker, node, self.now) {
            let pause = if self.nodes[node].up { CONNECT_MS } else { 10 };
            return self.dial_another(worker, pause);
        }
        let stream = self.wires.open(worker, life, node, self.nodes[node].life);
        self.workers[worker].stream = Some(stream);
        self.workers[worker].welcomed = false;
        let hello = self.hello(worker);
        self.diary.say(self.now, || {
            format!("w{worker} says hello to coordinator {node} on stream {stream}, with {:?}", hello.running)
        });
        self.say_up(stream, Up::Hello(Box::new(hello)));
        self.agenda.note(self.now + ANSWER_MS, Occurrence::Beat { worker, life, stream });
    }

    pub(crate) fn hello(&self, worker: usize) -> Joined {
        let it = &self.workers[worker];
        let runs = it.devices.iter().flat_map(|device| device.runs.iter().map(|run| &run.assignment));
        let waits = it.devices.iter().flat_map(|device| device.waiting.iter());
        let running = runs.chain(waits).map(|assignment| (assignment.attempt.clone(), assignment.rank));
        let ended = it.journal.iter().map(|(attempt, rank, _)| (attempt.clone(), *rank));
        let devices = it.devices.iter().enumerate().map(|(index, device)| DeviceInfo {
            index: index as u32,
            kind: "cpu".to_owned(),
            model: "test".to_owned(),
            memory_bytes: 1 << 30,
            threads: 1,
            resident_models: device.resident.iter().cloned().collect(),
            gflops: 0,
        });
        Joined {
            session: SessionId(0),
            worker: it.name.clone(),
            incarnation: format!("life {}", it.life),
            host: it.name.to_string(),
            version: "0".to_owned(),
            tags: it.tags.clone(),
            devices: devices.collect(),
            link: None,
            running: running.chain(ended).collect(),
        }
    }

    /// Dials again after a while, at the next address.
    fn dial_another(&mut self, worker: usize, pause: u64) {
        let nodes = self.nodes.len();
        let it = &mut self.workers[worker];
        it.target = (it.target + 1) % nodes;
        it.failures = (it.failures + 1).min(6);
        let doubled = (200 << it.failures).min(10_000);
        let wait = self.chance.between(doubled / 2, doubled);
        let life = self.workers[worker].life;
        self.agenda.note(self.now + pause + wait, Occurrence::Dial { worker, life });
    }

    /// The worker's end of its stream is of no more use.
    pub(crate) fn worker_loses(&mut self, stream: u64, why: &str) {
        let Some(open) = self.wires.stream(stream) else { return };
        let (worker, life) = (open.worker, open.worker_life);
        self.close_worker_end(stream);
        let it = &mut self.workers[worker];
        if it.life != life || it.stream != Some(stream) {
            return;
        }
        if it.welcomed {
            it.failures = 0;
        }
        it.stream = None;
        it.welcomed = false;
        self.diary.say(self.now, || format!("w{worker} loses stream {stream}: {why}"));
        self.dial_another(worker, 0);
    }

    pub(crate) fn beat(&mut self, worker: usize, life: u32, stream: u64) {
        let it = &self.workers[worker];
        if it.life != life || it.stream != Some(stream) {
            return;
        }
        if !it.welcomed {
            return self.worker_loses(stream, "no answer to the hello");
        }
        self.say_up(stream, Up::Beat);
        self.agenda.note(self.now + LEASE_MS / BEATS, Occurrence::Beat { worker, life, stream });
    }

    /// A coordinator's message arrives.
    pub(crate) fn hear_node(&mut self, stream: u64, said: Down) {
        let Some(open) = self.wires.stream(stream).filter(|stream| stream.worker_open) else { return };
        let (worker, life) = (open.worker, open.worker_life);
        let it = &self.workers[worker];
        if it.life != life || it.stream != Some(stream) {
            return;
        }
        match said {
            Down::Welcome => self.welcomed(worker, life, stream),
            Down::Start(assignment) => self.assigned(worker, *assignment),
            Down::Revoke { attempt, now } => self.revoked(worker, attempt.fence.0, now),
            Down::Closed => self.worker_loses(stream, "the coordinator ended it"),
            Down::NotLeader { leader } => {
                self.worker_loses(stream, "it does not lead");
                if let Some(leader) = leader {
                    self.workers[worker].target = leader;
                }
            }
            Down::Refused { reason } => {
                self.diary.say(self.now, || format!("w{worker} is refused and ends: {reason}"));
                self.restart_worker(worker, 3_000);
            }
        }
    }

    /// Endings that may not have been heard are said again.
    fn welcomed(&mut self, worker: usize, life: u32, stream: u64) {
        self.workers[worker].welcomed = true;
        if let Some(open) = self.wires.stream_mut(stream) {
            open.welcomed = self.now;
        }
        let again: Vec<Up> = self.workers[worker].journal.iter().map(|(_, _, said)| said.clone()).collect();
        for said in again {
            self.say_up(stream, said);
        }
        for index in 0..self.workers[worker].devices.len() {
            let models = self.workers[worker].devices[index].resident.iter().cloned().collect();
            self.say_up(stream, Up::Resident { index: index as u32, models });
        }
        self.agenda.note(self.now, Occurrence::Beat { worker, life, stream });
    }
}
