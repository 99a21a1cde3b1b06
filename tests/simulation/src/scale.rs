//! What size costs: the largest job on a large farm, and the shape of farm that OpenCue publishes figures for.

use std::{fs, time::Instant};

use crate::{
    catalogue::{Shape, plan},
    chance::Chance,
    hall::Hall,
};

/// The figures of one shape of farm.
#[derive(Debug)]
pub struct Scale {
    pub tasks: u32,
    pub workers: u64,
    pub devices: u32,
    /// Milliseconds from the spec's text to the farm's answer and its writes.
    pub submit_ms: f64,
    pub submit_writes: u64,
    /// The tick that finds every device free, milliseconds.
    pub first_tick_ms: f64,
    /// A tick under load, on average and at most, milliseconds.
    pub tick_ms: f64,
    pub tick_max_ms: f64,
    /// Tasks placed a second of the core's time, all events counted in.
    pub placements_per_s: f64,
    /// The process's peak resident memory so far, MiB; 0 where the system does not say.
    pub peak_mib: f64,
}

/// One job of `tasks` tasks on `workers` workers of `devices` devices each, until `starts` tasks have started.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "what is measured is time")]
pub fn measure(tasks: u32, workers: u64, devices: u32, starts: u64) -> Scale {
    let mut hall = Hall::new();
    (0..workers).for_each(|_| hall.join(devices));
    hall.tick(&|_| 0);
    let writes = hall.writes;
    let begun = Instant::now();
    let spec = Shape { tasks, ..Shape::patient() }.text();
    hall.submit(plan(&spec));
    let lasts = |assignment: &croft_core::step::Assignment| {
        Chance::new(assignment.attempt.fence.0).between(10_000, 60_000)
    };
    let planned = begun.elapsed();
    // The submission's own batch ends with the tick that places the first tasks.
    (hall.ticks, hall.tick_time, hall.tick_max) = (0, Default::default(), Default::default());
    hall.event_time = Default::default();
    hall.tick(&lasts);
    let first = hall.tick_max;
    let submit_writes = hall.writes - writes;
    hall.tick_max = Default::default();
    hall.run(u64::MAX, &lasts, &|hall| hall.starts >= starts || hall.farm().status().tasks_running == 0);
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    Scale {
        tasks,
        workers,
        devices,
        submit_ms: ms(planned),
        submit_writes,
        first_tick_ms: ms(first),
        tick_ms: ms(hall.tick_time - first) / (hall.ticks.max(2) - 1) as f64,
        tick_max_ms: ms(hall.tick_max),
        placements_per_s: hall.starts as f64 / (hall.tick_time + hall.event_time).as_secs_f64(),
        peak_mib: peak_mib(),
    }
}

/// Peak resident memory of this process, MiB.
fn peak_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

impl Scale {
    /// A row of the table.
    #[must_use]
    pub fn row(&self) -> String {
        format!(
            "| {} | {} × {} | {:.0} | {} | {:.1} | {:.2} | {:.1} | {:.0} | {:.0} |",
            self.tasks,
            self.workers,
            self.devices,
            self.submit_ms,
            self.submit_writes,
            self.first_tick_ms,
            self.tick_ms,
            self.tick_max_ms,
            self.placements_per_s,
            self.peak_mib
        )
    }

    /// The table's head.
    pub const HEAD: &str = "| tasks | workers × devices | submit ms | writes of the batch | first tick ms | tick ms | longest tick ms | placements/s | peak MiB |\n|---:|---:|---:|---:|---:|---:|---:|---:|---:|";
}
