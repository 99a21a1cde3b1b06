//! What will happen and when: the one queue that moves simulated time. Equal times keep the order in which they were
//! noted, so a world has one history a seed.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    rc::Rc,
};

use crate::{
    people::Ask,
    store::{Answer, Commit, Fate},
    wires::{Down, Up},
    world::Process,
};

/// One thing that happens. Those of a process name its life: what was meant for an earlier one is dropped.
#[derive(Debug)]
pub(crate) enum Occurrence {
    /// The coordinator's loop takes what is in its inbox.
    Turn {
        node: usize,
        life: u32,
    },
    /// Nothing came for a while: a tick is due.
    TickDue {
        node: usize,
        life: u32,
    },
    /// A leader prolongs its lease.
    Renew {
        node: usize,
        life: u32,
    },
    /// A follower tries to become the leader.
    Campaign {
        node: usize,
        life: u32,
    },
    /// The new leader has read the store.
    Loaded {
        node: usize,
        life: u32,
        epoch: u64,
    },
    /// A commit reaches the state store.
    CommitArrives {
        commit: Rc<Commit>,
        fate: Fate,
    },
    CommitAnswered {
        node: usize,
        life: u32,
        number: u64,
        answer: Answer,
    },
    /// The leader has waited long enough for an answer and sends the commit again.
    CommitOverdue {
        node: usize,
        life: u32,
        number: u64,
        sent: u32,
    },
    NodeStarts {
        node: usize,
        life: u32,
    },
    /// A message reaches the coordinator's end of a stream.
    Up {
        stream: u64,
        said: Up,
    },
    /// A message reaches the worker's end.
    Down {
        stream: u64,
        said: Down,
    },
    /// Whoever hears nothing gives a stream up.
    KeepAlive {
        stream: u64,
    },
    Dial {
        worker: usize,
        life: u32,
    },
    Beat {
        worker: usize,
        life: u32,
        stream: u64,
    },
    /// A rank gets a step further.
    Step {
        worker: usize,
        life: u32,
        device: usize,
        fence: u64,
    },
    WorkerStarts {
        worker: usize,
        life: u32,
    },
    /// The next operation of a publication reaches the object store.
    Publication {
        number: u64,
    },
    /// An attempt's leavings are removed.
    Collected {
        prefix: String,
    },
    /// Somebody thinks of something to do.
    PersonActs,
    /// A request reaches a coordinator.
    Asked {
        node: usize,
        ask: Ask,
    },
    /// No answer to a submission came: it is sent again.
    Resend {
        request: usize,
    },
    /// Something breaks.
    Strike,
    /// A stopped process goes on.
    RunsOn(Process),
    /// The trouble is over.
    Calm,
    /// By now everything must have settled.
    Deadline,
}

#[derive(Debug)]
struct Entry {
    at: u64,
    order: u64,
    what: Occurrence,
}

impl Entry {
    fn key(&self) -> (u64, u64) {
        (self.at, self.order)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

#[derive(Debug, Default)]
pub(crate) struct Agenda {
    entries: BinaryHeap<Reverse<Entry>>,
    noted: u64,
}

impl Agenda {
    pub(crate) fn note(&mut self, at: u64, what: Occurrence) {
        self.noted += 1;
        self.entries.push(Reverse(Entry { at, order: self.noted, what }));
    }

    pub(crate) fn next(&mut self) -> Option<(u64, Occurrence)> {
        self.entries.pop().map(|Reverse(entry)| (entry.at, entry.what))
    }
}
