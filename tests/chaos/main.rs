//! The whole farm under fire: three coordinators on three etcd members, SeaweedFS, four workers, and somebody who kills,
//! stops and cuts at random while jobs are submitted. In the end every task has ended once, and every published object
//! is what the state store says.
//!
//! `tests/run` runs a short form. The long one, ten minutes:
//!
//! ```sh
//! CROFT_CHAOS_SECONDS=600 cargo test --release --features etcd --test chaos under_fire -- --nocapture
//! ```
//!
//! `CROFT_CHAOS_SEED` repeats the same choices, not the same moments.
#![allow(clippy::print_stdout, reason = "the long form tells what it did")]
#![allow(clippy::disallowed_methods, reason = "what the farm stamps is compared with the wall clock")]

mod farm;
mod faults;
mod links;
mod parts;
mod restarts;
mod verdict;

use std::time::{Duration, Instant};

use farm::Farm;
use faults::Faults;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn under_fire_nothing_is_lost_and_nothing_is_doubled() {
    let seconds = setting("CROFT_CHAOS_SECONDS", 40);
    let seed = setting("CROFT_CHAOS_SEED", 1);
    let mut farm = Farm::start();
    let mut faults = Faults::new(seed);
    let mut jobs = Vec::new();
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        if farm.unsettled(&jobs) < 2 {
            jobs.push(farm.submit(jobs.len()));
        }
        faults.turn(&mut farm);
    }
    faults.heal(&mut farm);
    println!("seed {seed}, {seconds} s, {} jobs; faults: {}", jobs.len(), faults.told());
    farm.settles(&jobs);
    println!("{}", verdict::of(&farm, &jobs, &faults));
}
