//! What was refused, on its way into the farm's book: the same refusal over and over is one line that counts, and
//! nobody makes the farm write more than a few lines a second.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use croft_core::{audit::Entry, step::Event};

use crate::handle::Handle;

/// The same refusal is told once in this time; the next line says how often it was.
const SAME: Duration = Duration::from_secs(10);
/// Lines a second, at most.
const LINES: u32 = 20;
/// Refusals that are told apart at once.
const KINDS: usize = 1_000;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Book {
    handle: Handle,
    recent: Arc<Mutex<Recent>>,
}

#[derive(Debug)]
struct Recent {
    second: Instant,
    lines: u32,
    /// By who, from where, what and why: when it was told, and how often it came since.
    told: BTreeMap<[String; 4], (Instant, u32)>,
}

impl Recent {
    /// How many refusals a line stands for; `None` when it is not to be written now.
    fn times(&mut self, now: Instant, entry: &Entry) -> Option<u32> {
        let from = entry.from.rsplit_once(':').map_or("", |(host, _)| host);
        let kind = [&entry.who, from, &entry.method, &entry.reason].map(str::to_owned);
        if let Some((at, since)) = self.told.get_mut(&kind)
            && now.duration_since(*at) < SAME
        {
            *since = since.saturating_add(1);
            return None;
        }
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.lines) = (now, 0);
        }
        if self.lines >= LINES {
            return None;
        }
        self.lines += 1;
        if self.told.len() >= KINDS {
            self.told.clear();
        }
        let before = self.told.insert(kind, (now, 0));
        Some(before.map_or(1, |(_, since)| since.saturating_add(1)))
    }
}

impl Book {
    pub(crate) fn new(handle: Handle) -> Self {
        let recent = Recent { second: Instant::now(), lines: 0, told: BTreeMap::new() };
        Self { handle, recent: Arc::new(Mutex::new(recent)) }
    }

    /// Something was refused, or did not go through.
    pub(crate) async fn refused(&self, entry: Entry) {
        let times = {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            recent.times(Instant::now(), &entry)
        };
        let Some(times) = times else { return };
        let Entry { who, from, method, resource, result, reason, .. } = &entry;
        tracing::warn!(who, from, method, resource, result, times, "refused: {reason}");
        self.write(Entry { times, ..entry }).await;
    }

    /// Something was done that is no event of the farm.
    pub(crate) async fn done(&self, entry: Entry) {
        self.write(entry).await;
    }

    async fn write(&self, entry: Entry) {
        // A coordinator that has ended keeps no book.
        let _ = self.handle.tell_made(Box::new(move |_| Some(Event::Noted(Box::new(entry))))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(who: usize) -> Entry {
        Entry { who: who.to_string(), from: "10.0.0.7:40000".to_owned(), ..Entry::default() }
    }

    #[test]
    fn the_same_again_counts_and_a_flood_is_cut() {
        let began = Instant::now();
        let mut recent = Recent { second: began, lines: 0, told: BTreeMap::new() };
        assert_eq!(recent.times(began, &entry(0)), Some(1));
        for _ in 0..5 {
            assert_eq!(recent.times(began, &entry(0)), None);
        }
        assert_eq!(recent.times(began + SAME, &entry(0)), Some(6));
        let written = (1..1_000).filter(|who| recent.times(began + SAME, &entry(*who)).is_some()).count();
        assert_eq!(written, LINES as usize - 1);
        assert_eq!(recent.times(began + 2 * SAME, &entry(999)), Some(1), "it was never written");
    }
}
