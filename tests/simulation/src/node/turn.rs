//! The loop around the mind, as the coordinator runs it: a batch of events in, one commit, and only when that is durable
//! what the mind asked for.

use std::{mem, rc::Rc};

use croft_core::step::{Command, Event, Step, TICK_MS, Update};

use super::Batch;
use crate::{
    agenda::Occurrence,
    ledger::Deed,
    mutants::Loop,
    store::{Answer, Commit, Fate},
    world::World,
};

/// Events of one batch, at most.
const BATCH: usize = 512;
/// A commit that was not answered for so long is sent again.
const OVERDUE_MS: u64 = 2_000;
/// The pause before a commit that did not work is tried again.
const AGAIN_MS: u64 = 200;

impl World {
    /// Something is in the inbox.
    pub(crate) fn wake(&mut self, node: usize) {
        let life = self.nodes[node].life;
        let Some(leading) = self.nodes[node].leading.as_mut() else { return };
        if leading.waiting.is_some() || mem::replace(&mut leading.turn_due, true) {
            return;
        }
        let busy = self.chance.between(0, 2);
        self.agenda.note(self.now + busy, Occurrence::Turn { node, life });
    }

    /// Tells a leader of an event; one that does not lead hears nothing.
    pub(crate) fn tell(&mut self, node: usize, event: Event) {
        if let Some(leading) = self.nodes[node].leading.as_mut() {
            leading.inbox.push_back(event);
            self.wake(node);
        }
    }

    pub(crate) fn tick_due(&mut self, node: usize, life: u32) {
        if self.nodes[node].life != life || self.nodes[node].leading.is_none() {
            return;
        }
        self.agenda.note(self.now + TICK_MS, Occurrence::TickDue { node, life });
        self.wake(node);
    }

    pub(crate) fn turn(&mut self, node: usize, life: u32) {
        if self.nodes[node].life != life {
            return;
        }
        let now = self.nodes[node].clock.at(self.now);
        let collects_all = self.plants(Loop::UnpublishedIsCollected);
        let Some(leading) = self.nodes[node].leading.as_mut() else { return };
        leading.turn_due = false;
        if leading.waiting.is_some() {
            return;
        }
        leading.turned = self.now;
        let mut commands: Vec<Command> = Vec::new();
        let mut updates: Vec<Update> = Vec::new();
        let mut deeds: Vec<Deed> = Vec::new();
        let mut published = Vec::new();
        let events = leading.inbox.len().min(BATCH);
        for event in leading.inbox.drain(..events) {
            if let Event::Published { attempt, outcome } = &event
                && (outcome.is_ok() || collects_all)
            {
                published.push(leading.farm.prefix(attempt));
            }
            Deed::of_event(&leading.farm, &event, &mut deeds);
            let step = leading.farm.apply(now, event);
            commands.extend(step.commands);
            updates.extend(step.updates);
        }
        let Step { writes, commands: last, updates: last_updates } = leading.farm.apply(now, Event::Tick);
        commands.extend(last);
        updates.extend(last_updates);
        Deed::of_updates(&leading.farm, &updates, &mut deeds);
        commands.iter().for_each(|command| Deed::of_command(command, &mut deeds));
        self.tally.applied += events as u64 + 1;
        let silent = writes.is_empty();
        leading.commits += u64::from(!silent);
        let (epoch, number) = (leading.epoch, leading.commits);
        let commit = Rc::new(Commit { node, life, epoch, number, writes, deeds });
        let mut batch = Batch { commit: Rc::clone(&commit), sent: 1, commands, updates, published };
        if !silent || !batch.commit.deeds.is_empty() || !batch.commands.is_empty() {
            self.diary.say(self.now, || batch.words(events));
        }
        if silent {
            // Nothing to write: nothing may have happened that a later leader would have to know of.
            if epoch == self.store.epoch {
                self.record(&commit.deeds);
            }
            self.perform(node, batch);
            return;
        }
        if self.plants(Loop::CommandsBeforeCommit) {
            let commands = mem::take(&mut batch.commands);
            let commit = Rc::clone(&commit);
            self.perform(
                node,
                Batch { commit, sent: 1, commands, updates: Vec::new(), published: Vec::new() },
            );
        }
        if let Some(leading) = self.nodes[node].leading.as_mut() {
            leading.waiting = Some(batch);
        }
        self.send_commit(&commit, 1);
    }

