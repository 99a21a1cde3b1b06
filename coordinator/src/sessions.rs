//! The streams to workers: what is said to each, through a bounded queue that never makes the farm wait.

use std::{collections::BTreeMap, mem};

use bytes::Bytes;
use croft_core::{
    farm::Farm,
    ids::{AttemptId, SessionId},
    step::Assignment,
};
use croft_proto::v1::{self, CoordinatorMessage, coordinator_message::What};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{api::convert, log, rendezvous::Rendezvous};

/// Messages that may wait for a worker to read them. Assignments of one batch are one message.
pub(crate) const QUEUE: usize = 256;

/// One worker's stream, as long as it is open.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) out: mpsc::Sender<Result<CoordinatorMessage, Status>>,
    /// Cancelled when nothing more will be said: its reader stops reading.
    pub(crate) closed: CancellationToken,
    /// Attempts in its hello that this farm has never heard of: it is told to end them.
    pub(crate) strangers: Vec<v1::AttemptRef>,
}

/// What every worker is told first.
#[derive(Debug)]
pub(crate) struct Greeting {
    pub(crate) lease_ms: u64,
    pub(crate) artifacts: String,
    pub(crate) store_id: String,
}

#[derive(Debug)]
pub(crate) struct Sessions {
    greeting: Greeting,
    open: BTreeMap<SessionId, Session>,
    /// Assignments of the running batch, by the stream that they go to.
    starts: BTreeMap<SessionId, Vec<v1::Assignment>>,
    rendezvous: Rendezvous,
}

impl Sessions {
    pub(crate) fn new(greeting: Greeting) -> Self {
        Self { greeting, open: BTreeMap::new(), starts: BTreeMap::new(), rendezvous: Rendezvous::new() }
    }

    /// Enters a stream, before the mind hears of it.
    pub(crate) fn enter(&mut self, id: SessionId, session: Session) {
        self.open.insert(id, session);
    }

    /// The stream ended.
    pub(crate) fn leave(&mut self, id: SessionId) {
        if let Some(session) = self.open.remove(&id) {
            session.closed.cancel();
        }
    }

    pub(crate) fn welcome(&mut self, id: SessionId) {
        let welcome = v1::Welcome {
            protocol: croft_proto::PROTOCOL,
            lease_ms: self.greeting.lease_ms,
            artifacts: self.greeting.artifacts.clone(),
            store_id: self.greeting.store_id.clone(),
        };
        self.say(id, What::Welcome(welcome));
        let strangers = self.open.get_mut(&id).map(|s| mem::take(&mut s.strangers)).unwrap_or_default();
        for attempt in strangers {
            self.say(id, What::Revoke(v1::Revoke { attempt: Some(attempt), now: true }));
        }
    }

    /// Says why, and ends the stream; the worker does not come back with the same hello.
    pub(crate) fn refuse(&mut self, id: SessionId, reason: String) {
        tracing::warn!(session = id.0, reason, "worker refused");
        self.say(id, What::Refused(v1::Refused { reason }));
        self.leave(id);
    }

    /// Ends the stream; the worker may dial again.
    pub(crate) fn hang_up(&mut self, id: SessionId) {
        tracing::warn!(session = id.0, "worker was silent past its lease: hanging up");
        self.leave(id);
    }

    pub(crate) fn start(&mut self, farm: &Farm, assignment: Assignment, traceparent: String) {
        let session = assignment.session;
        log::assigned(farm, &assignment);
        let token = match assignment.ranks {
            0 | 1 => Bytes::new(),
            _ => Bytes::copy_from_slice(&self.rendezvous.token(&assignment.attempt)),
        };
        if let Some(assignment) = convert::assignment(farm, assignment, token, traceparent) {
            self.starts.entry(session).or_default().push(assignment);
        }
    }

    pub(crate) fn revoke(&mut self, farm: &Farm, id: SessionId, attempt: &AttemptId, now: bool) {
        // What was assigned in this very batch must arrive before it is revoked.
        self.flush();
        if let Some(attempt) = convert::attempt_ref(farm, attempt, 0) {
            self.say(id, What::Revoke(v1::Revoke { attempt: Some(attempt), now }));
        }
    }

