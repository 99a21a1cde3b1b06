//! A worker as the coordinator meets it: devices that take assignments one after the other, or shots in flight together, a journal that says endings
//! again on the next stream, and a process that dies, hangs and comes back. `dial` holds its stream, `ranks` renders.

mod dial;
mod ranks;

use std::collections::{BTreeMap, VecDeque};

use croft_core::{
    ids::{AttemptId, WorkerId},
    step::Assignment,
};

use crate::{agenda::Occurrence, chance::Chance, wires::Up, world::World};

/// Endings remembered.
const JOURNAL: usize = 256;
/// Assignments that wait at a device.
const WAITING: usize = 8;

#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) name: WorkerId,
    pub(crate) up: bool,
    pub(crate) life: u32,
    pub(crate) stalled: Option<VecDeque<Occurrence>>,
    pub(crate) devices: Vec<Device>,
    pub(crate) tags: Vec<String>,
    /// Endings that the coordinator may not have heard of, with what said so.
    pub(crate) journal: VecDeque<(AttemptId, u32, Up)>,
    pub(crate) stream: Option<u64>,
    pub(crate) welcomed: bool,
    /// The coordinator to be dialled next.
    pub(crate) target: usize,
    pub(crate) failures: u32,
    /// It will not come back.
    pub(crate) gone_for_good: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Device {
    /// One, or companions.
    pub(crate) runs: Vec<Run>,
    pub(crate) waiting: VecDeque<Assignment>,
    /// Fences of assignments that were revoked before they began.
    pub(crate) revoked: VecDeque<u64>,
    pub(crate) resident: Option<String>,
}

/// One rank that renders.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) assignment: Assignment,
    pub(crate) step: u32,
    pub(crate) steps: u32,
    pub(crate) fate: Fate,
    pub(crate) revoked: bool,
    /// Its process is being ended, and with it what else runs there.
    pub(crate) killed: bool,
    /// When a gang's rank began to wait for the others.
    pub(crate) waits_since: Option<u64>,
}

/// What becomes of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Good,
    /// Ends with a failure at this step.
    Fails {
        at: u32,
        cause: croft_core::failure::Cause,
    },
    /// Gets no further than this step; its worker may notice, or not.
    Hangs {
        at: u32,
        is_watched: bool,
    },
}

/// Where a rank of a gang is, for the others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RankAt {
    pub(crate) worker: usize,
    pub(crate) life: u32,
    pub(crate) is_done: bool,
}

impl Worker {
    pub(crate) fn new(at: usize, nodes: usize, chance: &mut Chance) -> Self {
        let devices = 1 + chance.below(4);
        let tags = if chance.per_mille(500) { vec!["big".to_owned()] } else { Vec::new() };
        Self {
            name: WorkerId::new(&format!("w{at}")).expect("a name"),
            up: false,
            life: 0,
            stalled: None,
            devices: (0..devices).map(|_| Device::default()).collect(),
            tags,
            journal: VecDeque::new(),
            stream: None,
            welcomed: false,
            target: chance.below(nodes),
            failures: 0,
            gone_for_good: false,
        }
    }

    /// Every rank that it has in its hands, with whether it was told to stop it.
    pub(crate) fn hands(&self) -> BTreeMap<(u64, u32), bool> {
        let mut hands = BTreeMap::new();
        for device in &self.devices {
            for run in &device.runs {
                hands.insert((run.assignment.attempt.fence.0, run.assignment.rank), run.revoked);
            }
            for waiting in &device.waiting {
                let fence = waiting.attempt.fence.0;
                hands.insert((fence, waiting.rank), device.revoked.contains(&fence));
            }
        }
        hands
    }
}

impl World {
    pub(crate) fn worker_starts(&mut self, worker: usize, life: u32) {
        let it = &mut self.workers[worker];
        if it.up || it.life != life || it.gone_for_good {
            return;
        }
        it.up = true;
        it.failures = 0;
        self.diary.say(self.now, || format!("w{worker} starts, its life {life}"));
        self.agenda.note(self.now + 5, Occurrence::Dial { worker, life });
    }

    /// The process ends with all its ranks and its memory.
    fn ends(&mut self, worker: usize, without_a_word: bool) {
        if let Some(stream) = self.workers[worker].stream.take() {
            if without_a_word {
                self.drop_end(stream, true);
            } else {
                self.close_worker_end(stream);
            }
        }
        self.gangs.retain(|_, rank| rank.worker != worker || rank.is_done);
        let it = &mut self.workers[worker];
        it.up = false;
        it.life += 1;
        it.stalled = None;
        it.welcomed = false;
        it.journal.clear();
        it.devices.iter_mut().for_each(|device| *device = Device::default());
    }

    pub(crate) fn kill_worker(&mut self, worker: usize, back_after: u64, without_a_word: bool) -> bool {
        if !self.workers[worker].up {
            return false;
        }
        self.ends(worker, without_a_word);
        let life = self.workers[worker].life;
        // Some come back when the calm does, or never.
        if self.chance.per_mille(800) {
            self.agenda.note(self.now + back_after, Occurrence::WorkerStarts { worker, life });
        }
        true
    }

    pub(crate) fn worker_says_goodbye(&mut self, worker: usize, back_after: u64) -> bool {
        let it = &self.workers[worker];
        let Some(stream) = it.stream.filter(|_| it.up && it.welcomed && it.stalled.is_none()) else {
            return false;
        };
        self.say_up(stream, Up::Goodbye);
        self.restart_worker(worker, back_after);
        true
    }

    /// The process ends, and whoever looks after it starts another.
    pub(crate) fn restart_worker(&mut self, worker: usize, back_after: u64) {
        self.ends(worker, false);
        let life = self.workers[worker].life;
        self.agenda.note(self.now + back_after, Occurrence::WorkerStarts { worker, life });
    }

    /// Somebody starts a second worker of the same name: it says hello once and is refused, or it takes the name of one
    /// that is not there.
    pub(crate) fn another_of_the_name(&mut self, worker: usize, node: usize) -> bool {
        if !self.nodes[node].up || self.nodes[node].leading.is_none() {
            return false;
        }
        let life = self.nodes[node].life;
        let stream = self.wires.open(worker, u32::MAX, node, life);
        let mut hello = self.hello(worker);
        hello.incarnation = format!("impostor {}", self.now);
        hello.running.clear();
        self.say_up(stream, Up::Hello(Box::new(hello)));
        // It hears nothing of what it is told, and is gone again.
        self.close_worker_end(stream);
        true
    }

    /// For the calm: the dead come back, but for some that are not needed.
    pub(crate) fn revive_workers(&mut self) {
        for worker in 0..self.workers.len() {
            if self.workers[worker].up {
                continue;
            }
            self.workers[worker].gone_for_good = true;
            if self.chance.per_mille(300) && self.everything_fits() {
                self.diary.say(self.now, || format!("w{worker} is gone for good"));
                continue;
            }
            let it = &mut self.workers[worker];
            it.gone_for_good = false;
            let life = it.life;
            self.agenda.note(self.now + 1_000, Occurrence::WorkerStarts { worker, life });
        }
    }
}
