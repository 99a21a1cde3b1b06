//! What breaks: one strike at a time, of the kinds that the weather has, until the calm puts everything right.

use crate::{
    agenda::Occurrence,
    store::Fate,
    wires::Up,
    world::{Clock, Process, World},
};

/// A kind of strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    WorkerKilled,
    WorkerMachineLost,
    WorkerStalled,
    WorkerGoodbye,
    WorkerTwice,
    StreamBroken,
    CutUp,
    CutDown,
    CutBoth,
    StaleReport,
    NodeKilled,
    NodeMachineLost,
    NodeStalled,
    NodeCutOff,
    LeaseTaken,
    CommitFails,
    CommitAnswerLost,
    CommitAnswerLate,
    CommitTwice,
    StoreFull,
    StoreDown,
    ObjectsDown,
    ObjectsSlow,
    FilesVanish,
    FilesOverwritten,
    ClockMoved,
}

impl Kind {
    pub(crate) const ALL: [Self; 26] = [
        Self::WorkerKilled,
        Self::WorkerMachineLost,
        Self::WorkerStalled,
        Self::WorkerGoodbye,
        Self::WorkerTwice,
        Self::StreamBroken,
        Self::CutUp,
        Self::CutDown,
        Self::CutBoth,
        Self::StaleReport,
        Self::NodeKilled,
        Self::NodeMachineLost,
        Self::NodeStalled,
        Self::NodeCutOff,
        Self::LeaseTaken,
        Self::CommitFails,
        Self::CommitAnswerLost,
        Self::CommitAnswerLate,
        Self::CommitTwice,
        Self::StoreFull,
        Self::StoreDown,
        Self::ObjectsDown,
        Self::ObjectsSlow,
        Self::FilesVanish,
        Self::FilesOverwritten,
        Self::ClockMoved,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::WorkerKilled => "worker killed",
            Self::WorkerMachineLost => "worker's machine lost",
            Self::WorkerStalled => "worker stalled",
            Self::WorkerGoodbye => "worker restarted in good order",
            Self::WorkerTwice => "second worker of the same name",
            Self::StreamBroken => "stream broken",
            Self::CutUp => "network cut, worker to coordinator",
            Self::CutDown => "network cut, coordinator to worker",
            Self::CutBoth => "network cut, both ways",
            Self::StaleReport => "old report repeated",
            Self::NodeKilled => "coordinator killed",
            Self::NodeMachineLost => "coordinator's machine lost",
            Self::NodeStalled => "coordinator stalled",
            Self::NodeCutOff => "coordinator cut off from the store",
            Self::LeaseTaken => "lease lost",
            Self::CommitFails => "commit failed",
            Self::CommitAnswerLost => "commit done, answer lost",
            Self::CommitAnswerLate => "commit done, answer late",
            Self::CommitTwice => "commit repeated late",
            Self::StoreFull => "state store full",
            Self::StoreDown => "state store down",
            Self::ObjectsDown => "object store down",
            Self::ObjectsSlow => "object store slow",
            Self::FilesVanish => "an attempt's files vanished",
            Self::FilesOverwritten => "an attempt's files overwritten",
            Self::ClockMoved => "clock moved at a restart",
        }
    }
}

impl World {
    pub(crate) fn strike(&mut self) {
        if self.is_calm {
            return;
        }
        let (low, high) = self.weather.strike_ms;
        let next = self.now + self.chance.between(low, high);
        self.agenda.note(next, Occurrence::Strike);
        let Some(kind) = self.chance.pick(&self.weather.kinds).copied() else { return };
        let worker = self.chance.below(self.workers.len());
        let node = self.a_node();
        let short = self.chance.between(100, 3_000);
        let long = if self.chance.per_mille(500) { short } else { self.chance.between(3_000, 30_000) };
        if !self.apply_strike(kind, worker, node, short, long) {
            return;
        }
        self.tally.fault(kind.name());
        self.diary.say(self.now, || {
            format!("STRIKE: {} (worker {worker}, coordinator {node}, {short} / {long} ms)", kind.name())
        });
    }

    /// The leader more often than another: it is where things happen.
    fn a_node(&mut self) -> usize {
        let any = self.chance.below(self.nodes.len());
        match self.store.lease {
            Some(lease) if self.chance.per_mille(700) => lease.node,
            _ => any,
        }
    }

