//! The loop around the mind: a batch of events in, one commit, then what the mind asked for.

use std::time::Duration;

use croft_core::{
    farm::Farm,
    step::{Command, Event, Step, TICK_MS, Update},
};
use tokio::{runtime, sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

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

/// The mind's timers want no finer one.
const TICK: Duration = Duration::from_millis(TICK_MS);

#[derive(Debug)]
pub(crate) struct Loop {
    pub(crate) desk: Desk,
    pub(crate) inbox: mpsc::Receiver<Input>,
    pub(crate) state: Box<dyn StateStore>,
    pub(crate) effects: Effects,
    pub(crate) stop: CancellationToken,
}

impl Loop {
    /// Runs until told to stop, on a thread of its own.
    pub(crate) fn run(mut self, runtime: &runtime::Handle) -> Result<(), Error> {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let Self { inbox, stop, .. } = &mut self;
            let go_on = runtime.block_on(async {
                tokio::select! {
                    biased;
                    received = timeout(TICK, inbox.recv_many(&mut batch, BATCH)) => received != Ok(0),
                    () = stop.cancelled() => false,
                }
            });
            self.turn(&mut batch)?;
            if !go_on {
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
            let Input { event, look } = input;
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
