//! How a coordinator comes to lead and ceases to: a lease in the state store, an epoch for each leader.

use std::collections::VecDeque;

use croft_core::farm::{Config, Farm};

use super::Leading;
use crate::{agenda::Occurrence, store::Lease, world::World};

pub(crate) const LEASE_MS: u64 = 10_000;
const LEADER_LEASE_MS: u64 = 5_000;
const RENEW_MS: u64 = 1_000;

/// As a studio would have it, but for a memory that is short enough to forget jobs now and then.
pub(crate) fn config() -> Config {
    Config { lease_ms: LEASE_MS, ..Config::default() }
}

impl World {
    pub(crate) fn node_starts(&mut self, node: usize, life: u32) {
        let now = self.now;
        let it = &mut self.nodes[node];
        if it.up || it.life != life {
            return;
        }
        it.up = true;
        it.clock = it.next_clock;
        self.diary.say(now, || format!("coordinator {node} starts"));
        self.agenda.note(now + 10, Occurrence::Campaign { node, life });
    }

    pub(crate) fn kill_node(&mut self, node: usize, back_after: u64, without_a_word: bool) -> bool {
        if !self.nodes[node].up {
            return false;
        }
        self.end_leading(node, without_a_word);
        let single = self.nodes.len() == 1;
        let it = &mut self.nodes[node];
        it.up = false;
        it.stalled = None;
        let life = it.life;
        if single {
            // A lock on a file ends with its process.
            self.store.lease = None;
        }
        self.agenda.note(self.now + back_after, Occurrence::NodeStarts { node, life });
        true
    }

    /// Leads no more, if it did; its streams end.
    fn end_leading(&mut self, node: usize, without_a_word: bool) {
        self.nodes[node].life += 1;
        self.nodes[node].leading = None;
        for stream in self.wires.open_streams() {
            if self.wires.stream(stream).is_some_and(|s| s.node == node && s.node_open) {
                if without_a_word {
                    self.drop_end(stream, false);
                } else {
                    self.close_node_end(stream);
                }
            }
        }
    }

    /// It has learned that another leads.
    pub(crate) fn step_down(&mut self, node: usize) {
        self.diary.say(self.now, || format!("coordinator {node} learns that it does not lead any more"));
        self.end_leading(node, false);
        let life = self.nodes[node].life;
        let pause = self.chance.between(100, 600);
        self.agenda.note(self.now + pause, Occurrence::Campaign { node, life });
    }

    /// Whether the state store hears it.
    pub(crate) fn reaches_store(&self, node: usize) -> bool {
        self.nodes[node].cut_until <= self.now && self.store.down_until <= self.now
    }

    pub(crate) fn campaign(&mut self, node: usize, life: u32) {
        if self.nodes[node].life != life || !self.nodes[node].up || self.nodes[node].leading.is_some() {
            return;
        }
        let free = self.store.lease.is_none_or(|lease| lease.until <= self.now);
        if !free || !self.reaches_store(node) {
            let pause = self.chance.between(200, 600);
            self.agenda.note(self.now + pause, Occurrence::Campaign { node, life });
            return;
        }
        let until = if self.nodes.len() == 1 { u64::MAX } else { self.now + LEADER_LEASE_MS };
        let epoch = self.store.begin_epoch(Lease { node, life, until });
        self.diary.say(self.now, || format!("coordinator {node} is elected: epoch {epoch}"));
        let reading = self.chance.between(5, 60);
        self.agenda.note(self.now + reading, Occurrence::Loaded { node, life, epoch });
    }

    /// The records are read: the farm is put together from them, and the coordinator leads.
    pub(crate) fn loaded(&mut self, node: usize, life: u32, epoch: u64) {
        if self.nodes[node].life != life || !self.nodes[node].up {
            return;
        }
        if self.store.epoch != epoch {
            self.agenda.note(self.now + 100, Occurrence::Campaign { node, life });
            return;
        }
        let now = self.nodes[node].clock.at(self.now);
        // The first fence must come from the records alone: a clock that went back must not give an old one again.
        let farm = match Farm::recover(config(), 1, now, &self.store.records()) {
            Ok(farm) => farm,
            Err(error) => return self.accuse(format!("the store cannot be read again: {error}")),
        };
        self.tally.recoveries += 1;
        self.nodes[node].leading = Some(Leading {
            epoch,
            farm,
            inbox: VecDeque::new(),
            waiting: None,
            commits: 0,
            turn_due: false,
            turned: self.now,
            batches: 0,
        });
        self.diary.say(self.now, || format!("coordinator {node} leads in epoch {epoch}"));
        self.compare_with_ledger(node);
        self.wake(node);
        self.agenda.note(self.now + RENEW_MS, Occurrence::Renew { node, life });
        self.agenda.note(self.now + croft_core::step::TICK_MS, Occurrence::TickDue { node, life });
    }

    pub(crate) fn renew(&mut self, node: usize, life: u32) {
        if self.nodes[node].life != life || self.nodes[node].leading.is_none() {
            return;
        }
        if self.reaches_store(node) {
            let single = self.nodes.len() == 1;
            match &mut self.store.lease {
                Some(lease) if lease.node == node && lease.life == life => {
                    if !single {
                        lease.until = self.now + LEADER_LEASE_MS;
                    }
                }
                // It hears so at last, or goes on believing for another while.
                Some(_) | None if self.chance.per_mille(400) => return self.step_down(node),
                Some(_) | None => {}
            }
        }
        self.agenda.note(self.now + RENEW_MS, Occurrence::Renew { node, life });
    }
}
