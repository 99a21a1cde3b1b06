//! Who is let in, and the book of who did what.

use crate::{
    audit::{Entry, Filter, Numbered},
    ids::{AttemptId, WorkerId},
    invitation::{Invitation, OPEN_MAX, REMEMBERED_MS, Refused},
    step::Event,
    time::Time,
};

use super::Farm;

impl Farm {
    pub(super) fn invited(&mut self, now: Time, hash: String, name: String, expires: Time) {
        let old = |invitation: &Invitation| now.since(invitation.expires) > REMEMBERED_MS;
        let forgotten: Vec<String> =
            self.invitations.iter().filter(|(_, it)| old(it)).map(|(hash, _)| hash.clone()).collect();
        for hash in forgotten {
            self.invitations.remove(&hash);
            self.out.invitations.insert(hash);
        }
        if self.invitations.len() >= OPEN_MAX {
            return;
        }
        self.out.invitations.insert(hash.clone());
        self.invitations.insert(hash, Invitation { name, expires, spent: None });
    }

    /// The first request that comes in time has it.
    pub(super) fn invitation_shown(&mut self, now: Time, hash: &str, request: String) {
        let open = self.invitations.get_mut(hash).filter(|it| it.spent.is_none() && now < it.expires);
        if let Some(invitation) = open {
            invitation.spent = Some(request);
            self.out.invitations.insert(hash.to_owned());
        }
    }

    /// The name that `request` may have, after [`crate::step::Event::InvitationShown`].
    ///
    /// # Errors
    /// Why it may have none.
    pub fn admitted(&self, now: Time, hash: &str, request: &str) -> Result<&str, Refused> {
        self.invitations.get(hash).ok_or(Refused::Unknown)?.admits(now, request)
    }

    /// Whether there is an invitation of this hash.
    #[must_use]
    pub fn is_invited(&self, hash: &str) -> bool {
        self.invitations.contains_key(hash)
    }

    /// The worker of `attempt`, when that is known and is not `worker`.
    #[must_use]
    pub fn anothers(&self, attempt: &AttemptId, worker: &WorkerId) -> Option<WorkerId> {
        let layer = self.jobs.get(&attempt.task.job)?.layers.get(attempt.task.layer as usize)?;
        let task = layer.tasks.get(&attempt.task.task)?;
        if let Some(live) = task.live.as_ref().filter(|live| live.fence == attempt.fence) {
            let is_there = live.seats.iter().any(|seat| seat.device.worker == *worker);
            return (!is_there).then(|| live.device().worker.clone());
        }
        // Of a gang that has ended only the first rank is remembered.
        let ended = task.ended.iter().find(|ended| ended.number == attempt.number && ended.ranks == 1)?;
        (ended.device.worker != *worker).then(|| ended.device.worker.clone())
    }

    /// Whether an event reports on an attempt that is live on other workers only. The mind takes no such report; the
    /// shell ends the stream that it came over.
    #[must_use]
    pub fn is_anothers(&self, event: &Event) -> bool {
        let (session, attempt) = match event {
            Event::AttemptProgressed { session, attempt, .. }
            | Event::AttemptSaved { session, attempt, .. }
            | Event::AttemptFailed { session, attempt, .. } => (session, attempt),
            _ => return false,
        };
        let worker = self.sessions.get(session);
        worker.is_some_and(|worker| self.current(attempt) && self.anothers(attempt, worker).is_some())
    }

    pub(super) fn noted(&mut self, now: Time, entry: Entry) {
        self.audit.enter(now, entry);
    }

    /// The newest entries of the book before `before` that match, and whether there are more.
    #[must_use]
    pub fn audit(&self, filter: &Filter, before: Option<u64>, size: usize) -> (Vec<Numbered>, bool) {
        self.audit.page(filter, before, size)
    }
}
