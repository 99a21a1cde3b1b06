//! Endings that the coordinator may not have heard of yet. A stream gives no receipt, so the newest endings are said
//! again on the next one; the fence makes a repetition harmless.

use std::collections::VecDeque;

use croft_proto::v1::{AttemptRef, WorkerMessage};

/// Endings remembered. More cannot be in flight between two heartbeats of a stream that breaks.
const KEPT: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct Journal {
    endings: VecDeque<(AttemptRef, WorkerMessage)>,
}

impl Journal {
    /// Remembers how an attempt ended.
    pub(crate) fn ended(&mut self, attempt: AttemptRef, message: WorkerMessage) {
        if self.endings.len() == KEPT {
            self.endings.pop_front();
        }
        self.endings.push_back((attempt, message));
    }

    /// What a hello lists beside what still runs: else the coordinator would think it lost.
    pub(crate) fn attempts(&self) -> impl Iterator<Item = &AttemptRef> {
        self.endings.iter().map(|(attempt, _)| attempt)
    }

    /// What is said again after a hello.
    pub(crate) fn messages(&self) -> impl Iterator<Item = &WorkerMessage> {
        self.endings.iter().map(|(_, message)| message)
    }

    /// The coordinator answered: what was said before it spoke has been heard.
    pub(crate) fn heard(&mut self, fence: u64) {
        self.endings.retain(|(attempt, _)| attempt.fence != fence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_endings_are_kept_and_a_bound_holds() {
        let mut journal = Journal::default();
        for fence in 0..300 {
            journal.ended(AttemptRef { fence, ..AttemptRef::default() }, WorkerMessage::default());
        }
        assert_eq!(journal.messages().count(), KEPT);
        assert_eq!(journal.attempts().next().map(|a| a.fence), Some(44));
        journal.heard(44);
        assert_eq!(journal.attempts().next().map(|a| a.fence), Some(45));
    }
}
