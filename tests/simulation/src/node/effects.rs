//! What a durable batch makes others do: messages to workers, publications, removals, answers to people; and what the
//! workers' messages become when they arrive.

use croft_core::{
    ids::SessionId,
    step::{Assignment, Command, Event, Times, Update},
};

use super::Batch;
use crate::{
    agenda::Occurrence,
    wires::{Down, Up},
    world::World,
};

impl World {
    pub(crate) fn perform(&mut self, node: usize, batch: Batch) {
        for command in batch.commands {
            self.command(node, command);
        }
        for update in batch.updates {
            if let Update::Accepted { request_id, job } = update {
                self.accepted(&request_id, job);
            }
        }
        for prefix in batch.published {
            self.collect(prefix);
        }
        let Some(leading) = self.nodes[node].leading.as_mut() else { return };
        leading.batches += 1;
        let (look, more) = (leading.batches.is_multiple_of(self.look_every), !leading.inbox.is_empty());
        if look && self.violation.is_none() {
            self.look(node);
        }
        if more {
            self.wake(node);
        }
    }

    fn command(&mut self, node: usize, command: Command) {
        match command {
            Command::Welcome { session } => {
                self.tally.command("welcome");
                self.say_down(session.0, Down::Welcome);
            }
            Command::Refuse { session, reason } => {
                self.tally.command("refuse");
                self.say_down(session.0, Down::Refused { reason });
                self.hang_up(node, session);
            }
            Command::HangUp { session } => {
                self.tally.command("hang up");
                self.check_hang_up(node, session);
                self.hang_up(node, session);
            }
            Command::Start(assignment) => {
                self.tally.command("start");
                self.check_start(&assignment);
                let Assignment { session, .. } = *assignment;
                self.say_down(session.0, Down::Start(assignment));
            }
            Command::Revoke { session, attempt, now } => {
                self.tally.command("revoke");
                self.say_down(session.0, Down::Revoke { attempt, now });
            }
            Command::Publish { attempt, prefix, sidecar, output } => {
                self.tally.command("publish");
                self.publish(node, attempt, prefix, sidecar, output);
            }
            Command::Collect { prefix } => {
                self.tally.command("collect");
                self.collect(prefix);
            }
        }
    }

    fn hang_up(&mut self, node: usize, session: SessionId) {
        if self.wires.stream(session.0).is_some_and(|stream| stream.node_open) {
            self.close_node_end(session.0);
            self.tell(node, Event::WorkerLeft { session, goodbye: false });
        }
    }

    /// Best effort: now and then it is not done.
    fn collect(&mut self, prefix: String) {
        if self.chance.per_mille(950) {
            let way = self.chance.between(5, 200);
            self.agenda.note(self.now + way, Occurrence::Collected { prefix });
        }
    }

    /// A stream turns out to be dead at the coordinator's end.
    pub(crate) fn node_loses(&mut self, stream: u64) {
        let Some(node) = self.wires.stream(stream).map(|stream| stream.node) else { return };
        self.close_node_end(stream);
        self.tell(node, Event::WorkerLeft { session: SessionId(stream), goodbye: false });
    }

    /// A worker's message arrives.
    pub(crate) fn hear_worker(&mut self, stream: u64, said: Up) {
        let Some(open) = self.wires.stream(stream).filter(|stream| stream.node_open) else { return };
        let (node, life) = (open.node, open.node_life);
        if let Some(open) = self.wires.stream_mut(stream) {
            open.heard = self.now;
        }
        if !self.nodes[node].up || self.nodes[node].life != life {
            return;
        }
        if self.nodes[node].leading.is_none() {
            let leader = self.store.lease.map(|lease| lease.node).filter(|leader| *leader != node);
            self.say_down(stream, Down::NotLeader { leader });
            self.close_node_end(stream);
            return;
        }
        let session = SessionId(stream);
        let event = match said {
            Up::Hello(mut joined) => {
                joined.session = session;
                Event::WorkerJoined(joined)
            }
            Up::Beat => Event::WorkerHeard { session },
            Up::Resident { index, models } => {
                Event::DeviceReported { session, index, resident_models: models }
            }
            Up::Progress { attempt, rank, stage, step, steps } => {
                Event::AttemptProgressed { session, attempt, rank, stage, step, steps }
            }
            Up::Saved { attempt, rank, artifacts } => Event::AttemptSaved {
                session,
                attempt,
                rank,
                artifacts,
                times: Times::default(),
                peak_bytes: 0,
            },
            Up::Failed { attempt, rank, failure } => Event::AttemptFailed { session, attempt, rank, failure },
            Up::Goodbye | Up::Closed => {
                let goodbye = matches!(said, Up::Goodbye);
                self.close_node_end(stream);
                Event::WorkerLeft { session, goodbye }
            }
        };
        self.tell(node, event);
    }
}
