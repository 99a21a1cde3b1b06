//! Many worlds at once, one thread a core, and the table that tells of them.

use std::{
    fmt::Write as _,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use crate::{Options, Tally, Violation, simulate};

/// What came of many worlds.
#[derive(Debug, Default)]
pub struct Report {
    pub worlds: u64,
    pub tally: Tally,
    pub violations: Vec<Violation>,
}

/// Lives the worlds of `seeds` on `threads` threads; ends early once `enough` rules were broken.
#[must_use]
pub fn simulate_all(
    seeds: std::ops::Range<u64>,
    threads: usize,
    enough: usize,
    options: impl Fn(u64) -> Options + Sync,
) -> Report {
    let (next, stop) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let report = Mutex::new(Report::default());
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let mut mine = Report::default();
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    mine.worlds += 1;
                    match simulate(&options(seed)) {
                        Ok(tally) => mine.tally.add(&tally),
                        Err(violation) => {
                            mine.violations.push(*violation);
                            if mine.violations.len() >= enough {
                                stop.store(true, Ordering::Relaxed);
                            }
                        }
                    }
                }
                let mut all = report.lock().expect("no thread panics with it");
                all.worlds += mine.worlds;
                all.tally.add(&mine.tally);
                all.violations.append(&mut mine.violations);
            });
        }
    });
    let mut report = report.into_inner().expect("no thread panics with it");
    report.violations.sort_by_key(|violation| violation.seed);
    report
}

impl Report {
    /// The table of a run that took `seconds`.
    #[must_use]
    pub fn table(&self, seconds: f64) -> String {
        let Tally { events, applied, commits, simulated_ms, recoveries, looks, jobs, tasks, .. } = self.tally;
        let mut table = String::from("| what | |\n|---|---:|\n");
        let mut row = |what: &str, value: String| {
            writeln!(table, "| {what} | {value} |").expect("a String takes everything");
        };
        row("seeds", self.worlds.to_string());
        row("events", events.to_string());
        row("of them told to a core, with ticks", applied.to_string());
        row("seconds", format!("{seconds:.1}"));
        row("events/s", format!("{:.0}", events as f64 / seconds));
        row("simulated hours", format!("{:.1}", simulated_ms as f64 / 3.6e6));
        row("jobs, tasks", format!("{jobs}, {tasks}"));
        row("commits", commits.to_string());
        row("recoveries", recoveries.to_string());
        row("looks at whole farms", looks.to_string());
        row(
            "longest settling after the trouble, simulated s",
            (self.tally.settle_ms_max / 1_000).to_string(),
        );
        row("violations", self.violations.len().to_string());
        for (title, numbers) in [
            ("command", &self.tally.commands),
            ("fault", &self.tally.faults),
            ("task ended", &self.tally.ends),
        ] {
            for (kind, n) in numbers {
                row(&format!("{title}: {kind}"), n.to_string());
            }
        }
        table
    }
}
