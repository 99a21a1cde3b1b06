//! Long runs, replays and figures.
//!
//! ```text
//! croft-simulation [--seeds N] [--from N] [--threads N] [--look N]   many worlds, and a table
//! croft-simulation --seed N [--words N] [--look N]                   one world, told
//! croft-simulation mutants [--seeds N]                               how soon each planted bug is caught
//! croft-simulation scale                                             what size costs
//! croft-simulation shares                                            what weights and gangs get
//! ```
#![allow(clippy::print_stdout, reason = "a table is its output")]
#![allow(clippy::disallowed_methods, reason = "a run is timed; the worlds are not")]

use std::{process::ExitCode, thread, time::Instant};

use croft_simulation::{
    Options, Planted, is_caught,
    scale::{self, Scale},
    shares::{self, Among, Gang},
    simulate, simulate_all,
};

/// Violations after which a run ends.
const ENOUGH: u64 = 3;

struct Args(Vec<String>);

impl Args {
    fn number(&self, name: &str) -> Option<u64> {
        let at = self.0.iter().position(|arg| arg == name)?;
        self.0.get(at + 1)?.parse().ok()
    }

    fn options(&self, seed: u64) -> Options {
        let usual = Options::of(seed);
        Options { look_every: self.number("--look").unwrap_or(usual.look_every), ..usual }
    }
}

fn main() -> ExitCode {
    let args = Args(std::env::args().skip(1).collect());
    let well = match args.0.first().map(String::as_str) {
        Some("mutants") => mutants(args.number("--seeds").unwrap_or(1_000)),
        Some("scale") => scale_table(),
        Some("shares") => shares_table(),
        _ => match args.number("--seed") {
            Some(seed) => one(&args, seed),
            None => many(&args),
        },
    };
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one(args: &Args, seed: u64) -> bool {
    let words = args.number("--words").unwrap_or(0) as usize;
    match simulate(&Options { words, ..args.options(seed) }) {
        Ok(tally) => println!("seed {seed}: {} events, no violation", tally.events),
        Err(violation) => {
            println!("{violation}");
            return false;
        }
    }
    true
}

fn many(args: &Args) -> bool {
    let from = args.number("--from").unwrap_or(0);
    let seeds = args.number("--seeds").unwrap_or(2_000);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = args.number("--threads").map_or(cores, |n| n as usize);
    let enough = args.number("--enough").unwrap_or(ENOUGH) as usize;
    let begun = Instant::now();
    let report = simulate_all(from..from + seeds, threads, enough, |seed| args.options(seed));
    for violation in &report.violations {
        println!("{violation}\n");
    }
    println!("{}", report.table(begun.elapsed().as_secs_f64()));
    report.violations.is_empty()
}

fn mutants(seeds: u64) -> bool {
    println!("| planted bug | worlds | seconds | caught as |\n|---|---:|---:|---|");
    let mut all = true;
    for planted in Planted::all() {
        let begun = Instant::now();
        let (worlds, caught) = is_caught(planted, seeds);
        all &= caught.is_some();
        let caught = caught.unwrap_or_else(|| "NOT CAUGHT".to_owned());
        let first = caught.lines().next().unwrap_or_default();
        println!("| {planted:?} | {worlds} | {:.1} | {first} |", begun.elapsed().as_secs_f64());
    }
    all
}

fn scale_table() -> bool {
    println!("{}", Scale::HEAD);
    for (tasks, workers, devices, starts) in
        [(6_000, 1_200, 1, 6_000), (1_000_000, 2_000, 1, 20_000), (1_000_000, 2_000, 8, 40_000)]
    {
        println!("{}", scale::measure(tasks, workers, devices, starts).row());
    }
    true
}

fn shares_table() -> bool {
    println!(
        "| seed | share of the weight 2 of 3 | gang of another show, s | urgent, s | behind, s | the same among shots in flight | | | one device | charged of the time there is |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for seed in 0..10 {
        let share = shares::two_to_one(seed);
        let seconds = |ms: Option<u64>| ms.map_or("never".to_owned(), |ms| format!("{:.1}", ms as f64 / 1e3));
        let [small, flights] = Among::ALL
            .map(|among| Gang::ALL.map(|gang| seconds(shares::gang_waits_ms(seed, gang, among))).join(" | "));
        let single = seconds(shares::single_waits_ms(seed));
        let charged = shares::flights_charged(seed);
        println!("| {seed} | {share:.4} | {small} | {flights} | {single} | {charged:.3} |");
    }
    true
}
