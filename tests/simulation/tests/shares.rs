//! What shows and gangs get on a farm in good order.

use croft_simulation::shares::{Gang, gang_waits_ms, two_to_one};

#[test]
fn two_shows_get_what_their_weights_say() {
    for seed in 0..3 {
        let share = two_to_one(seed);
        assert!((share * 1.5 - 1.0).abs() < 0.05, "seed {seed}: {share}");
    }
}

#[test]
fn a_gang_gets_its_devices_among_endless_small_tasks() {
    for gang in Gang::ALL {
        for seed in 0..3 {
            let waits = gang_waits_ms(seed, gang);
            assert!(waits.is_some_and(|ms| ms <= gang.waits_ms_max()), "{gang:?}, seed {seed}: {waits:?}");
        }
    }
}
