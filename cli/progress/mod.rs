//! How a job's progress is shown: bars on a terminal, throttled lines elsewhere, JSON lines for programs.
//!
//! All of it goes to standard error but the JSON, so that a summary on standard output stays clean.

mod bars;
mod board;
mod lines;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use croft_proto::v1::{JobEvent, TaskCounts};

pub(crate) use self::board::{Board, Happening, label};
use crate::{
    args::Format,
    exit::Failed,
    json,
    output::{self, duration},
};

/// Where progress is shown; a handle, cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Screen(Arc<Mutex<Kind>>);

#[derive(Debug)]
enum Kind {
    Bars(bars::Bars),
    Lines(lines::Lines),
    Json,
}

impl Screen {
    /// Bars when a person looks at standard error, else lines; JSON events when asked for.
    pub(crate) fn new(format: Format) -> Self {
        use std::io::IsTerminal;
        let kind = match format {
            Format::Json => Kind::Json,
            Format::Table if std::io::stderr().is_terminal() => Kind::Bars(bars::Bars::new()),
            Format::Table => Kind::Lines(lines::Lines::new()),
        };
        Self(Arc::new(Mutex::new(kind)))
    }

    /// A line of its own, now.
    pub(crate) fn note(&self, text: &str) {
        let text = output::clean(text);
        match &mut *self.lock() {
            Kind::Bars(bars) => bars.note(&text),
            Kind::Lines(lines) => lines.note(&text),
            Kind::Json => {}
        }
    }

    /// An event as it came: what a program reads.
    pub(crate) fn event(&self, event: &JobEvent) -> Result<(), Failed> {
        match &*self.lock() {
            Kind::Json => output::json_line("JobEvent", json::event(event)),
            Kind::Bars(_) | Kind::Lines(_) => Ok(()),
        }
    }

    /// The board changed, or time passed.
    pub(crate) fn show(&self, board: &Board, happenings: &[Happening], now: Instant) {
        match &mut *self.lock() {
            Kind::Bars(bars) => bars.show(board, happenings, now),
            Kind::Lines(lines) => lines.show(board, happenings, now),
            Kind::Json => {}
        }
    }

    /// Takes the bars off the terminal, so that what follows stands alone.
    pub(crate) fn close(&self) {
        if let Kind::Bars(bars) = &mut *self.lock() {
            bars.close();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kind> {
        // A panic while drawing leaves nothing that a later drawing could not redo.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All tasks of a layer or job.
pub(crate) fn total(counts: &TaskCounts) -> u64 {
    counts.waiting
        + counts.queued
        + counts.running
        + counts.succeeded
        + counts.failed
        + counts.cancelled
        + counts.skipped
}

/// `run 9  wait 628  fail 2 (OOM_DEVICE 2 -> retried)`
fn counts_in_words(counts: &TaskCounts) -> String {
    let mut words = Vec::new();
    let mut say = |name: &str, n: u64| {
        if n > 0 {
            words.push(format!("{name} {n}"));
        }
    };
    say("run", counts.running);
    say("wait", counts.waiting + counts.queued);
    say("fail", counts.failed);
    say("cancelled", counts.cancelled);
    say("skipped", counts.skipped);
    let retried: Vec<_> = counts.retried.iter().map(|(cause, n)| format!("{cause} {n}")).collect();
    if !retried.is_empty() {
        words.push(format!("({} -> retried)", retried.join(", ")));
    }
    words.join("  ")
}

/// What is worth a line also where bars are drawn: trouble.
fn trouble(happening: &Happening) -> Option<String> {
    match happening {
        Happening::Finished { .. } | Happening::Settled(_) => None,
        Happening::Retried { task, attempt, cause, message } => {
            Some(format!("{task} attempt {attempt}: {cause}: {message} -> tried again"))
        }
        Happening::Failed { task, cause, message, remedy } => {
            let remedy = if remedy.is_empty() { String::new() } else { format!("; {remedy}") };
            Some(format!("{task} failed: {cause}: {message}{remedy}"))
        }
    }
}

/// `eta 31m00s`, when the coordinator knows one.
fn eta(board: &Board) -> Option<String> {
    let ms = board.job()?.eta_ms;
    (ms > 0 && board.settled().is_none()).then(|| format!("eta {}", duration(ms)))
}
