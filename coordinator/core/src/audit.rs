//! What was done and what was refused, in order, as far back as there is room.
//!
//! It lies with the state, so that whoever leads has all of it. What people did, what machines did and what was refused
//! are kept apart: neither a stranger who knocks all night nor a worker that comes and goes may push out who cancelled
//! the job.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// Entries of one record in the store.
pub(crate) const CHUNK: u64 = 64;
/// What is kept of each kind: a few megabytes, read at each change of leader.
const DEEDS_KEPT: usize = 20_000;
const OTHERS_KEPT: usize = 5_000;
/// Nothing is kept longer than 400 days.
const KEPT_MS: u64 = 400 * 24 * 60 * 60 * 1_000;

/// One call.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Entry {
    /// When it is entered, unless that is given.
    pub at: Time,
    /// `user/kim`, `worker/ws-1`, `local`, or what a certificate that did not count claimed.
    pub who: String,
    pub role: String,
    /// Of the certificate.
    pub serial: String,
    /// The address that the call came from.
    pub from: String,
    /// `Jobs/CancelJob`.
    pub method: String,
    /// What it was about, as far as that was known.
    pub resource: String,
    pub request_id: String,
    /// The name of the status, `OK` for what was done.
    pub result: String,
    /// Why it was refused.
    pub reason: String,
    /// How often it was refused like this in a row.
    pub times: u32,
}

/// An entry with its place in the order of all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered {
    pub number: u64,
    #[serde(flatten)]
    pub entry: Entry,
}

/// Which entries; everything given must match.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub since: Time,
    /// A part of the name.
    pub who: String,
    /// The method, with its service or without.
    pub method: String,
    pub refused_only: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Deed,
    /// Of a worker.
    Machine,
    Refusal,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Deed, Self::Machine, Self::Refusal];

    fn of(entry: &Entry) -> Self {
        if entry.result != "OK" {
            Self::Refusal
        } else if entry.who.starts_with("worker/") {
            Self::Machine
        } else {
            Self::Deed
        }
    }
}

/// Everything that is remembered.
#[derive(Debug)]
pub(crate) struct Log {
    rings: BTreeMap<Kind, Ring>,
    next: u64,
}

/// Entries of one kind. They go in whole chunks, the oldest first.
#[derive(Debug, Default)]
struct Ring {
    kept: usize,
    /// The position of the first one, a multiple of [`CHUNK`].
    first: u64,
    entries: VecDeque<Numbered>,
    changed: BTreeSet<u64>,
    gone: BTreeSet<u64>,
}

/// A chunk to write; without entries it is to be removed.
pub(crate) struct Changed<'a> {
    pub(crate) kind: Kind,
    pub(crate) chunk: u64,
    pub(crate) entries: Option<Vec<&'a Numbered>>,
}

impl Filter {
    fn takes(&self, entry: &Entry) -> bool {
        let method = entry.method.to_ascii_lowercase();
        let wanted = self.method.to_ascii_lowercase();
        let is_method = wanted.is_empty()
            || method == wanted
            || method.rsplit_once('/').is_some_and(|(_, bare)| bare == wanted);
        is_method
            && entry.at >= self.since
            && entry.who.contains(&self.who)
            && (!self.refused_only || entry.result != "OK")
    }
}

impl Log {
    pub(crate) fn new() -> Self {
        let kept = |kind| if kind == Kind::Deed { DEEDS_KEPT } else { OTHERS_KEPT };
        let rings = Kind::ALL.map(|kind| (kind, Ring { kept: kept(kind), ..Ring::default() }));
        Self { rings: rings.into(), next: 1 }
    }

    /// Takes up what was stored of one chunk; chunks come in their order.
    pub(crate) fn recover(&mut self, kind: Kind, chunk: u64, entries: Vec<Numbered>) {
        let ring = self.ring(kind);
        if ring.entries.is_empty() {
            ring.first = chunk * CHUNK;
        }
        ring.entries.extend(entries);
        let last = ring.entries.back().map_or(0, |last| last.number);
        self.next = self.next.max(last + 1);
    }

    pub(crate) fn enter(&mut self, now: Time, entry: Entry) {
        let number = self.next;
        self.next += 1;
        let kind = Kind::of(&entry);
        let at = if entry.at == Time::default() { now } else { entry.at };
        self.ring(kind).push(now, Numbered { number, entry: Entry { at, ..entry } });
    }

    /// The newest entries before `before` that match, and whether there are more.
    pub(crate) fn page(&self, filter: &Filter, before: Option<u64>, size: usize) -> (Vec<Numbered>, bool) {
        let before = before.unwrap_or(u64::MAX);
        let mut rings: Vec<_> =
            self.rings.values().map(|ring| ring.entries.iter().rev().peekable()).collect();
        let newest_first = std::iter::from_fn(|| {
            let next = rings.iter_mut().map(|ring| ring.peek().map_or(0, |it| it.number)).enumerate();
            let (at, _) = next.max_by_key(|(_, number)| *number)?;
            rings[at].next()
        });
        let mut found = newest_first.filter(|it| it.number < before && filter.takes(&it.entry));
        let page: Vec<Numbered> = found.by_ref().take(size).cloned().collect();
        (page, found.next().is_some())
    }

    /// What the store must be told.
    pub(crate) fn take_changed(&mut self) -> Vec<Changed<'_>> {
        let mut all = Vec::new();
        for (&kind, ring) in &mut self.rings {
            let gone = std::mem::take(&mut ring.gone);
            let changed = std::mem::take(&mut ring.changed);
            all.extend(gone.into_iter().map(|chunk| Changed { kind, chunk, entries: None }));
            let ring = &*ring;
            let kept = changed.into_iter().filter(|chunk| chunk * CHUNK >= ring.first);
            all.extend(kept.map(|chunk| Changed { kind, chunk, entries: Some(ring.chunk(chunk)) }));
        }
        all
    }

    fn ring(&mut self, kind: Kind) -> &mut Ring {
        self.rings.get_mut(&kind).expect("there is one of each kind")
    }
}

