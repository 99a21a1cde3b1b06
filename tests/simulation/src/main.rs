//! Long runs and replays.
//!
//! ```text
//! croft-simulation [--seeds N] [--from N] [--threads N]    many worlds, and a table
//! croft-simulation --seed N [--words N]                    one world, told
//! ```
#![allow(clippy::print_stdout, reason = "a table is its output")]
#![allow(clippy::disallowed_methods, reason = "a run is timed; the worlds are not")]

use std::{process::ExitCode, thread, time::Instant};

use croft_simulation::{Options, simulate, simulate_all};

/// Violations after which a run ends.
const ENOUGH: usize = 3;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1)?.parse::<u64>().ok()
    };
    let look_every = number("--look").unwrap_or(Options::of(0).look_every);
    if let Some(seed) = number("--seed") {
        let words = number("--words").unwrap_or(0) as usize;
        return match simulate(&Options { words, look_every, ..Options::of(seed) }) {
            Ok(tally) => {
                println!("seed {seed}: {} events, no violation", tally.events);
                ExitCode::SUCCESS
            }
            Err(violation) => {
                println!("{violation}");
                ExitCode::FAILURE
            }
        };
    }
    if args.iter().any(|arg| arg == "--mutants") {
        for planted in croft_simulation::Planted::all() {
            let seeds = number("--seeds").unwrap_or(300);
            let begun = Instant::now();
            let report = simulate_all(0..seeds, 2, 1, |seed| Options {
                planted: Some(planted),
                look_every,
                ..Options::of(seed)
            });
            let what = report.violations.first().map_or("NOT CAUGHT", |v| &v.what);
            println!(
                "{planted:?} after {} worlds, {:.1} s: {}",
                report.worlds,
                begun.elapsed().as_secs_f64(),
                what.lines().take(2).collect::<String>()
            );
        }
        return ExitCode::SUCCESS;
    }
    let from = number("--from").unwrap_or(0);
    let seeds = number("--seeds").unwrap_or(2_000);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = number("--threads").map_or(cores, |n| n as usize);
    let enough = number("--enough").map_or(ENOUGH, |n| n as usize);
    let begun = Instant::now();
    let report =
        simulate_all(from..from + seeds, threads, enough, |seed| Options { look_every, ..Options::of(seed) });
    for violation in &report.violations {
        println!("{violation}\n");
    }
    println!("{}", report.table(begun.elapsed().as_secs_f64()));
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