    fn send_commit(&mut self, commit: &Rc<Commit>, sent: u32) {
        let (node, life, number) = (commit.node, commit.life, commit.number);
        let mut overdue = OVERDUE_MS;
        if self.nodes[node].cut_until <= self.now {
            let fate = self.fates.pop_front().unwrap_or(Fate::Good);
            let way = self.chance.between(1, 6);
            self.agenda.note(self.now + way, Occurrence::CommitArrives { commit: Rc::clone(commit), fate });
            if let Fate::AnswerLate(_) = fate {
                // Somebody who waits long enough hears it.
                overdue *= 20;
            }
        }
        self.agenda.note(self.now + overdue, Occurrence::CommitOverdue { node, life, number, sent });
    }

    /// A fault: a sending of the newest commit that got lost on its way arrives after all, much later.
    pub(crate) fn repeat_commit(&mut self, after: u64) -> bool {
        let waiting = self.nodes.iter().filter_map(|node| node.leading.as_ref()?.waiting.as_ref()).next();
        let Some(commit) = waiting.map(|batch| Rc::clone(&batch.commit)) else { return false };
        self.agenda.note(self.now + after, Occurrence::CommitArrives { commit, fate: Fate::AnswerLost });
        true
    }

    pub(crate) fn commit_overdue(&mut self, node: usize, life: u32, number: u64, sent: u32) {
        if self.nodes[node].life == life {
            self.send_again(node, number, sent);
        }
    }

    fn send_again(&mut self, node: usize, number: u64, sent: u32) {
        let waiting = self.nodes[node].leading.as_mut().and_then(|leading| leading.waiting.as_mut());
        if let Some(batch) = waiting.filter(|batch| batch.commit.number == number && batch.sent == sent) {
            batch.sent += 1;
            let (commit, sent) = (Rc::clone(&batch.commit), batch.sent);
            self.send_commit(&commit, sent);
        }
    }

    pub(crate) fn commit_answered(&mut self, node: usize, life: u32, number: u64, answer: Answer) {
        if self.nodes[node].life != life {
            return;
        }
        let goes_on = self.plants(Loop::DeposedGoesOn);
        let Some(leading) = self.nodes[node].leading.as_mut() else { return };
        let Some(batch) = leading.waiting.take_if(|batch| batch.commit.number == number) else { return };
        match answer {
            Answer::Done => {
                self.tally.commits += 1;
                self.perform(node, batch);
            }
            Answer::Deposed if goes_on => self.perform(node, batch),
            Answer::Deposed => self.step_down(node),
            Answer::Unavailable | Answer::Full => {
                let sent = batch.sent;
                leading.waiting = Some(batch);
                self.diary.say(self.now, || format!("coordinator {node}: commit {number}: {answer:?}"));
                // Sooner than by the deadline, which is then the next sending's.
                self.agenda.note(self.now + AGAIN_MS, Occurrence::CommitOverdue { node, life, number, sent });
            }
        }
    }
}

impl Batch {
    fn words(&self, events: usize) -> String {
        let commit = &self.commit;
        let deeds: Vec<String> = commit.deeds.iter().map(|deed| format!("{deed}")).collect();
        let (node, number, epoch) = (commit.node, commit.number, commit.epoch);
        let writes = commit.writes.len();
        format!(
            "coordinator {node}: {events} events, {writes} writes as commit {number} of epoch {epoch}: {}",
            deeds.join("; ")
        )
    }
}
