//! Who computes: of several renders that share a device one at a time, and whoever asked first goes first.
//!
//! A render that waits for another rank waits aside, so that the device works on another one meanwhile.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// One device's line of renders. Clones stand for the same device.
#[derive(Clone, Debug, Default)]
pub struct Turns(Arc<Line>);

#[derive(Debug, Default)]
struct Line {
    numbers: Mutex<Numbers>,
    called: Condvar,
}

#[derive(Debug, Default)]
struct Numbers {
    /// What the next to ask draws.
    next: u64,
    /// Whose turn it is.
    now: u64,
}

/// A render's place: it has the turn or stands aside. The turn goes on when this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    line: Arc<Line>,
    has_it: bool,
}

impl Turn {
    /// A place aside.
    pub(super) fn of(turns: &Turns) -> Self {
        Self { line: Arc::clone(&turns.0), has_it: false }
    }

    /// Asks for the turn and waits for it; `waits` is called each time that `often` has passed meanwhile.
    pub(super) fn take(&mut self, often: Duration, mut waits: impl FnMut()) {
        if self.has_it {
            return;
        }
        let mut numbers = self.numbers();
        let mine = numbers.next;
        numbers.next += 1;
        while numbers.now != mine {
            let woken = self.line.called.wait_timeout(numbers, often);
            let (held, timed) = woken.unwrap_or_else(PoisonError::into_inner);
            numbers = held;
            if timed.timed_out() && numbers.now != mine {
                // What is done meanwhile may take a moment, and nobody else should wait for that.
                drop(numbers);
                waits();
                numbers = self.numbers();
            }
        }
        drop(numbers);
        self.has_it = true;
    }

    /// Lets the next one work.
    pub(super) fn leave(&mut self) {
        if std::mem::take(&mut self.has_it) {
            self.numbers().now += 1;
            self.line.called.notify_all();
        }
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.line.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    #[test]
    fn whoever_asked_first_goes_first_and_one_at_a_time() {
        const SOON: Duration = Duration::from_millis(1);
        let turns = Turns::default();
        let mut first = Turn::of(&turns);
        first.take(SOON, || unreachable!("nobody is before it"));
        let (say, told) = mpsc::sync_channel(8);
        let (asks, asked) = mpsc::sync_channel(8);
        let others: Vec<_> = (0..3)
            .map(|number| {
                let (mut turn, say, asks) = (Turn::of(&turns), say.clone(), asks.clone());
                let other = thread::spawn(move || {
                    turn.take(SOON, || {
                        // Once is enough.
                        let _ = asks.try_send(number);
                    });
                    say.send(number).unwrap();
                });
                // It stands in line before the next one comes.
                while asked.recv().unwrap() != number {}
                other
            })
            .collect();
        assert!(told.try_recv().is_err(), "the first has it still");
        first.leave();
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(told.try_iter().collect::<Vec<i32>>(), [0, 1, 2]);
    }
}
