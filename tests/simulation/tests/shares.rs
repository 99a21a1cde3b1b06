//! What shows and gangs get on a farm in good order.

use croft_simulation::shares::{
    Among, Gang, SINGLE_WAITS_MS_MAX, flights_charged, gang_waits_ms, single_waits_ms, two_to_one,
};

#[test]
fn two_shows_get_what_their_weights_say() {
    for seed in 0..3 {
        let share = two_to_one(seed);
        assert!((share * 1.5 - 1.0).abs() < 0.05, "seed {seed}: {share}");
    }
}

#[test]
fn a_gang_gets_its_devices_among_endless_small_tasks_and_shots_in_flight() {
    for (gang, among) in Gang::ALL.into_iter().flat_map(|gang| Among::ALL.map(|among| (gang, among))) {
        for seed in 0..3 {
            let waits = gang_waits_ms(seed, gang, among);
            let in_time = waits.is_some_and(|ms| ms <= gang.waits_ms_max());
            assert!(in_time, "{gang:?} among {among:?}, seed {seed}: {waits:?}");
        }
    }
}

#[test]
fn a_small_task_of_another_show_does_not_wait_for_endless_shots_in_flight() {
    for seed in 0..3 {
        let waits = single_waits_ms(seed);
        assert!(waits.is_some_and(|ms| ms <= SINGLE_WAITS_MS_MAX), "seed {seed}: {waits:?}");
    }
}

#[test]
fn shots_in_flight_are_charged_the_time_of_their_devices_once() {
    for seed in 0..3 {
        let charged = flights_charged(seed);
        assert!((0.85..=1.0).contains(&charged), "seed {seed}: {charged}");
    }
}
