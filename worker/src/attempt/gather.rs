//! A rank of a gang that waits for the others: its address is said until all of theirs are known.

use std::time::Duration;

use croft_proto::v1::{AttemptRef, GangJoin, WorkerMessage};
use tokio::{
    sync::watch,
    time::{Interval, MissedTickBehavior, interval},
};

use crate::convert;

/// Said again, since the coordinator may have changed and forgotten it.
const AGAIN: Duration = Duration::from_secs(1);

/// What is to be done next.
pub(super) enum Word {
    /// Tell the coordinator.
    Say(WorkerMessage),
    /// Tell the rank where the others are.
    Join(Vec<String>),
}

pub(super) struct Gather<'a> {
    attempt: &'a AttemptRef,
    joins: watch::Receiver<Option<GangJoin>>,
    /// Its address, and when it is said next; while it waits.
    waiting: Option<(String, Interval)>,
}

impl<'a> Gather<'a> {
    pub(super) fn new(attempt: &'a AttemptRef, joins: watch::Receiver<Option<GangJoin>>) -> Self {
        Self { attempt, joins, waiting: None }
    }

    /// The rank can be reached.
    pub(super) fn listens(&mut self, address: String) {
        let mut again = interval(AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.waiting = Some((address, again));
    }

    /// Never returns for a rank that waits for nobody. Dropped half-way it loses nothing.
    pub(super) async fn next(&mut self) -> Word {
        let Some((address, again)) = &mut self.waiting else { return std::future::pending().await };
        let attempt = self.attempt;
        let is_ours = |join: &Option<GangJoin>| {
            join.as_ref()
                .and_then(|join| join.attempt.as_ref())
                .is_some_and(|told| (told.fence, told.rank) == (attempt.fence, attempt.rank))
        };
        let joined = tokio::select! {
            _ = again.tick() => return Word::Say(convert::address(attempt, address)),
            Ok(join) = self.joins.wait_for(is_ours) => join.as_ref().map(|join| join.addresses.clone()),
        };
        self.waiting = None;
        Word::Join(joined.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use croft_proto::v1::worker_message::What;
    use futures::FutureExt;

    use super::*;

    fn rank(fence: u64, rank: u32) -> AttemptRef {
        AttemptRef { fence, rank, ..AttemptRef::default() }
    }

    fn join(attempt: AttemptRef) -> Option<GangJoin> {
        Some(GangJoin { attempt: Some(attempt), addresses: vec!["a".to_owned(), "b".to_owned()] })
    }

    #[tokio::test]
    async fn an_address_is_said_until_its_own_gang_is_complete() {
        let (told, joins) = watch::channel(None);
        let attempt = rank(7, 1);
        let mut gather = Gather::new(&attempt, joins);
        assert!(gather.next().now_or_never().is_none(), "it waits for nobody yet");
        gather.listens("here:1".to_owned());
        for other in [rank(6, 1), rank(7, 0)] {
            let Word::Say(message) = gather.next().await else { panic!("nobody answered") };
            let Some(What::Address(at)) = message.what else { panic!("its address") };
            assert_eq!((at.address.as_str(), at.attempt), ("here:1", Some(rank(7, 1))));
            // Another's gang is not its own.
            told.send_replace(join(other));
        }
        told.send_replace(join(rank(7, 1)));
        let Word::Join(addresses) = gather.next().await else { panic!("it was answered") };
        assert_eq!(addresses, ["a", "b"]);
        assert!(gather.next().now_or_never().is_none(), "it waits for nobody any more");
    }
}
