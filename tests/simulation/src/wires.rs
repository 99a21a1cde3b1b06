//! The network: streams between workers and coordinators, each direction in order and with latency, and cuts that hold
//! one direction or both back until they heal. What is lost is lost by the end of a stream, as with TCP.

use std::collections::BTreeMap;

use croft_core::{
    failure::Failure,
    ids::AttemptId,
    step::{Artifact, Assignment, Joined, Stage},
};

use crate::{agenda::Occurrence, world::World};

/// A side that has heard nothing for so long gives the stream up.
const KEEP_ALIVE_MS: u64 = 10_000;
const LATENCY_MS: (u64, u64) = (1, 8);

/// What a worker says.
#[derive(Debug, Clone)]
pub(crate) enum Up {
    Hello(Box<Joined>),
    Beat,
    Resident {
        index: u32,
        models: Vec<String>,
    },
    Progress {
        attempt: AttemptId,
        rank: u32,
        stage: Stage,
        step: u32,
        steps: u32,
    },
    Saved {
        attempt: AttemptId,
        rank: u32,
        artifacts: Vec<Artifact>,
    },
    Failed {
        attempt: AttemptId,
        rank: u32,
        failure: Failure,
    },
    Goodbye,
    /// The worker's end is closed.
    Closed,
}

/// What a coordinator says.
#[derive(Debug, Clone)]
pub(crate) enum Down {
    Welcome,
    Refused {
        reason: String,
    },
    /// It is no leader; who is, as far as it knows.
    NotLeader {
        leader: Option<usize>,
    },
    Start(Box<Assignment>),
    Revoke {
        attempt: AttemptId,
        now: bool,
    },
    Closed,
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) worker: usize,
    pub(crate) worker_life: u32,
    pub(crate) worker_open: bool,
    pub(crate) node: usize,
    pub(crate) node_life: u32,
    pub(crate) node_open: bool,
    /// When the coordinator's end heard something last.
    pub(crate) heard: u64,
    /// When the worker's end was welcomed.
    pub(crate) welcomed: u64,
    up_last: u64,
    down_last: u64,
}

/// Until when each direction between a worker and a coordinator is cut.
#[derive(Debug, Default, Clone, Copy)]
struct Cut {
    up: u64,
    down: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Wires {
    streams: BTreeMap<u64, Stream>,
    opened: u64,
    cuts: BTreeMap<(usize, usize), Cut>,
}

impl Wires {
    pub(crate) fn stream(&self, stream: u64) -> Option<&Stream> {
        self.streams.get(&stream)
    }

    pub(crate) fn open(&mut self, worker: usize, worker_life: u32, node: usize, node_life: u32) -> u64 {
        self.opened += 1;
        let stream = Stream {
            worker,
            worker_life,
            worker_open: true,
            node,
            node_life,
            node_open: true,
            heard: 0,
            welcomed: u64::MAX,
            up_last: 0,
            down_last: 0,
        };
        self.streams.insert(self.opened, stream);
        self.opened
    }

    pub(crate) fn stream_mut(&mut self, stream: u64) -> Option<&mut Stream> {
        self.streams.get_mut(&stream)
    }

    pub(crate) fn is_cut(&self, worker: usize, node: usize, now: u64) -> bool {
        self.cuts.get(&(worker, node)).is_some_and(|cut| cut.up > now || cut.down > now)
    }

    pub(crate) fn cut(&mut self, worker: usize, node: usize, up: u64, down: u64) {
        let cut = self.cuts.entry((worker, node)).or_default();
        cut.up = cut.up.max(up);
        cut.down = cut.down.max(down);
    }

    pub(crate) fn heal(&mut self) {
        self.cuts.clear();
    }

    /// Open streams, by number.
    pub(crate) fn open_streams(&self) -> Vec<u64> {
        self.streams.iter().filter(|(_, s)| s.worker_open || s.node_open).map(|(id, _)| *id).collect()
    }

