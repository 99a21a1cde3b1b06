//! Those who run the farm: who asks why, pauses, comes home to a workstation, or starts a second coordinator by mistake.

use std::{fs, path::Path};

use serde_json::Value;

use crate::house::{Coordinator, croft, ends, shapes};

/// The reasons why tasks of a job wait, with how many each.
fn waits(house: &Coordinator, job: &str) -> Vec<(String, u64)> {
    let told = house.json(&["why", job]);
    let items = told["items"].as_array().cloned().expect("a list");
    let wait = |item: &Value| {
        (item["reason"].as_str().expect("a reason").to_owned(), item["tasks"].as_u64().expect("a number"))
    };
    items.iter().map(wait).collect()
}

#[test]
fn why_tells_what_stands_in_the_way_until_nothing_does() {
    let mut house = Coordinator::start();
    let job = house.submit(&shapes(house.dir.path(), "clips", 3, 2));
    assert_eq!(waits(&house, &job), [("NO_WORKER".to_owned(), 3)]);
    ends(&mut house.client(&["pause", &job]), 0);
    assert_eq!(waits(&house, &job), [("PAUSED".to_owned(), 3)]);
    house.worker("one");
    ends(&mut house.client(&["resume", &job]), 0);
    assert_eq!(house.watch(&job).end(), Some(0));
    assert_eq!(waits(&house, &job), []);
}

#[test]
fn a_limit_lets_so_many_through_and_why_names_it() {
    let mut house = Coordinator::start();
    ends(&mut house.client(&["limit", "nuke", "0"]), 0);
    let spec = shapes(house.dir.path(), "clips", 2, 2);
    let text = fs::read_to_string(&spec).expect("a spec");
    fs::write(&spec, text.replace("    params:", "    resources: {limits: nuke}\n    params:"))
        .expect("written");
    let job = house.submit(&spec);
    house.worker("one");
    // A task may be asked about before its machine is there; then the limit is what is left.
    let mut told = waits(&house, &job);
    while told[0].0 == "NO_WORKER" {
        told = waits(&house, &job);
    }
    assert_eq!(told, [("LIMIT".to_owned(), 2)]);
    ends(&mut house.client(&["limit", "nuke", "1"]), 0);
    assert_eq!(house.watch(&job).end(), Some(0));
}

#[test]
fn an_owner_who_comes_home_gets_the_machine_and_the_clip_goes_elsewhere() {
    let mut house = Coordinator::start();
    house.worker("one");
    house.worker("two");
    let job = house.submit(&shapes(house.dir.path(), "clips", 1, 120));
    let mut watch = house.watch(&job);
    let owned = watch.until_denoising();
    let folder = house.dir.path().join(&owned).display().to_string();
    let nimby = |words: &[&str]| {
        let output = ends(croft(&["nimby"]).args(words).args(["--data-dir", &folder]), 0);
        String::from_utf8(output.stdout).expect("text")
    };
    let told = nimby(&["on", "--reason", "kim is painting"]);
    assert!(told.contains("kim is painting"), "{told}");
    assert_eq!(watch.end(), Some(0));

    let tasks = house.json(&["tasks", &job]);
    let attempts = tasks["items"][0]["attempts"].as_array().expect("a list");
    let causes: Vec<&str> = attempts.iter().filter_map(|attempt| attempt["cause"].as_str()).collect();
    assert_eq!(causes.last(), Some(&"OK"), "{tasks}");
    assert_eq!(causes[0], "YIELDED", "it cost the clip no try: {tasks}");
    let device = attempts[attempts.len() - 1]["device"].as_str().expect("a device");
    assert!(!device.contains(&format!("workers/{owned}/")), "{tasks}");
    let workers = house.json(&["workers"]).to_string();
    assert!(workers.contains("kim is painting"), "{workers}");
    assert!(nimby(&["off"]).starts_with("off"));
}

/// A coordinator that must not start, and what it says.
fn refused(data: &Path) -> String {
    let output = ends(croft(&["coordinator", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data), 1);
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn a_state_file_that_is_in_use_or_none_of_ours_is_refused_and_left_as_it_is() {
    let house = Coordinator::start();
    let told = refused(&house.dir.path().join("coordinator"));
    assert!(told.contains("in use by another coordinator") && told.contains("--data-dir"), "{told}");

    let dir = tempfile::tempdir().expect("scratch");
    let file = dir.path().join("state.redb");
    fs::write(&file, "a holiday photo").expect("written");
    let told = refused(dir.path());
    assert!(told.contains("state.redb") && told.contains("left as it is"), "{told}");
    assert_eq!(fs::read(&file).expect("it is there"), b"a holiday photo");
}
