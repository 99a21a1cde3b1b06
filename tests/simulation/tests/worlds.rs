//! Some hundred worlds of chance, and the planted bugs that they must catch. `cargo run --release -p croft-simulation`
//! runs thousands.

use std::thread;

use croft_simulation::{Options, Planted, is_caught, simulate, simulate_all};

#[test]
fn no_world_breaks_a_rule() {
    let report = simulate_all(0..400, 2, 1, Options::of);
    if let Some(violation) = report.violations.first() {
        panic!("{violation}");
    }
    assert_eq!(report.worlds, 400);
    assert!(report.tally.recoveries > 400, "leaders change, and farms are put together from records");
    assert!(report.tally.faults.len() >= 28, "every kind of trouble came: {:?}", report.tally.faults);
    assert!(report.tally.ends["succeeded"] > report.tally.tasks / 2, "and yet most tasks are done");
}

#[test]
fn the_same_seed_lives_the_same_world() {
    for seed in 0..5 {
        let once = simulate(&Options::of(seed)).expect("no violation");
        let again = simulate(&Options { words: 10, ..Options::of(seed) }).expect("no violation");
        assert_eq!(format!("{once:?}"), format!("{again:?}"));
    }
}

#[test]
fn every_planted_bug_is_caught() {
    const WORLDS: u64 = 400;
    let all: Vec<Planted> = Planted::all().collect();
    assert!(all.len() >= 51, "the list only grows");
    // Bugs are planted by thread.
    let missed = |from: usize| {
        let mine = all.iter().copied().skip(from).step_by(2);
        mine.filter(|planted| is_caught(*planted, WORLDS).1.is_none()).collect::<Vec<_>>()
    };
    let (even, odd) = thread::scope(|scope| {
        let odd = scope.spawn(|| missed(1));
        (missed(0), odd.join().expect("no panic"))
    });
    assert_eq!((even, odd), (Vec::new(), Vec::new()), "planted bugs that no checker saw");
}
