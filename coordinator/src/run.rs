//! The loop around the mind: a batch of events in, one commit, then what the mind asked for.
//!
//! It leads or it follows, as the state store says. A follower answers questions from the store's records and takes no
//! events. A leader whose commit does not go through tries it again: nothing leaves before it is durable, questions are
//! answered meanwhile, clients are told to come again, and what workers say waits.

mod follow;
mod lead;

use std::{collections::VecDeque, sync::Arc, time::Instant};

use croft_core::{
    audit::Entry,
    farm::Farm,
    step::{Command, Update, Write},
};
use tokio::sync::mpsc;

use crate::{
    clock::Clock,
    effects::Effects,
    error::Error,
    handle::{Input, Look, Refusal},
    logs::Listeners,
    metrics::Metrics,
    sessions::Sessions,
    state::{Seat, Standing},
    trace::{Started, Tracer},
    updates::Updates,
};

/// Inputs of one batch, at most: a commit is shared, but nobody waits for a long one.
const BATCH: usize = 512;

/// What the farm's thread owns, for those who look.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) farm: Farm,
    pub(crate) sessions: Sessions,
    pub(crate) updates: Updates,
    pub(crate) clock: Clock,
    pub(crate) standing: Standing,
    /// Why nothing can be written just now.
    pub(crate) trouble: Option<String>,
    pub(crate) tracer: Tracer,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) listeners: Arc<Listeners>,
    /// What the running batch has started.
    pub(crate) started: Started,
}

impl Desk {
    /// An error for whoever must speak to the leader.
    pub(crate) fn leads(&self) -> Result<(), Refusal> {
        match &self.standing {
            Standing::Leader { .. } => Ok(()),
            Standing::Follower { leader } => Err(Refusal::NotLeader { leader: leader.clone() }),
        }
    }
}

pub(crate) struct Loop {
    pub(crate) desk: Desk,
    pub(crate) inbox: mpsc::Receiver<Input>,
    pub(crate) seat: Seat,
    pub(crate) effects: Effects,
    pub(crate) config: croft_core::farm::Config,
    /// A batch that is decided and not durable yet.
    pub(crate) pending: Option<Pending>,
    /// What happened since then.
    pub(crate) backlog: VecDeque<Input>,
    /// Lines for the book that came while this one did not lead.
    pub(crate) unbooked: VecDeque<Box<Entry>>,
    /// When a follower looked at the store last, how long that took, and what it saw.
    pub(crate) looked: Option<follow::Looked>,
}

/// What a batch asks for once it is durable.
#[derive(Default)]
pub(crate) struct Pending {
    writes: Vec<Write>,
    commands: Vec<Command>,
    updates: Vec<Update>,
    looks: Vec<Look>,
    /// Not before this is it tried again.
    again: Option<Instant>,
}

impl Loop {
    /// Runs until told to stop or until nobody could tell it anything, on a thread of its own.
    pub(crate) fn run(mut self) -> Result<(), Error> {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let received = self.inbox.blocking_recv_many(&mut batch, BATCH);
            let stop = received == 0 || batch.iter().any(|input| matches!(input, Input::Stop));
            let (began, events) = (Instant::now(), batch.len());
            self.stand()?;
            match self.desk.standing {
                Standing::Leader { epoch } => self.lead(epoch, &mut batch)?,
                Standing::Follower { .. } => self.follow(&mut batch),
            }
            self.desk.metrics.turned(events, began.elapsed());
            self.desk.metrics.look(&self.desk);
            if stop {
                self.desk.sessions.close();
                self.seat.store.resign();
                return Ok(());
            }
        }
    }

    /// Takes up what the store says that this coordinator is.
    fn stand(&mut self) -> Result<(), Error> {
        let standing = self.seat.standing.borrow().clone();
        if standing == self.desk.standing {
            return Ok(());
        }
        let was_leader = matches!(self.desk.standing, Standing::Leader { .. });
        if was_leader {
            self.step_down();
        }
        if let Standing::Leader { epoch } = standing {
            // It leads only once it knows what there is.
            if self.take_over(epoch)? {
                self.desk.standing = standing;
            }
        } else {
            self.desk.standing = standing;
        }
        Ok(())
    }
}
