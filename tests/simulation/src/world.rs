//! One world: machines, wires, stores, people and their history, from one seed. Everything that happens goes through
//! [`World::happen`].

use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use croft_core::time::Time;

use crate::{
    Options,
    agenda::{Agenda, Occurrence},
    catalogue::Catalogue,
    chance::Chance,
    diary::{Diary, Tally},
    ledger::Ledger,
    mutants::{Loop, Planted},
    node::Node,
    objects::Objects,
    people::People,
    publication::Publication,
    store::{Fate, Store},
    weather::Weather,
    wires::{Up, Wires},
    worker::{RankAt, Worker},
};

/// The wall clock when a world begins.
const BEGIN_MS: u64 = 1_700_000_000_000;
/// What the calm gets to settle everything, simulated.
const SETTLE_MS: u64 = 60 * 60_000;

/// Who does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Process {
    Node(usize),
    Worker(usize),
}

/// How far a machine's clock is off, milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clock(pub(crate) u64);

impl Clock {
    pub(crate) fn at(self, now: u64) -> Time {
        Time(BEGIN_MS + now + self.0)
    }
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) chance: Chance,
    pub(crate) agenda: Agenda,
    pub(crate) diary: Diary,
    pub(crate) tally: Tally,
    pub(crate) weather: Weather,
    pub(crate) catalogue: Rc<Catalogue>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) store: Store,
    /// What will happen to the next commits.
    pub(crate) fates: VecDeque<Fate>,
    pub(crate) objects: Objects,
    pub(crate) publications: BTreeMap<u64, Publication>,
    pub(crate) wires: Wires,
    pub(crate) workers: Vec<Worker>,
    /// Ranks of gangs that run or are done, by fence and rank.
    pub(crate) gangs: BTreeMap<(u64, u32), RankAt>,
    pub(crate) old_reports: Vec<Up>,
    pub(crate) people: People,
    pub(crate) ledger: Ledger,
    pub(crate) planted: Option<Planted>,
    /// Whole farms are looked at after every so many batches.
    pub(crate) look_every: u64,
    pub(crate) is_calm: bool,
    pub(crate) calm_since: u64,
    pub(crate) is_over: bool,
    /// The first rule that was broken.
    pub(crate) violation: Option<String>,
}

