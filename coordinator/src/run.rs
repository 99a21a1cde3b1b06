//! The loop around the mind: a batch of events in, one commit, then what the mind asked for.

use croft_core::{
    farm::Farm,
    step::{Command, Event, Step, Update},
};
use tokio::sync::mpsc;

use crate::{
    clock::Clock,
    effects::Effects,
    error::Error,
    handle::{Input, Look},
    log,
    sessions::Sessions,
    state::StateStore,
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
}

#[derive(Debug)]
pub(crate) struct Loop {
    pub(crate) desk: Desk,
    pub(crate) inbox: mpsc::Receiver<Input>,
    pub(crate) state: Box<dyn StateStore>,
    pub(crate) effects: Effects,
}

impl Loop {
    /// Runs until told to stop or until nobody could tell it anything, on a thread of its own.
    pub(crate) fn run(mut self) -> Result<(), Error> {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let received = self.inbox.blocking_recv_many(&mut batch, BATCH);
            let stop = received == 0 || batch.iter().any(|input| matches!(input, Input::Stop));
            self.turn(&mut batch)?;
            if stop {
                self.desk.sessions.close();
                return Ok(());
            }
        }
    }

    fn turn(&mut self, batch: &mut Vec<Input>) -> Result<(), Error> {
        let now = self.desk.clock.now();
        let mut commands: Vec<Command> = Vec::new();
        let mut updates: Vec<Update> = Vec::new();
        let mut looks: Vec<Look> = Vec::new();
        for input in batch.drain(..) {
            let Input::Work { event, look } = input else { continue };
            if let Some(event) = event.and_then(|make| make(&self.desk.farm)) {
                log::event(&self.desk.farm, &event);
                let step = self.desk.farm.apply(now, event);
                debug_assert!(step.writes.is_empty(), "writes come with the tick");
                commands.extend(step.commands);
                updates.extend(step.updates);
            }
            looks.extend(look);
        }
        let Step { writes, commands: last_commands, updates: last_updates } =
            self.desk.farm.apply(now, Event::Tick);
        if !writes.is_empty() {
            self.state.commit(writes)?;
        }
        for command in commands.into_iter().chain(last_commands) {
            self.effects.perform(&mut self.desk, command);
        }
        self.desk.sessions.flush();
        for update in updates.into_iter().chain(last_updates) {
            self.desk.updates.note(now, update);
        }
        self.desk.updates.wake();
        for look in looks {
            look(&mut self.desk);
        }
        Ok(())
    }
}
