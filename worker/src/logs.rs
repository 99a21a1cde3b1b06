//! What ranks say, kept by attempt: its last part, for those who follow it and for whoever asks why it failed.
//!
//! Nobody is sent anything unless the coordinator wished for it. What cannot be sent stays until it can, or until newer
//! lines take its place: the offset of the next piece tells that some is missing. No rank ever waits for a reader.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use croft_proto::v1::{AttemptRef, RankLog};
use tokio::sync::Notify;

/// Of one rank's part in one attempt: what is kept while it runs, and what goes with its failure.
const KEPT_BYTES: usize = 64 << 10;
/// Of one piece that is sent.
const PIECE_BYTES: usize = 16 << 10;

#[derive(Debug)]
pub(crate) struct Logs {
    folder: PathBuf,
    inner: Mutex<Inner>,
    /// Somebody listens, and there is something new.
    stirred: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// By fence and rank.
    books: BTreeMap<(u64, u32), Book>,
    /// Whose lines a device's rank says now. A line of several shots in flight is of all of them.
    writes: BTreeMap<u32, Vec<(u64, u32)>>,
}

#[derive(Debug)]
struct Book {
    attempt: AttemptRef,
    text: Vec<u8>,
    /// Bytes that were said before `text`.
    gone: u64,
    /// Up to where it was sent; `None` while nobody listens.
    sent: Option<u64>,
    /// Whether it was said that nothing more was there.
    caught_up: bool,
}

impl Logs {
    /// Files of ranks lie in `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), inner: Mutex::default(), stirred: Notify::new() }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What `device`'s rank says from now on belongs to `attempt`.
    pub(crate) fn begin(&self, device: u32, attempt: &AttemptRef) {
        self.with(|inner| {
            let key = (attempt.fence, attempt.rank);
            inner.writes.entry(device).or_default().push(key);
            inner.books.insert(
                key,
                Book { attempt: attempt.clone(), text: Vec::new(), gone: 0, sent: None, caught_up: false },
            );
        });
    }

    /// `attempt` on `device` is over; gives the last that was said for it. It can still be read until [`Logs::close`].
    pub(crate) fn end(&self, device: u32, attempt: &AttemptRef) -> Bytes {
        self.with(|inner| {
            let ended = (attempt.fence, attempt.rank);
            if let Some(writes) = inner.writes.get_mut(&device) {
                writes.retain(|key| *key != ended);
            }
            let book = inner.books.get(&ended);
            book.map_or_else(Bytes::new, |book| Bytes::copy_from_slice(&book.text))
        })
    }

    /// A rank said something.
    pub(crate) fn line(&self, device: u32, line: &str) {
        let is_heard = self.with(|inner| {
            let Inner { books, writes } = inner;
            let mut is_heard = false;
            for key in writes.get(&device).into_iter().flatten() {
                if let Some(book) = books.get_mut(key) {
                    book.line(line);
                    is_heard |= book.sent.is_some();
                }
            }
            is_heard
        });
        if is_heard {
            self.stirred.notify_one();
        }
    }

    /// Somebody listens to all ranks of an attempt that are here, from the first byte that is kept; or nobody any more.
    pub(crate) fn wish(&self, fence: u64, on: bool) {
        self.with(|inner| {
            for (_, book) in inner.books.range_mut((fence, 0)..=(fence, u32::MAX)) {
                book.sent = on.then_some(0);
                book.caught_up = false;
            }
        });
        self.stirred.notify_one();
    }

    /// The stream is another one: whoever listens will say so again.
    pub(crate) fn nobody_listens(&self) {
        self.with(|inner| inner.books.values_mut().for_each(|book| book.sent = None));
    }

    /// Returns when there is something new for somebody.
    pub(crate) async fn stirred(&self) {
        self.stirred.notified().await;
    }

    /// The next piece for somebody; `take` says whether it was taken, and is asked again with the next one while it does.
    pub(crate) fn pieces(&self, mut take: impl FnMut(RankLog) -> bool) {
        self.with(|inner| {
            for book in inner.books.values_mut() {
                while let Some((piece, end)) = book.piece() {
                    let caught_up = piece.caught_up;
                    if !take(piece) {
                        return;
                    }
                    book.sent = Some(end);
                    book.caught_up |= caught_up;
                }
            }
        });
    }

