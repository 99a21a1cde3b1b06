//! Progress on a terminal: the job's line, one bar per layer, one line per running attempt.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use croft_proto::v1::Job;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Board, Happening, counts_in_words, eta, total, trouble};
use crate::{
    json,
    output::{clean, duration},
};

/// Lines for running attempts; a farm may run thousands.
const RUNNING_MAX: usize = 12;

/// Drawings a second at most.
const HERTZ: u8 = 8;

/// The drawing, from top to bottom: head, layers, running attempts.
#[derive(Debug)]
pub(super) struct Bars {
    all: MultiProgress,
    head: ProgressBar,
    layers: BTreeMap<String, ProgressBar>,
    running: Vec<ProgressBar>,
}

impl Bars {
    pub(super) fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(HERTZ));
        let head = all.add(plain());
        Self { all, head, layers: BTreeMap::new(), running: Vec::new() }
    }

    pub(super) fn note(&mut self, text: &str) {
        // Drawing to a terminal that went away fails; the job goes on.
        let _ = self.all.println(text);
    }

    pub(super) fn show(&mut self, board: &Board, happenings: &[Happening], now: Instant) {
        for text in happenings.iter().filter_map(trouble) {
            self.note(&clean(&text));
        }
        let Some(job) = board.job() else { return };
        self.head.set_message(head(job, board));
        self.show_layers(job);
        self.show_running(board, now);
    }

    pub(super) fn close(&mut self) {
        for bar in &self.running {
            bar.finish_and_clear();
        }
        for bar in self.layers.values() {
            bar.abandon();
        }
        self.head.abandon();
    }

    fn show_layers(&mut self, job: &Job) {
        let width = job.layers.iter().map(|l| l.name.len()).max().unwrap_or(0);
        for layer in &job.layers {
            let counts = layer.counts.clone().unwrap_or_default();
            let bar = self.layers.entry(layer.name.clone()).or_insert_with(|| {
                let bar = self.all.add(ProgressBar::new(0));
                bar.set_style(
                    style("{prefix}  [{bar:32.green}] {pos:>5}/{len}   {msg}").progress_chars("##-"),
                );
                bar
            });
            bar.set_prefix(format!("{:<width$}", layer.name));
            bar.set_length(total(&counts));
            bar.set_position(counts.succeeded + counts.failed + counts.cancelled + counts.skipped);
            bar.set_message(counts_in_words(&counts));
        }
    }

    fn show_running(&mut self, board: &Board, now: Instant) {
        let mut lines: Vec<String> = board
            .running()
            .take(RUNNING_MAX)
            .map(|r| {
                let steps = if r.steps > 0 { format!("{:>3}/{}", r.step, r.steps) } else { String::new() };
                let left = board.left(r, now).map(left_in_words).unwrap_or_default();
                let stage = json::stage(r.stage).to_lowercase();
                format!("  {}  {:<32}  {stage:<7} {steps:<8} {left}", r.place, clean(&r.label))
            })
            .collect();
        let more = board.running().count().saturating_sub(RUNNING_MAX);
        if more > 0 {
            lines.push(format!("  and {more} more"));
        }
        while self.running.len() < lines.len() {
            self.running.push(self.all.add(plain()));
        }
        // A line taken away makes the rest jump; an empty one does not.
        for (bar, line) in self.running.iter().zip(lines.into_iter().chain(std::iter::repeat(String::new())))
        {
            bar.set_message(line);
        }
    }
}

fn head(job: &Job, board: &Board) -> String {
    let state = match board.settled() {
        Some(job) => json::job_state(job.state()),
        None => "RUNNING",
    };
    let mut parts = vec![crate::client::short(&job.name), state.to_owned()];
    if !job.show.is_empty() {
        parts.push(job.show.clone());
    }
    parts.push(format!("prio {}", job.priority));
    parts.push(format!("{:.1} device-min", job.device_ms as f64 / 60_000.0));
    parts.extend(eta(board));
    clean(&parts.join("  "))
}

fn left_in_words(left: Duration) -> String {
    format!("{} left", duration(u64::try_from(left.as_millis()).unwrap_or(u64::MAX)))
}

fn plain() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    bar.set_style(style("{msg}"));
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates above are well formed")
}