impl Ring {
    fn push(&mut self, now: Time, entry: Numbered) {
        self.changed.insert((self.first + self.entries.len() as u64) / CHUNK);
        self.entries.push_back(entry);
        let chunk = CHUNK as usize;
        let is_old = |it: &Numbered| now.since(it.entry.at) > KEPT_MS;
        while self.entries.len() > chunk
            && (self.entries.len() > self.kept || is_old(&self.entries[chunk - 1]))
        {
            self.gone.insert(self.first / CHUNK);
            self.entries.drain(..chunk);
            self.first += CHUNK;
        }
    }

    fn chunk(&self, chunk: u64) -> Vec<&Numbered> {
        let from = usize::try_from(chunk * CHUNK - self.first).expect("it is kept");
        self.entries.iter().skip(from).take(CHUNK as usize).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn entry(who: &str, result: &str) -> Entry {
        let (who, result) = (who.to_owned(), result.to_owned());
        Entry { who, result, method: "Jobs/CancelJob".to_owned(), ..Entry::default() }
    }

    /// A store, as chunks.
    type Stored = BTreeMap<(Kind, u64), Vec<Numbered>>;

    fn store(log: &mut Log, stored: &mut Stored) {
        for Changed { kind, chunk, entries } in log.take_changed() {
            match entries {
                Some(entries) => drop(stored.insert((kind, chunk), entries.into_iter().cloned().collect())),
                None => drop(stored.remove(&(kind, chunk))),
            }
        }
    }

    fn numbers(log: &Log, filter: &Filter) -> Vec<u64> {
        log.page(filter, None, usize::MAX).0.iter().map(|it| it.number).collect()
    }

    #[test]
    fn pages_are_newest_first_and_go_on_where_they_ended() {
        let mut log = Log::new();
        for at in 0..10 {
            log.enter(Time(at), entry("user/kim", if at % 3 == 0 { "PERMISSION_DENIED" } else { "OK" }));
        }
        let (first, more) = log.page(&Filter::default(), None, 4);
        assert_eq!(first.iter().map(|it| it.number).collect::<Vec<_>>(), [10, 9, 8, 7]);
        assert!(more);
        let (rest, more) = log.page(&Filter::default(), Some(7), 100);
        assert_eq!((rest.len(), more), (6, false));
    }

    #[test]
    fn a_filter_asks_for_all_that_it_says() {
        let mut log = Log::new();
        log.enter(Time(1), entry("user/kim", "OK"));
        log.enter(Time(2), entry("user/sam", "PERMISSION_DENIED"));
        log.enter(Time(3), entry("user/kim", "NOT_FOUND"));
        let filter = |change: fn(&mut Filter)| {
            let mut filter = Filter::default();
            change(&mut filter);
            filter
        };
        assert_eq!(numbers(&log, &filter(|f| f.refused_only = true)), [3, 2]);
        assert_eq!(numbers(&log, &filter(|f| f.who = "kim".to_owned())), [3, 1]);
        assert_eq!(numbers(&log, &filter(|f| f.since = Time(2))), [3, 2]);
        assert_eq!(numbers(&log, &filter(|f| f.method = "canceljob".to_owned())).len(), 3);
        assert_eq!(numbers(&log, &filter(|f| f.method = "jobs/canceljob".to_owned())).len(), 3);
        assert_eq!(numbers(&log, &filter(|f| f.method = "job".to_owned())).len(), 0);
    }

    #[test]
    fn knocking_all_night_pushes_out_no_deed() {
        let mut log = Log::new();
        log.enter(Time(1), entry("user/kim", "OK"));
        for at in 0..OTHERS_KEPT as u64 * 3 {
            log.enter(Time(at), entry("?", "UNAUTHENTICATED"));
            log.enter(Time(at), entry("worker/ws-1", "OK"));
        }
        assert_eq!(numbers(&log, &Filter { who: "kim".to_owned(), ..Filter::default() }), [1]);
        assert!(log.rings.values().all(|ring| ring.entries.len() <= OTHERS_KEPT));
    }

    #[test]
    fn what_is_old_goes_and_what_is_stored_is_what_is_remembered() {
        let mut log = Log::new();
        let mut stored = Stored::new();
        for at in 0..1_000_u64 {
            let result = if at % 2 == 0 { "OK" } else { "NOT_FOUND" };
            log.enter(Time(at * KEPT_MS / 500), entry("user/kim", result));
            if at % 7 == 0 {
                store(&mut log, &mut stored);
            }
        }
        store(&mut log, &mut stored);
        let mut again = Log::new();
        for ((kind, chunk), entries) in &stored {
            again.recover(*kind, *chunk, entries.clone());
        }
        let all = Filter::default();
        assert_eq!(numbers(&again, &all), numbers(&log, &all));
        assert!(numbers(&log, &all).len() < 700, "half of them are older than is kept");
        for log in [&mut log, &mut again] {
            log.enter(Time(1_000 * KEPT_MS / 500), entry("user/sam", "OK"));
            assert_eq!(log.page(&all, None, 1).0[0].number, 1_001);
        }
        let mut stored_again = stored.clone();
        store(&mut log, &mut stored);
        store(&mut again, &mut stored_again);
        assert_eq!(stored, stored_again, "both write the same");
    }
}
