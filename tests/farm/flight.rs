//! Shots in flight over the ranks of two workers that have some of the layers each: every one is the clip that is rendered
//! alone, and what happens to one rank costs none of them more than steps.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::house::{Coordinator, Watch, ends, files, is_there, kill, shapes_with};

/// Long enough to be hit in the middle.
const IN_FLIGHT: &str = "params: {steps: 120, guidance: 1}\n    resources: {ranks: 2, split: layers";
/// What a stopped rank may stay unnoticed.
const NOTICED_MAX: Duration = Duration::from_secs(5);

/// A farm of two workers with one device each.
fn farm() -> Coordinator {
    let mut house = Coordinator::start();
    for name in ["one", "two"] {
        house.careful_worker(name);
    }
    ends(&mut house.client(&["limit", "alone", "1"]), 0);
    house
}

/// Begins to render `shots` clips into `folder`; one after the other, or as they come.
fn begin(house: &Coordinator, folder: &str, shots: u32, alone: bool) -> Watch {
    let keys = format!("{IN_FLIGHT}{}}}", if alone { ", limits: alone" } else { "" });
    let job = house.submit(&shapes_with(house.dir.path(), folder, shots, &keys));
    house.watch(&job)
}

/// All pictures and previews of a folder of the store, by their names there.
fn clips(house: &Coordinator, folder: &str, shots: usize) -> BTreeMap<String, Vec<u8>> {
    let mut found = files(&house.store().join(folder));
    found.retain(|name, _| !name.ends_with(".json"));
    let previews = found.keys().filter(|name| name.ends_with(".mp4")).count();
    assert_eq!(previews, shots, "{:?}", found.keys());
    found
}

/// Follows a job until so many of its shots are in flight and at `step`.
fn until_in_flight(watch: &mut Watch, shots: usize, step: u64) {
    let mut there = BTreeSet::new();
    watch.until(|event| {
        let progress = &event["progress"];
        if progress["stage"] == "DENOISE" && progress["step"].as_u64() >= Some(step) {
            there.insert(progress["task"].as_str().expect("a task").to_owned());
        }
        there.len() == shots
    });
}

#[test]
fn shots_in_flight_are_the_clips_that_are_rendered_alone() {
    const SHOTS: u32 = 4;
    let house = farm();
    assert_eq!(begin(&house, "alone", SHOTS, true).end(), Some(0));
    let mut watch = begin(&house, "together", SHOTS, false);
    until_in_flight(&mut watch, 2, 1);
    let workers = house.json(&["workers"]);
    for worker in workers["items"].as_array().expect("a list") {
        let running = worker["devices"][0]["running"].as_array().expect("a list");
        assert_eq!(running.len(), 2, "{worker}");
    }
    assert_eq!(watch.end(), Some(0));
    let [alone, together] = ["alone", "together"].map(|folder| clips(&house, folder, SHOTS as usize));
    assert!(alone == together, "the same bytes");
}

#[test]
fn a_killed_rank_costs_neither_of_two_shots_in_flight() {
    let house = farm();
    assert_eq!(begin(&house, "undisturbed", 2, true).end(), Some(0));
    let undisturbed = clips(&house, "undisturbed", 2);
    for victim in ["one", "two"] {
        let folder = format!("killed-{victim}");
        let mut watch = begin(&house, &folder, 2, false);
        until_in_flight(&mut watch, 2, 20);
        kill(house.rank_of(victim), "-KILL");
        assert_eq!(watch.end(), Some(0));
        assert!(clips(&house, &folder, 2) == undisturbed, "the same bytes");
        for shot in ["s1", "s2"] {
            let bytes =
                std::fs::read(house.store().join(&folder).join(format!("{shot}.json"))).expect("a sidecar");
            let sidecar: Value = serde_json::from_slice(&bytes).expect("JSON");
            let from = sidecar["resumed_from"]["step"].as_u64();
            assert!(from >= Some(17), "{shot} goes on from its step: {from:?}");
        }
        let tasks = house.json(&["tasks", &folder]);
        let causes = |task: &Value| task["attempts"][0]["failure"]["cause"].as_str().unwrap_or("").to_owned();
        let causes: BTreeSet<String> =
            tasks["items"].as_array().expect("a list").iter().map(causes).collect();
        assert_eq!(
            causes,
            BTreeSet::from(["CRASHED".to_owned(), "YIELDED".to_owned()]),
            "one failure costs one try"
        );
    }
}

#[test]
fn a_stopped_rank_is_noticed_though_shots_wait_for_each_other() {
    let house = farm();
    assert_eq!(begin(&house, "undisturbed", 2, true).end(), Some(0));
    let mut watch = begin(&house, "stopped", 2, false);
    until_in_flight(&mut watch, 2, 20);
    let rank = house.rank_of("two");
    kill(rank, "-STOP");
    let since = Instant::now();
    while is_there(rank) {
        std::thread::yield_now();
    }
    println!("its process was ended after {:.2?}", since.elapsed());
    assert!(since.elapsed() < NOTICED_MAX, "{:?}", since.elapsed());
    assert_eq!(watch.end(), Some(0));
    assert!(clips(&house, "stopped", 2) == clips(&house, "undisturbed", 2), "the same bytes");
}