impl World {
    pub(crate) fn new(options: &Options, catalogue: Rc<Catalogue>) -> Self {
        let mut chance = Chance::new(options.seed);
        let weather = Weather::of(&mut chance);
        let nodes = (0..weather.nodes).map(|_| Node::new(Clock(chance.between(0, 3_000)))).collect();
        let workers = (0..weather.workers).map(|at| Worker::new(at, weather.nodes, &mut chance)).collect();
        let mut world = Self {
            now: 0,
            agenda: Agenda::default(),
            diary: Diary::new(options.words),
            tally: Tally::default(),
            catalogue,
            nodes,
            store: Store::default(),
            fates: VecDeque::new(),
            objects: Objects::default(),
            publications: BTreeMap::new(),
            wires: Wires::default(),
            workers,
            gangs: BTreeMap::new(),
            old_reports: Vec::new(),
            people: People::default(),
            ledger: Ledger::default(),
            planted: options.planted,
            look_every: options.look_every.max(1),
            is_calm: false,
            calm_since: weather.trouble_ms,
            is_over: false,
            violation: None,
            chance,
            weather,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for node in 0..self.nodes.len() {
            self.agenda.note(node as u64, Occurrence::NodeStarts { node, life: 0 });
        }
        for worker in 0..self.workers.len() {
            let at = self.chance.between(0, 2_000);
            self.agenda.note(at, Occurrence::WorkerStarts { worker, life: 0 });
        }
        self.agenda.note(100, Occurrence::PersonActs);
        self.agenda.note(2_000, Occurrence::Strike);
        self.agenda.note(self.weather.trouble_ms, Occurrence::Calm);
        self.agenda.note(self.weather.trouble_ms + SETTLE_MS, Occurrence::Deadline);
    }

    /// Lets things happen until everything has settled or a rule is broken.
    pub(crate) fn run(&mut self) {
        while !self.is_over && self.violation.is_none() {
            let Some((at, what)) = self.agenda.next() else { break };
            self.now = at;
            self.tally.events += 1;
            self.happen(what);
        }
        self.tally.simulated_ms = self.now;
    }

    /// A rule is broken. The first counts: the others follow from it.
    pub(crate) fn accuse(&mut self, what: impl Into<String>) {
        if self.violation.is_none() {
            self.violation = Some(what.into());
        }
    }

    pub(crate) fn plants(&self, what: Loop) -> bool {
        self.planted == Some(Planted::Loop(what))
    }

    /// The process that something concerns; `None` for what no process does.
    fn process(&self, what: &Occurrence) -> Option<Process> {
        match what {
            Occurrence::Turn { node, .. }
            | Occurrence::TickDue { node, .. }
            | Occurrence::Renew { node, .. }
            | Occurrence::Campaign { node, .. }
            | Occurrence::Loaded { node, .. }
            | Occurrence::CommitAnswered { node, .. }
            | Occurrence::CommitOverdue { node, .. }
            | Occurrence::Asked { node, .. } => Some(Process::Node(*node)),
            Occurrence::Up { stream, .. } => Some(Process::Node(self.wires.stream(*stream)?.node)),
            Occurrence::Dial { worker, .. }
            | Occurrence::Beat { worker, .. }
            | Occurrence::Step { worker, .. } => Some(Process::Worker(*worker)),
            Occurrence::Down { stream, .. } => Some(Process::Worker(self.wires.stream(*stream)?.worker)),
            Occurrence::CommitArrives { .. }
            | Occurrence::NodeStarts { .. }
            | Occurrence::KeepAlive { .. }
            | Occurrence::WorkerStarts { .. }
            | Occurrence::Publication { .. }
            | Occurrence::Collected { .. }
            | Occurrence::PersonActs
            | Occurrence::Resend { .. }
            | Occurrence::Strike
            | Occurrence::RunsOn(_)
            | Occurrence::Calm
            | Occurrence::Deadline => None,
        }
    }

    /// A stopped process does nothing until it runs on; then everything comes in the order in which it waited.
    pub(crate) fn happen(&mut self, what: Occurrence) {
        let stalled = match self.process(&what) {
            Some(Process::Node(node)) => self.nodes[node].stalled.as_mut(),
            Some(Process::Worker(worker)) => self.workers[worker].stalled.as_mut(),
            None => None,
        };
        if let Some(waiting) = stalled {
            waiting.push_back(what);
            return;
        }
        match what {
            Occurrence::Turn { node, life } => self.turn(node, life),
            Occurrence::TickDue { node, life } => self.tick_due(node, life),
            Occurrence::Renew { node, life } => self.renew(node, life),
            Occurrence::Campaign { node, life } => self.campaign(node, life),
            Occurrence::Loaded { node, life, epoch } => self.loaded(node, life, epoch),
            Occurrence::CommitArrives { commit, fate } => self.commit_arrives(&commit, fate),
            Occurrence::CommitAnswered { node, life, number, answer } => {
                self.commit_answered(node, life, number, answer);
            }
            Occurrence::CommitOverdue { node, life, number, sent } => {
                self.commit_overdue(node, life, number, sent);
            }
            Occurrence::NodeStarts { node, life } => self.node_starts(node, life),
            Occurrence::Up { stream, said } => self.hear_worker(stream, said),
            Occurrence::Down { stream, said } => self.hear_node(stream, said),
            Occurrence::KeepAlive { stream } => self.keep_alive(stream),
            Occurrence::Dial { worker, life } => self.dial(worker, life),
            Occurrence::Beat { worker, life, stream } => self.beat(worker, life, stream),
            Occurrence::Step { worker, life, device, fence } => self.step(worker, life, device, fence),
            Occurrence::WorkerStarts { worker, life } => self.worker_starts(worker, life),
            Occurrence::Publication { number } => self.publication(number),
            Occurrence::Collected { prefix } => {
                self.check_collected(&prefix);
                self.objects.attempts.remove(&prefix);
            }
            Occurrence::PersonActs => self.person_acts(),
            Occurrence::Asked { node, ask } => self.asked(node, ask),
            Occurrence::Resend { request } => self.resend(request),
            Occurrence::Strike => self.strike(),
            Occurrence::RunsOn(process) => self.runs_on(process),
            Occurrence::Calm => self.calm(),
            Occurrence::Deadline => self.not_settled(),
        }
    }
}
