//! What is remembered of a world: the last events in words, for those who look for a bug, and numbers for the table.
//! Words cost time, so a world writes none until it is run a second time, to be looked at.

use std::collections::{BTreeMap, VecDeque};

#[derive(Debug)]
pub(crate) struct Diary {
    /// Lines kept; none are written for 0.
    kept: usize,
    lines: VecDeque<String>,
}

impl Diary {
    pub(crate) fn new(kept: usize) -> Self {
        Self { kept, lines: VecDeque::new() }
    }

    pub(crate) fn say(&mut self, now: u64, words: impl FnOnce() -> String) {
        if self.kept == 0 {
            return;
        }
        if self.lines.len() == self.kept {
            self.lines.pop_front();
        }
        self.lines.push_back(format!("{:>8}.{:03}  {}", now / 1_000, now % 1_000, words()));
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}

/// What happened in a world, or in many.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    /// Things that happened, of any kind.
    pub events: u64,
    /// Events that a core was told of, ticks among them.
    pub applied: u64,
    pub commits: u64,
    pub simulated_ms: u64,
    pub recoveries: u64,
    /// Looks at whole farms.
    pub looks: u64,
    pub jobs: u64,
    pub tasks: u64,
    pub commands: BTreeMap<&'static str, u64>,
    pub faults: BTreeMap<&'static str, u64>,
    /// How tasks ended.
    pub ends: BTreeMap<&'static str, u64>,
    /// How long the calm took to settle everything, at most.
    pub settle_ms_max: u64,
}

impl Tally {
    pub(crate) fn fault(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }

    pub(crate) fn command(&mut self, kind: &'static str) {
        *self.commands.entry(kind).or_default() += 1;
    }

    /// Adds another world's.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.applied += other.applied;
        self.commits += other.commits;
        self.simulated_ms += other.simulated_ms;
        self.recoveries += other.recoveries;
        self.looks += other.looks;
        self.jobs += other.jobs;
        self.tasks += other.tasks;
        self.settle_ms_max = self.settle_ms_max.max(other.settle_ms_max);
        for (mine, theirs) in [
            (&mut self.commands, &other.commands),
            (&mut self.faults, &other.faults),
            (&mut self.ends, &other.ends),
        ] {
            for (kind, n) in theirs {
                *mine.entry(kind).or_default() += n;
            }
        }
    }
}
