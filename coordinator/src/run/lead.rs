//! Leading: deciding, making durable, and only then letting anything out.

use std::time::{Duration, Instant};

use croft_core::{
    farm::Farm,
    step::{Event, Step, Update},
};

use super::{Loop, Pending};
use crate::{
    error::Error,
    handle::{Input, Refusal},
    log,
    state::{Epoch, Error as StateError, Standing},
    updates::Updates,
};

/// Between two tries of a commit.
const AGAIN: Duration = Duration::from_millis(250);
/// What workers may say while nothing can be written. Past it they are hung up, and say it again when they come back.
const BACKLOG: usize = 20_000;

impl Loop {
    pub(super) fn lead(&mut self, epoch: Epoch, batch: &mut Vec<Input>) -> Result<(), Error> {
        if self.pending.is_some() && !self.commit(epoch)? {
            self.wait(batch);
            return Ok(());
        }
        // What happened meanwhile came first.
        let inputs: Vec<Input> = self.backlog.drain(..).chain(batch.drain(..)).collect();
        self.decide(inputs);
        self.commit(epoch)?;
        Ok(())
    }

    /// Lets the mind decide on a batch.
    fn decide(&mut self, inputs: Vec<Input>) {
        let now = self.desk.clock.now();
        let mut pending = Pending::default();
        for entry in self.unbooked.drain(..) {
            self.desk.farm.apply(now, Event::Noted(entry));
        }
        self.desk.tracer.decided(&mut self.desk.started);
        for input in inputs {
            let (event, entry, look) = match input {
                Input::Asked { event: Some((event, entry)), look } => (Some(event), Some(entry), Some(look)),
                Input::Asked { event: None, look } => (None, None, Some(look)),
                Input::Happened { event, look } => (Some(event), None, look),
                Input::Tick | Input::Stop => continue,
            };
            if let Some(event) = event.and_then(|make| make(&self.desk.farm)) {
                log::event(&self.desk.farm, &event);
                // What was done and that it was done are of one commit.
                for event in [event].into_iter().chain(entry.map(Event::Noted)) {
                    let step = self.desk.farm.apply(now, event);
                    debug_assert!(step.writes.is_empty(), "writes come with the tick");
                    pending.commands.extend(step.commands);
                    pending.updates.extend(step.updates);
                }
            }
            pending.looks.extend(look);
        }
        let Step { writes, commands, updates } = self.desk.farm.apply(now, Event::Tick);
        pending.writes = writes;
        pending.commands.extend(commands);
        pending.updates.extend(updates);
        self.pending = Some(pending);
    }

    /// Makes the pending batch durable and lets it out; whether that went through.
    fn commit(&mut self, epoch: Epoch) -> Result<bool, Error> {
        let Some(pending) = &mut self.pending else { return Ok(true) };
        if pending.again.is_some_and(|again| Instant::now() < again) {
            return Ok(false);
        }
        let written = match pending.writes.is_empty() {
            true => Ok(()),
            false => {
                let began = Instant::now();
                let written = self.seat.store.commit(epoch, &pending.writes);
                self.desk.metrics.committed(began.elapsed());
                written
            }
        };
        match written {
            Ok(()) => {
                if self.desk.trouble.take().is_some() {
                    tracing::info!("the state store takes writes again");
                }
                self.let_out();
                Ok(true)
            }
            Err(StateError::Deposed) => {
                tracing::warn!("another coordinator leads: this one follows");
                self.step_down();
                self.desk.standing = Standing::Follower { leader: None };
                Ok(true)
            }
            Err(error @ (StateError::Unavailable { .. } | StateError::Full { .. })) => {
                pending.again = Some(Instant::now() + AGAIN);
                let why = error.to_string();
                if self.desk.trouble.as_ref() != Some(&why) {
                    tracing::error!("{why}; it is tried again, and nothing leaves before it is written");
                }
                self.desk.trouble = Some(why);
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The pending batch is durable: its commands are performed, its updates told, its looks answered.
    fn let_out(&mut self) {
        let Some(Pending { commands, updates, looks, .. }) = self.pending.take() else { return };
        let now = self.desk.clock.now();
        for command in commands {
            self.effects.perform(&mut self.desk, command);
        }
        self.desk.sessions.flush();
        self.desk.tracer.sent(&mut self.desk.started, now);
        for update in updates {
            if let Update::Ended(ending) = &update {
                self.desk.listeners.ended(ending.attempt.fence);
                self.desk.metrics.ended(ending);
                self.desk.tracer.ended(&self.desk.farm, ending);
            }
            self.desk.updates.note(now, update);
        }
        self.desk.updates.wake();
        for look in looks {
            look(Ok(&mut self.desk));
        }
    }

    /// Nothing can be written: questions are answered, clients sent away, what happened is kept.
    fn wait(&mut self, batch: &mut Vec<Input>) {
        let why = self.desk.trouble.clone().unwrap_or_default();
        for input in batch.drain(..) {
            match input {
                Input::Asked { event: None, look } => look(Ok(&mut self.desk)),
                Input::Asked { event: Some(_), look } => look(Err(Refusal::Stalled { why: why.clone() })),
                input @ Input::Happened { .. } => self.backlog.push_back(input),
                Input::Tick | Input::Stop => {}
            }
        }
        if self.backlog.len() > BACKLOG {
            // Their readers end and say that they left, which is kept as well: a bound on what each may say.
            self.desk.sessions.close();
        }
    }

    /// Begins a term with what is durable; `false` when the store does not tell, and it is tried again.
    pub(super) fn take_over(&mut self, epoch: Epoch) -> Result<bool, Error> {
        let began = Instant::now();
        let records = match self.seat.store.load() {
            Ok(records) => records,
            Err(error @ (StateError::Unavailable { .. } | StateError::Full { .. })) => {
                let why = error.to_string();
                if self.desk.trouble.as_ref() != Some(&why) {
                    tracing::error!("{why}; waiting for it, since a farm does not start empty");
                }
                self.desk.trouble = Some(why);
                return Ok(false);
            }
            Err(StateError::Deposed) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let now = self.desk.clock.now();
        let seed = self.desk.clock.seed();
        self.desk.farm = Farm::recover(self.config.clone(), seed, now, &records)?;
        // Positions of earlier lives are known as forgotten, so that watchers are told everything again.
        self.desk.updates = Updates::new(seed.max(self.desk.farm.first_session().0));
        self.desk.trouble = None;
        self.looked = None;
        tracing::info!(
            epoch = epoch.0,
            store = self.seat.kind,
            records = records.len(),
            jobs = self.desk.farm.jobs().len(),
            ms = began.elapsed().as_millis(),
            "leads"
        );
        Ok(true)
    }

    /// Ends a term: what was not durable did not happen.
    pub(super) fn step_down(&mut self) {
        self.desk.sessions.close();
        self.desk.trouble = None;
        let refusal = || Refusal::NotLeader { leader: None };
        if let Some(pending) = self.pending.take() {
            pending.looks.into_iter().for_each(|look| look(Err(refusal())));
        }
        for input in self.backlog.drain(..) {
            if let Input::Happened { look: Some(look), .. } = input {
                look(Err(refusal()));
            }
        }
    }
}
