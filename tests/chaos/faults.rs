//! What goes wrong, when, and how it is put right again.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    farm::{Farm, WORKERS},
    links::Mode,
};

/// Faults at once.
const AT_ONCE: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    KillLeader,
    StopLeader,
    KillCoordinator(usize),
    KillWorker(usize),
    StopWorker(usize),
    KillRank(usize),
    KillEtcd(usize),
    StopEtcd(usize),
    StopStore,
    CutFromEtcd(usize),
    CutWorker(usize),
    StallWorker(usize),
}

pub(crate) struct Faults {
    chance: u64,
    next: Instant,
    /// What must be put right, and when; with the coordinator that led, where it matters.
    open: Vec<(Instant, Fault, usize)>,
    counts: BTreeMap<&'static str, u32>,
    /// When a leader was killed or stopped, by the wall clock that attempts are stamped with.
    pub(crate) leader_deaths: Vec<SystemTime>,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        let next = Instant::now() + Duration::from_secs(3);
        Self { chance: seed, next, open: Vec::new(), counts: BTreeMap::new(), leader_deaths: Vec::new() }
    }

    /// SplitMix64.
    fn below(&mut self, n: u64) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.chance;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    /// Puts right what is due, and does something new when it is time. Takes about as long as asking for a job's state,
    /// which the caller does between turns.
    pub(crate) fn turn(&mut self, farm: &mut Farm) {
        let now = Instant::now();
        while let Some(at) = self.open.iter().position(|(due, ..)| *due <= now) {
            let (_, fault, who) = self.open.remove(at);
            repair(farm, fault, who);
        }
        farm.all_run();
        if now < self.next || self.open.len() >= AT_ONCE {
            return;
        }
        self.next = now + Duration::from_millis(500 + self.below(2_500));
        let worker = self.below(WORKERS as u64) as usize;
        let three = self.below(3) as usize;
        let fault = match self.below(16) {
            0 | 1 => Fault::KillLeader,
            2 => Fault::StopLeader,
            3 => Fault::KillCoordinator(three),
            4 | 5 => Fault::KillWorker(worker),
            6 => Fault::StopWorker(worker),
            7 | 8 => Fault::KillRank(worker),
            9 => Fault::KillEtcd(three),
            10 => Fault::StopEtcd(three),
            11 => Fault::StopStore,
            12 => Fault::CutFromEtcd(three),
            13 | 14 => Fault::CutWorker(worker),
            _ => Fault::StallWorker(worker),
        };
        if self.open.iter().any(|(_, open, _)| open.touches() == fault.touches()) {
            return;
        }
        let Some(who) = self.strike(farm, fault) else { return };
        *self.counts.entry(fault.name()).or_default() += 1;
        let lasts = Duration::from_millis(1_000 + self.below(5_000));
        self.open.push((now + lasts, fault, who));
    }

    fn strike(&mut self, farm: &mut Farm, fault: Fault) -> Option<usize> {
        match fault {
            Fault::KillLeader => {
                let leader = farm.leader()?;
                self.leader_deaths.push(SystemTime::now());
                farm.coordinators[leader].kill();
                return Some(leader);
            }
            Fault::StopLeader => {
                let leader = farm.leader()?;
                self.leader_deaths.push(SystemTime::now());
                farm.coordinators[leader].signal("-STOP");
                return Some(leader);
            }
            Fault::KillCoordinator(at) => farm.coordinators[at].kill(),
            Fault::KillWorker(at) => farm.workers[at].kill(),
            Fault::StopWorker(at) => farm.workers[at].signal("-STOP"),
            Fault::KillRank(at) => farm.kill_rank(at),
            Fault::KillEtcd(at) => farm.etcd[at].kill(),
            Fault::StopEtcd(at) => farm.etcd[at].signal("-STOP"),
            Fault::StopStore => farm.weed.signal("-STOP"),
            Fault::CutFromEtcd(at) => farm.cut_from_etcd(at, Mode::Cut),
            Fault::CutWorker(at) => farm.cut_worker(at, Mode::Cut),
            Fault::StallWorker(at) => farm.cut_worker(at, Mode::Stalled),
        }
        Some(0)
    }

    /// Puts everything right.
    pub(crate) fn heal(&mut self, farm: &mut Farm) {
        for (_, fault, who) in std::mem::take(&mut self.open) {
            repair(farm, fault, who);
        }
    }

    pub(crate) fn told(&self) -> String {
        let all: Vec<String> = self.counts.iter().map(|(name, n)| format!("{name} {n}")).collect();
        all.join(", ")
    }
}

fn repair(farm: &mut Farm, fault: Fault, who: usize) {
    match fault {
        Fault::KillLeader => farm.coordinators[who].start(),
        Fault::StopLeader => farm.coordinators[who].signal("-CONT"),
        Fault::KillCoordinator(at) => farm.coordinators[at].start(),
        Fault::KillWorker(at) => farm.workers[at].start(),
        Fault::StopWorker(at) => farm.workers[at].signal("-CONT"),
        Fault::KillRank(_) => {}
        Fault::KillEtcd(at) => farm.etcd[at].start(),
        Fault::StopEtcd(at) => farm.etcd[at].signal("-CONT"),
        Fault::StopStore => farm.weed.signal("-CONT"),
        Fault::CutFromEtcd(at) => farm.cut_from_etcd(at, Mode::Open),
        Fault::CutWorker(at) | Fault::StallWorker(at) => farm.cut_worker(at, Mode::Open),
    }
}

impl Fault {
    /// Of what has the same number here, one at a time: one etcd member, one coordinator, each worker.
    fn touches(self) -> usize {
        match self {
            Self::KillLeader | Self::StopLeader | Self::KillCoordinator(_) | Self::CutFromEtcd(_) => 0,
            Self::KillEtcd(_) | Self::StopEtcd(_) => 1,
            Self::StopStore => 2,
            Self::KillWorker(at) | Self::StopWorker(at) | Self::KillRank(at) => 10 + at,
            Self::CutWorker(at) | Self::StallWorker(at) => 10 + at,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::KillLeader => "leader killed",
            Self::StopLeader => "leader stopped",
            Self::KillCoordinator(_) => "coordinator killed",
            Self::KillWorker(_) => "worker killed",
            Self::StopWorker(_) => "worker stopped",
            Self::KillRank(_) => "rank killed",
            Self::KillEtcd(_) => "etcd member killed",
            Self::StopEtcd(_) => "etcd member stopped",
            Self::StopStore => "object store stopped",
            Self::CutFromEtcd(_) => "coordinator cut from etcd",
            Self::CutWorker(_) => "worker cut off",
            Self::StallWorker(_) => "worker's connection stalled",
        }
    }
}
