//! What was measured, as a table.

use std::{fmt::Write as _, fs, time::Duration};

use crate::{DEVICES, ROUNDS, SINGLES, TASKS, TURNS};

pub(crate) struct Round {
    pub(crate) create: Duration,
    pub(crate) whole: Duration,
    pub(crate) coordinator_cpu: f64,
    pub(crate) worker_cpu: f64,
}

/// What was measured with one kind of state.
pub(crate) struct Measured {
    pub(crate) state: &'static str,
    pub(crate) rounds: Vec<Round>,
    pub(crate) singles: Vec<Duration>,
    pub(crate) peak_mib: u64,
}
impl Measured {
    pub(crate) fn with(mut self, more: Self) -> Self {
        self.rounds.extend(more.rounds);
        self.singles.extend(more.singles);
        self.singles.sort_unstable();
        Self { peak_mib: self.peak_mib.max(more.peak_mib), ..self }
    }

    fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        let mut all: Vec<f64> = self.rounds.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    }

    fn tasks_per_second(&self) -> f64 {
        self.median(|round| f64::from(TASKS) / round.whole.as_secs_f64())
    }
}
pub(crate) fn table(all: &[Measured]) -> String {
    let tasks = f64::from(TASKS);
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("?");
    let states: Vec<&str> = all.iter().map(|measured| measured.state).collect();
    let mut text =
        format!("| what | {} | wanted |\n|---|{}---|\n", states.join(" | "), "---|".repeat(all.len()));
    let mut row = |what: &str, of: &dyn Fn(&Measured) -> String, wanted: &str| {
        let cells: Vec<String> = all.iter().map(of).collect();
        writeln!(text, "| {what} | {} | {wanted} |", cells.join(" | ")).expect("a String takes everything");
    };
    row("CreateJob of 10,000 tasks", &|m| format!("{:.1} ms", m.median(|r| ms(r.create))), "< 500 ms");
    row("tasks end to end", &|m| format!("{:.0} /s", m.tasks_per_second()), ">= 3,000 /s; etcd >= 2,000 /s");
    // The kernel's ticks are coarse for one round: the mean of all is finer.
    let cpu = |m: &Measured, of: &dyn Fn(&Round) -> f64| {
        format!("{:.3} ms", m.rounds.iter().map(of).sum::<f64>() / m.rounds.len() as f64 / tasks * 1e3)
    };
    row("coordinator CPU a task", &|m| cpu(m, &|r| r.coordinator_cpu), "memory < 0.2 ms");
    row("worker CPU a task", &|m| cpu(m, &|r| r.worker_cpu), "");
    let at = |m: &Measured, share: f64| {
        format!("{:.2} ms", ms(m.singles[((m.singles.len() - 1) as f64 * share) as usize]))
    };
    row("one task, submit to result, p50", &|m| at(m, 0.5), "memory < 5 ms; etcd < 10 ms");
    row("p90", &|m| at(m, 0.9), "");
    row("p99", &|m| at(m, 0.99), "");
    row("coordinator's peak memory", &|m| format!("{} MiB", m.peak_mib), "");
    let of = |state: &str| all.iter().find(|measured| measured.state == state);
    if let (Some(plain), Some(private)) = (of("binary, plain"), of("binary, private")) {
        let lost = 1.0 - private.tasks_per_second() / plain.tasks_per_second();
        writeln!(
            text,
            "\nPrivate (TLS with certificates on both sides, the guard, every trace exported, metrics served) against plain, \
             {TURNS} times by turns: {:.1} % less throughput; wanted: < 10 %.",
            lost * 100.0
        )
        .expect("a String takes everything");
    }
    writeln!(
        text,
        "\nMedian of {ROUNDS} rounds (CPU: their mean), {SINGLES} single tasks; one worker with {DEVICES} no-op devices, coordinator and \
         worker as processes of their own, loopback; {cores} cores, load {load}.\nRepeat: `cargo bench --features etcd \
         --bench scheduling`"
    )
    .expect("a String takes everything");
    text
}
