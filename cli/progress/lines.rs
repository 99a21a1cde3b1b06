//! Progress where nobody draws: log files, pipes, CI. Never silent for long, never a flood.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use super::{Board, Happening, counts_in_words, eta, total, trouble};
use crate::output::{clean, duration};

/// Finished tasks share a line within this.
const PAUSE: Duration = Duration::from_secs(1);

/// Something is said at least this often.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Lines of progress on standard error.
#[derive(Debug)]
pub(super) struct Lines {
    started: Instant,
    told: Option<Instant>,
    /// The label of the last finished task that no line has named yet.
    finished: Option<String>,
}

impl Lines {
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), told: None, finished: None }
    }

    pub(super) fn note(&mut self, text: &str) {
        // A closed standard error is nobody's problem.
        let _ = writeln!(std::io::stderr().lock(), "{}", clean(text));
    }

    pub(super) fn show(&mut self, board: &Board, happenings: &[Happening], now: Instant) {
        for happening in happenings {
            if let Happening::Finished { task, label } = happening {
                self.finished = Some(if label.is_empty() { task.clone() } else { label.clone() });
            }
            if let Some(text) = trouble(happening) {
                self.note(&text);
            }
        }
        let since = self.told.map_or(Duration::MAX, |told| now.saturating_duration_since(told));
        let has_settled = happenings.iter().any(|h| matches!(h, Happening::Settled(_)));
        let is_due = has_settled || since >= SILENCE_MAX || (self.finished.is_some() && since >= PAUSE);
        if is_due && let Some(line) = self.line(board, now) {
            self.note(&line);
            self.told = Some(now);
        }
    }

    fn line(&mut self, board: &Board, now: Instant) -> Option<String> {
        let counts = board.job()?.counts.as_ref()?;
        let done = counts.succeeded + counts.failed + counts.cancelled + counts.skipped;
        let mut parts = vec![
            format!("{:>7}", duration(elapsed_ms(self.started, now))),
            format!("{done}/{} done", total(counts)),
            counts_in_words(counts),
        ];
        match self.finished.take() {
            Some(label) => parts.push(format!("finished {label}")),
            None => parts.extend(board.running().next().map(|r| {
                let stage = crate::json::stage(r.stage).to_lowercase();
                let steps = if r.steps > 0 { format!(" {}/{}", r.step, r.steps) } else { String::new() };
                format!("{} {} {stage}{steps}", r.place, r.label)
            })),
        }
        parts.extend(eta(board));
        parts.retain(|p| !p.is_empty());
        Some(parts.join("  "))
    }
}

fn elapsed_ms(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_millis()).unwrap_or(u64::MAX)
}
