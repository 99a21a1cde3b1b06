//! Ranks that are threads of one process: for tests, and for devices that one process drives.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel},
    },
    time::{Duration, Instant},
};

use super::{Broken, Fault};

/// An abort is noticed within this.
const LOOK: Duration = Duration::from_millis(20);

/// Messages that wait for a rank, which is never more than a step behind another.
const WAITING: usize = 4;

/// A rank's ends of the channels to all others.
#[derive(Debug)]
pub(super) struct Seat {
    to: Vec<SyncSender<Vec<u8>>>,
    from: Vec<Receiver<Vec<u8>>>,
    ended: Arc<AtomicBool>,
}

#[derive(Clone, Debug)]
pub(super) struct End(Arc<AtomicBool>);

impl End {
    pub(super) fn end(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(super) fn seats(ranks: usize) -> Vec<Seat> {
    let ended = Arc::new(AtomicBool::new(false));
    let seat = |_| Seat { to: Vec::new(), from: Vec::new(), ended: Arc::clone(&ended) };
    let mut seats: Vec<Seat> = (0..ranks).map(seat).collect();
    for from in 0..ranks {
        for to in 0..ranks {
            let (sender, receiver) = sync_channel(WAITING);
            seats[from].to.push(sender);
            seats[to].from.push(receiver);
        }
    }
    seats
}

impl Seat {
    pub(super) fn end(&self) -> End {
        End(Arc::clone(&self.ended))
    }

    pub(super) fn pass(&mut self, to: usize, part: Vec<u8>) -> Result<(), Broken> {
        self.to[to].send(part).map_err(|_| Broken::lost(to, "its thread ended"))
    }

    /// What is there already.
    pub(super) fn try_take(&mut self, rank: usize) -> Option<Result<Vec<u8>, Broken>> {
        match self.from[rank].try_recv() {
            Ok(part) => Some(Ok(part)),
            Err(TryRecvError::Disconnected) => Some(Err(Broken::lost(rank, "its thread ended"))),
            Err(TryRecvError::Empty) => None,
        }
    }

    pub(super) fn take(&mut self, rank: usize, wait: Duration) -> Result<Vec<u8>, Broken> {
        let until = Instant::now() + wait;
        loop {
            if self.ended.load(Ordering::Relaxed) {
                return Err(Broken { rank, fault: Fault::Aborted });
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.from[rank].recv_timeout(left.min(LOOK)) {
                Ok(part) => return Ok(part),
                Err(RecvTimeoutError::Disconnected) => return Err(Broken::lost(rank, "its thread ended")),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                    return Err(Broken { rank, fault: Fault::Late(wait) });
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}
