//! A clip that is interrupted goes on where it was, and nobody can tell by its pictures.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::house::{Coordinator, croft, ends, files, kill, shapes_with};

const SHORT: &str = "params: {steps: 400}";
/// A clip that takes longer than an owner does to be heard.
const LONG: &str = "params: {steps: 500, num_frames: 33}";

/// What an owner waits for his machine: two seconds, and as much again for a loaded test machine.
const FREED_MAX: Duration = Duration::from_secs(4);

/// The pictures of a clip that nobody disturbed.
fn undisturbed(keys: &str) -> BTreeMap<String, Vec<u8>> {
    let mut house = Coordinator::start();
    house.worker("one");
    let job = house.submit(&shapes_with(house.dir.path(), "clips", 1, keys));
    assert_eq!(house.watch(&job).end(), Some(0));
    pictures(&mut house)
}

fn pictures(house: &mut Coordinator) -> BTreeMap<String, Vec<u8>> {
    house.end();
    let mut found = files(&house.store());
    found.retain(|name, _| name.ends_with(".png"));
    assert!(found.len() > 1, "frames were published");
    found
}

/// Where the clip's attempt went on: the attempt that had come so far, and the step.
fn resumed(store: &Path) -> (u64, u64) {
    let sidecar = files(store).into_iter().find(|(name, _)| name.ends_with("s1.json")).expect("a sidecar").1;
    let sidecar: Value = serde_json::from_slice(&sidecar).expect("JSON");
    let from = &sidecar["resumed_from"];
    (from["attempt"].as_u64().unwrap_or(0), from["step"].as_u64().unwrap_or(0))
}

fn left_to_go_on_from(house: &Coordinator) -> usize {
    let attempts = house.store().join(".attempts");
    if attempts.exists() { files(&attempts).len() } else { 0 }
}

#[test]
fn a_killed_rank_and_a_killed_worker_cost_steps_and_not_the_clip() {
    let mut house = Coordinator::start();
    house.careful_worker("one");
    house.careful_worker("two");
    let job = house.submit(&shapes_with(house.dir.path(), "clips", 1, SHORT));
    let mut watch = house.watch(&job);
    let worker = watch.until_step(20);
    kill(house.rank_of(&worker), "-KILL");
    let worker = watch.until(|e| {
        e["progress"]["stage"] == "DENOISE"
            && e["progress"]["attempt"].as_u64() == Some(2)
            && e["progress"]["step"].as_u64() >= Some(60)
    })["progress"]["device"]
        .as_str()
        .and_then(|device| device.split('/').nth(1))
        .expect("a worker")
        .to_owned();
    let rank = house.rank_of(&worker);
    house.process(&worker).signal("-KILL");
    kill(rank, "-KILL");
    assert_eq!(watch.end(), Some(0));
    let (attempt, step) = resumed(&house.store());
    assert!(attempt == 2 && step >= 40, "the third attempt began at step {step} of attempt {attempt}");
    assert_eq!(pictures(&mut house), undisturbed(SHORT));
    assert_eq!(left_to_go_on_from(&house), 0, "what was kept goes with the clip's end");
    ends(croft(&["verify"]).arg(house.store().join("clips")), 0);
}

/// Whether a worker's device has something to do, or to end.
fn renders(house: &Coordinator, worker: &str) -> bool {
    let workers = house.json(&["workers"]);
    let mut items = workers["items"].as_array().expect("a list").iter();
    let worker =
        items.find(|item| item["name"] == format!("workers/{worker}")).expect("a worker of this test");
    worker["devices"][0]["running"].as_array().is_some_and(|tasks| !tasks.is_empty())
}

#[test]
fn a_workstation_whose_owner_comes_home_hands_the_clip_on_at_its_step() {
    let mut house = Coordinator::start();
    house.worker("one");
    house.worker("two");
    let job = house.submit(&shapes_with(house.dir.path(), "clips", 1, LONG));
    let mut watch = house.watch(&job);
    let owned = watch.until_step(20);
    let folder = house.dir.path().join(&owned).display().to_string();
    let since = Instant::now();
    ends(&mut croft(&["nimby", "on", "--data-dir", &folder]), 0);
    while renders(&house, &owned) {
        std::thread::yield_now();
    }
    let freed = since.elapsed();
    println!("the owner's device was free {freed:.2?} after the word");
    assert!(freed < FREED_MAX, "{freed:?}");
    assert_eq!(watch.end(), Some(0));
    let (attempt, step) = resumed(&house.store());
    assert!(
        attempt == 1 && step >= 20,
        "it went on at step {step} of attempt {attempt}; {owned} was told:\n{}",
        house.log(&owned)
    );
    assert_eq!(pictures(&mut house), undisturbed(LONG));
}

#[test]
fn a_damaged_step_is_not_gone_on_from() {
    let mut house = Coordinator::start();
    house.careful_worker("one");
    let job = house.submit(&shapes_with(house.dir.path(), "clips", 1, SHORT));
    let mut watch = house.watch(&job);
    watch.until_step(20);
    kill(house.rank_of("one"), "-STOP");
    let root = house.store().join(".attempts").join(&job).join("clip/0001/checkpoints");
    // What the worker was told of is on its way, and replaces what lies there.
    let on_its_way =
        || files(&house.dir.path().join("one/attempts")).keys().any(|name| name.contains("checkpoint-"));
    let kept = || fs::read_dir(&root).map_or(0, Iterator::count);
    while on_its_way() || kept() != 1 {
        std::thread::yield_now();
    }
    for file in fs::read_dir(&root).expect("steps were kept").flatten() {
        let mut bytes = fs::read(file.path()).expect("a file");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(file.path(), bytes).expect("written");
    }
    kill(house.rank_of("one"), "-KILL");
    assert_eq!(watch.end(), Some(0));
    assert_eq!(resumed(&house.store()), (0, 0), "it began at the beginning");
    assert_eq!(pictures(&mut house), undisturbed(SHORT));
}
