//! The state store as the coordinators see it: one map, one epoch, a lease, and all the ways in which a commit can go
//! wrong. It is the only witness of what is durable, so the ledger is kept here.

use std::{collections::BTreeMap, rc::Rc};

use croft_core::step::Write;

use crate::{agenda::Occurrence, ledger::Deed, mutants::Loop, world::World};

/// One batch's writes, on their way to the store.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) node: usize,
    pub(crate) life: u32,
    pub(crate) epoch: u64,
    /// Rises by one with each commit of an epoch: a late repetition of an older one must not undo a newer one.
    pub(crate) number: u64,
    pub(crate) writes: Vec<Write>,
    /// What the batch means, for the ledger.
    pub(crate) deeds: Vec<Deed>,
}

/// What happens to one sending of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Good,
    /// The store says that it did not work, and nothing was written.
    Fails,
    /// Written, but nobody hears of it.
    AnswerLost,
    /// Written, and heard of this many milliseconds later.
    AnswerLate(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    /// Another epoch has begun.
    Deposed,
    /// Nobody knows whether it was written.
    Unavailable,
    /// No space; nothing was written.
    Full,
}

/// Who leads, as the store knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lease {
    pub(crate) node: usize,
    pub(crate) life: u32,
    pub(crate) until: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) values: BTreeMap<String, Vec<u8>>,
    pub(crate) epoch: u64,
    pub(crate) lease: Option<Lease>,
    /// The newest commit of this epoch.
    newest: u64,
    pub(crate) full_until: u64,
    pub(crate) down_until: u64,
    pub(crate) largest_value: usize,
}

impl Store {
    pub(crate) fn records(&self) -> Vec<(String, Vec<u8>)> {
        self.values.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    pub(crate) fn begin_epoch(&mut self, lease: Lease) -> u64 {
        self.epoch += 1;
        self.newest = 0;
        self.lease = Some(lease);
        self.epoch
    }

    fn write(&mut self, writes: &[Write]) {
        for Write { key, value } in writes {
            match value {
                Some(value) => {
                    self.largest_value = self.largest_value.max(value.len());
                    self.values.insert(key.clone(), value.clone());
                }
                None => drop(self.values.remove(key)),
            }
        }
    }
}

impl World {
    pub(crate) fn commit_arrives(&mut self, commit: &Rc<Commit>, fate: Fate) {
        let answer = if self.store.down_until > self.now || fate == Fate::Fails {
            Answer::Unavailable
        } else if commit.epoch != self.store.epoch && !self.plants(Loop::EpochNotCompared) {
            Answer::Deposed
        } else if self.store.full_until > self.now {
            Answer::Full
        } else {
            self.make_durable(commit);
            Answer::Done
        };
        let wait = match fate {
            Fate::Good | Fate::Fails => self.chance.between(1, 5),
            Fate::AnswerLost => return,
            Fate::AnswerLate(ms) => ms,
        };
        let (node, life, number) = (commit.node, commit.life, commit.number);
        self.agenda.note(self.now + wait, Occurrence::CommitAnswered { node, life, number, answer });
    }

    fn make_durable(&mut self, commit: &Rc<Commit>) {
        let known = commit.epoch == self.store.epoch && commit.number <= self.store.newest;
        if known && !self.plants(Loop::LateCommitOverwrites) {
            return;
        }
        self.diary.say(self.now, || {
            let keys: Vec<&str> = commit.writes.iter().map(|write| write.key.as_str()).collect();
            format!(
                "store: commit {} of epoch {} is durable: {}",
                commit.number,
                commit.epoch,
                keys.join(" ")
            )
        });
        self.store.write(&commit.writes);
        if !known {
            self.store.newest = commit.number;
            self.record(&commit.deeds);
        }
    }
}