    fn forget_closed(&mut self, stream: u64) {
        if self.streams.get(&stream).is_some_and(|s| !s.worker_open && !s.node_open) {
            self.streams.remove(&stream);
        }
    }
}

impl World {
    fn latency(&mut self) -> u64 {
        self.chance.between(LATENCY_MS.0, LATENCY_MS.1)
    }

    /// The worker's end says something.
    pub(crate) fn say_up(&mut self, stream: u64, said: Up) {
        let latency = self.latency();
        let Some(open) = self.wires.streams.get_mut(&stream).filter(|s| s.worker_open) else { return };
        let cut = self.wires.cuts.get(&(open.worker, open.node)).map_or(0, |cut| cut.up);
        let at = (self.now.max(cut) + latency).max(open.up_last);
        open.up_last = at;
        self.agenda.note(at, Occurrence::Up { stream, said });
    }

    /// The coordinator's end says something.
    pub(crate) fn say_down(&mut self, stream: u64, said: Down) {
        let latency = self.latency();
        let Some(open) = self.wires.streams.get_mut(&stream).filter(|s| s.node_open) else { return };
        let cut = self.wires.cuts.get(&(open.worker, open.node)).map_or(0, |cut| cut.down);
        let at = (self.now.max(cut) + latency).max(open.down_last);
        open.down_last = at;
        self.agenda.note(at, Occurrence::Down { stream, said });
    }

    /// The worker's end closes; the other hears of it when the wire lets it, or finds out by itself.
    pub(crate) fn close_worker_end(&mut self, stream: u64) {
        if self.chance.per_mille(150) {
            return self.drop_end(stream, true);
        }
        self.say_up(stream, Up::Closed);
        if let Some(open) = self.wires.streams.get_mut(&stream) {
            open.worker_open = false;
        }
        self.wires.forget_closed(stream);
    }

    pub(crate) fn close_node_end(&mut self, stream: u64) {
        self.say_down(stream, Down::Closed);
        if let Some(open) = self.wires.streams.get_mut(&stream) {
            open.node_open = false;
        }
        self.wires.forget_closed(stream);
    }

    /// An end vanishes without a word, with its machine.
    pub(crate) fn drop_end(&mut self, stream: u64, of_worker: bool) {
        let Some(open) = self.wires.streams.get_mut(&stream) else { return };
        if of_worker {
            open.worker_open = false;
        } else {
            open.node_open = false;
        }
        self.wires.forget_closed(stream);
        self.agenda.note(self.now + KEEP_ALIVE_MS, Occurrence::KeepAlive { stream });
    }

    /// Something came between the ends: whoever still hears nothing when its patience is over gives up.
    pub(crate) fn watch_streams(&mut self, between: impl Fn(&Stream) -> bool) {
        let watched: Vec<u64> =
            self.wires.streams.iter().filter(|(_, s)| between(s)).map(|(id, _)| *id).collect();
        for stream in watched {
            let patience = KEEP_ALIVE_MS + self.chance.between(0, 2_000);
            self.agenda.note(self.now + patience, Occurrence::KeepAlive { stream });
        }
    }

    pub(crate) fn keep_alive(&mut self, stream: u64) {
        let Some(open) = self.wires.streams.get(&stream) else { return };
        let (worker, node) = (open.worker, open.node);
        let silent = self.wires.is_cut(worker, node, self.now);
        let worker_gone = !open.worker_open || self.workers[worker].stalled.is_some();
        let node_gone = !open.node_open || self.nodes[node].stalled.is_some();
        if (silent || worker_gone) && self.wires.streams.get(&stream).is_some_and(|s| s.node_open) {
            self.node_loses(stream);
        }
        if (silent || node_gone) && self.wires.streams.get(&stream).is_some_and(|s| s.worker_open) {
            self.worker_loses(stream, "it heard nothing for too long");
        }
    }
}
