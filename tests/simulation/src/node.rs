//! A coordinator: a process that leads or follows, dies and comes back. What its loop does is in `turn`, how it comes to
//! lead in `lead`, what it makes others do in `effects`.

mod effects;
mod lead;
mod turn;

pub(crate) use lead::{LEASE_MS, config};
use std::{collections::VecDeque, rc::Rc};

use croft_core::{
    farm::Farm,
    step::{Command, Event, Update},
};

use crate::{agenda::Occurrence, store::Commit, world::Clock};

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) up: bool,
    /// Rises whenever it begins something new: what was meant for an earlier life is dropped.
    pub(crate) life: u32,
    pub(crate) clock: Clock,
    /// Its clock from its next start on: the real one is read once a process.
    pub(crate) next_clock: Clock,
    /// While it is stopped: what waits for it.
    pub(crate) stalled: Option<VecDeque<Occurrence>>,
    /// Until when it does not reach the state store.
    pub(crate) cut_until: u64,
    pub(crate) leading: Option<Leading>,
}

/// What a leader has: the farm and the loop around it.
#[derive(Debug)]
pub(crate) struct Leading {
    pub(crate) epoch: u64,
    pub(crate) farm: Farm,
    pub(crate) inbox: VecDeque<Event>,
    /// The batch whose commit is on its way; the loop waits for it.
    pub(crate) waiting: Option<Batch>,
    /// Commits of this epoch.
    pub(crate) commits: u64,
    pub(crate) turn_due: bool,
    /// When the loop turned last: its farm knows nothing of what came later.
    pub(crate) turned: u64,
    /// Batches performed.
    pub(crate) batches: u64,
}

/// What a batch of events has come to.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) commit: Rc<Commit>,
    /// How often it was sent.
    pub(crate) sent: u32,
    pub(crate) commands: Vec<Command>,
    pub(crate) updates: Vec<Update>,
    /// Prefixes of publications that the batch has heard are done.
    pub(crate) published: Vec<String>,
}

impl Node {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { up: false, life: 0, clock, next_clock: clock, stalled: None, cut_until: 0, leading: None }
    }
}