    /// The end of an attempt's rank was told.
    pub(crate) fn close(&self, attempt: &AttemptRef) {
        self.with(|inner| inner.books.remove(&(attempt.fence, attempt.rank)));
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Book {
    fn line(&mut self, line: &str) {
        self.text.extend_from_slice(line.as_bytes());
        self.text.push(b'\n');
        if self.text.len() > KEPT_BYTES {
            // Whole lines go, half of what is kept at once: moving the rest for each line would cost more than saying it.
            let half = self.text.len() - KEPT_BYTES / 2;
            let cut =
                self.text[half..].iter().position(|byte| *byte == b'\n').map_or(half, |at| half + at + 1);
            self.text.drain(..cut);
            self.gone += cut as u64;
        }
    }

    fn piece(&self) -> Option<(RankLog, u64)> {
        let from = self.sent?.max(self.gone);
        let all = &self.text[usize::try_from(from - self.gone).ok()?..];
        let cut = if all.len() <= PIECE_BYTES {
            all.len()
        } else {
            all[..PIECE_BYTES].iter().rposition(|byte| *byte == b'\n').map_or(PIECE_BYTES, |at| at + 1)
        };
        let caught_up = cut == all.len();
        if cut == 0 && self.caught_up {
            return None;
        }
        let data = Bytes::copy_from_slice(&all[..cut]);
        let piece = RankLog { attempt: Some(self.attempt.clone()), offset: from, data, caught_up };
        Some((piece, from + cut as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(fence: u64) -> AttemptRef {
        AttemptRef { fence, ..AttemptRef::default() }
    }

    fn all(logs: &Logs) -> Vec<RankLog> {
        let mut pieces = Vec::new();
        logs.pieces(|piece| {
            pieces.push(piece);
            true
        });
        pieces
    }

    #[test]
    fn nobody_is_sent_anything_until_somebody_listens_and_then_all_that_is_kept() {
        let logs = Logs::new(Path::new("logs"));
        logs.begin(0, &attempt(7));
        logs.line(0, "one");
        assert!(all(&logs).is_empty());
        logs.wish(7, true);
        let first = all(&logs);
        assert_eq!((first.len(), first[0].offset, &first[0].data[..]), (1, 0, &b"one\n"[..]));
        assert!(first[0].caught_up && all(&logs).is_empty());
        logs.line(0, "two");
        assert_eq!(all(&logs)[0].offset, 4);
        logs.wish(7, true);
        assert_eq!(&all(&logs)[0].data[..], b"one\ntwo\n", "another listener hears it from the beginning");
        logs.wish(7, false);
        logs.line(0, "three");
        assert!(all(&logs).is_empty());
        assert_eq!(&logs.end(0, &attempt(7))[..], b"one\ntwo\nthree\n");
        logs.close(&attempt(7));
    }

    #[test]
    fn what_is_not_taken_stays_until_newer_lines_need_its_room_and_the_gap_shows() {
        let logs = Logs::new(Path::new("logs"));
        logs.begin(0, &attempt(7));
        logs.wish(7, true);
        all(&logs);
        let line = "x".repeat(99);
        let lines = 3 * KEPT_BYTES / 100;
        (0..lines).for_each(|_| logs.line(0, &line));
        logs.pieces(|_| false);
        let kept = all(&logs);
        let bytes: usize = kept.iter().map(|piece| piece.data.len()).sum();
        assert!(kept[0].offset > 0 && kept[0].offset as usize + bytes == lines * 100, "{bytes}");
        assert!(bytes <= KEPT_BYTES && kept.iter().all(|piece| piece.data.len() <= PIECE_BYTES));
        assert!(kept.iter().all(|piece| piece.data.ends_with(b"\n")), "whole lines");
        assert_eq!(kept.iter().filter(|piece| piece.caught_up).count(), 1);
    }

    #[test]
    fn lines_of_a_warm_rank_belong_to_the_attempt_that_it_works_on() {
        let logs = Logs::new(Path::new("logs"));
        logs.begin(0, &attempt(7));
        logs.line(0, "of seven");
        assert_eq!(&logs.end(0, &attempt(7))[..], b"of seven\n");
        logs.line(0, "of nobody");
        logs.begin(0, &attempt(8));
        logs.line(0, "of eight");
        assert_eq!(&logs.end(0, &attempt(8))[..], b"of eight\n");
    }
}