    fn apply_strike(&mut self, kind: Kind, worker: usize, node: usize, short: u64, long: u64) -> bool {
        let until = self.now + long;
        match kind {
            Kind::WorkerKilled | Kind::WorkerMachineLost => {
                self.kill_worker(worker, long, kind == Kind::WorkerMachineLost)
            }
            Kind::WorkerStalled => {
                let starts = self.workers[worker].stalled.is_none();
                self.workers[worker].stalled.get_or_insert_default();
                self.watch_streams(|stream| stream.worker == worker);
                self.agenda.note(until, Occurrence::RunsOn(Process::Worker(worker)));
                starts
            }
            Kind::WorkerGoodbye => self.worker_says_goodbye(worker, short),
            Kind::WorkerTwice => self.another_of_the_name(worker, node),
            Kind::StreamBroken => match self.workers[worker].stream {
                Some(stream) => {
                    self.worker_loses(stream, "it broke");
                    true
                }
                None => false,
            },
            Kind::CutUp | Kind::CutDown | Kind::CutBoth => {
                let up = if kind == Kind::CutDown { 0 } else { until };
                let down = if kind == Kind::CutUp { 0 } else { until };
                self.wires.cut(worker, node, up, down);
                self.watch_streams(|stream| stream.worker == worker && stream.node == node);
                true
            }
            Kind::StaleReport => self.repeat_old_report(worker),
            Kind::NodeKilled | Kind::NodeMachineLost => {
                self.kill_node(node, short, kind == Kind::NodeMachineLost)
            }
            Kind::NodeStalled => {
                let starts = self.nodes[node].stalled.is_none();
                self.nodes[node].stalled.get_or_insert_default();
                self.watch_streams(|stream| stream.node == node);
                self.agenda.note(until, Occurrence::RunsOn(Process::Node(node)));
                starts
            }
            Kind::NodeCutOff => {
                self.nodes[node].cut_until = until;
                true
            }
            Kind::LeaseTaken => {
                self.store.lease = self.store.lease.take().filter(|lease| lease.node != node);
                self.nodes.len() > 1
            }
            Kind::CommitFails => self.fate(Fate::Fails),
            Kind::CommitAnswerLost => self.fate(Fate::AnswerLost),
            Kind::CommitAnswerLate => self.fate(Fate::AnswerLate(long)),
            Kind::CommitTwice => self.repeat_commit(long),
            Kind::StoreFull => {
                self.store.full_until = until;
                true
            }
            Kind::StoreDown => {
                self.store.down_until = self.now + short;
                true
            }
            Kind::ObjectsDown => {
                self.objects.down_until = until;
                true
            }
            Kind::ObjectsSlow => {
                self.objects.slow_until = until;
                true
            }
            Kind::FilesVanish => self.objects.attempts.pop_first().is_some(),
            Kind::FilesOverwritten => match self.objects.attempts.first_entry() {
                Some(mut first) => {
                    first.get_mut().files.iter_mut().for_each(|(_, content)| *content ^= 1);
                    true
                }
                None => false,
            },
            Kind::ClockMoved => {
                let moved = self.chance.between(0, 20_000);
                self.nodes[node].next_clock = Clock(moved);
                true
            }
        }
    }

    fn fate(&mut self, fate: Fate) -> bool {
        self.fates.push_back(fate);
        true
    }

    /// Something that was said long ago is said again, on the stream of now.
    fn repeat_old_report(&mut self, worker: usize) -> bool {
        let Some(stream) = self.workers[worker].stream.filter(|_| self.workers[worker].welcomed) else {
            return false;
        };
        // The newest half of the time: then its attempt may still run, on another worker.
        let newest = self.chance.per_mille(500);
        let said = if newest { self.old_reports.last() } else { self.chance.pick(&self.old_reports) };
        let Some(said) = said.cloned() else { return false };
        self.say_up(stream, said);
        true
    }

    /// Remembers a report, to be repeated one day.
    pub(crate) fn remember(&mut self, said: &Up) {
        const KEPT: usize = 64;
        if self.old_reports.len() < KEPT {
            self.old_reports.push(said.clone());
        } else {
            let at = self.chance.below(KEPT);
            self.old_reports.swap_remove(at);
            self.old_reports.push(said.clone());
        }
    }

    /// A stopped process goes on with all that waited for it.
    pub(crate) fn runs_on(&mut self, process: Process) {
        let waited = match process {
            Process::Node(node) => self.nodes[node].stalled.take(),
            Process::Worker(worker) => self.workers[worker].stalled.take(),
        };
        for what in waited.unwrap_or_default() {
            self.happen(what);
        }
    }

    /// Everything that lasts ends. Some of the dead stay dead.
    pub(crate) fn calm(&mut self) {
        self.is_calm = true;
        self.diary.say(self.now, || "CALM: nothing breaks any more".to_owned());
        self.store.full_until = 0;
        self.store.down_until = 0;
        self.objects.down_until = 0;
        self.objects.slow_until = 0;
        self.fates.clear();
        self.wires.heal();
        for node in 0..self.nodes.len() {
            self.nodes[node].cut_until = 0;
            if !self.nodes[node].up {
                let life = self.nodes[node].life;
                self.agenda.note(self.now + 500, Occurrence::NodeStarts { node, life });
            }
        }
        self.revive_workers();
    }
}