    /// Somebody wants to hear what the ranks of an attempt say, or nobody does any more.
    pub(crate) fn log_wish(&mut self, farm: &Farm, id: SessionId, attempt: &AttemptId, on: bool) {
        self.flush();
        let attempt = convert::attempt_ref(farm, attempt, 0);
        self.say(id, What::LogWish(v1::LogWish { attempt, on }));
    }

    /// A rank of a gang can be reached; once all can, all are told.
    pub(crate) fn rank_listens(
        &mut self,
        farm: &Farm,
        id: SessionId,
        attempt: &AttemptId,
        rank: u32,
        address: String,
    ) {
        let Some(told) = self.rendezvous.heard(farm, id, attempt, rank, address) else { return };
        for (session, rank) in told.ranks {
            let attempt = convert::attempt_ref(farm, attempt, rank);
            self.say(session, What::Join(v1::GangJoin { attempt, addresses: told.addresses.clone() }));
        }
    }

    /// Sends the assignments gathered so far.
    pub(crate) fn flush(&mut self) {
        for (id, assignments) in mem::take(&mut self.starts) {
            self.say(id, What::Assignments(v1::Assignments { assignments }));
        }
    }

    /// Ends every stream.
    pub(crate) fn close(&mut self) {
        for session in mem::take(&mut self.open).into_values() {
            session.closed.cancel();
        }
    }

    /// A worker that left in the meantime misses it: the mind hears of that next.
    fn say(&mut self, id: SessionId, what: What) {
        let Some(session) = self.open.get(&id) else { return };
        if session.out.try_send(Ok(CoordinatorMessage { what: Some(what) })).is_err() {
            tracing::warn!(session = id.0, queue = QUEUE, "worker does not read what it is told: hanging up");
            self.leave(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions() -> Sessions {
        Sessions::new(Greeting { lease_ms: 1, artifacts: String::new(), store_id: String::new() })
    }

    fn enter(
        sessions: &mut Sessions,
        queue: usize,
    ) -> (mpsc::Receiver<Result<CoordinatorMessage, Status>>, CancellationToken) {
        let (out, told) = mpsc::channel(queue);
        let closed = CancellationToken::new();
        let session = Session { out, closed: closed.clone(), strangers: Vec::new() };
        sessions.enter(SessionId(1), session);
        (told, closed)
    }

    #[test]
    fn a_worker_that_does_not_read_is_hung_up_and_nobody_waits() {
        let mut sessions = sessions();
        let (mut told, closed) = enter(&mut sessions, 2);
        for _ in 0..3 {
            sessions.welcome(SessionId(1));
        }
        assert!(closed.is_cancelled());
        assert!(told.try_recv().is_ok() && told.try_recv().is_ok());
        assert_eq!(told.try_recv().unwrap_err(), mpsc::error::TryRecvError::Disconnected);
    }

    #[test]
    fn a_refused_worker_hears_why_before_its_stream_ends() {
        let mut sessions = sessions();
        let (mut told, closed) = enter(&mut sessions, 2);
        sessions.refuse(SessionId(1), "another worker has this name".into());
        assert!(closed.is_cancelled());
        let Some(What::Refused(refused)) = told.try_recv().unwrap().unwrap().what else { panic!("refused") };
        assert_eq!(refused.reason, "another worker has this name");
        assert!(told.try_recv().is_err());
    }

    #[test]
    fn an_attempt_nobody_knows_is_revoked_after_the_welcome() {
        let mut sessions = sessions();
        let (mut told, _closed) = enter(&mut sessions, 4);
        let stranger = v1::AttemptRef { job: "gone".into(), fence: 7, ..v1::AttemptRef::default() };
        sessions.open.get_mut(&SessionId(1)).unwrap().strangers.push(stranger);
        sessions.welcome(SessionId(1));
        assert!(matches!(told.try_recv().unwrap().unwrap().what, Some(What::Welcome(_))));
        let Some(What::Revoke(revoke)) = told.try_recv().unwrap().unwrap().what else { panic!("revoke") };
        assert_eq!(revoke.attempt.unwrap().fence, 7);
        assert!(revoke.now);
    }
}
