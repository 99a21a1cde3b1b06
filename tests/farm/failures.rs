//! What breaks while a clip is rendered, and that the job does not.

use serde_json::Value;

use crate::house::{Coordinator, ends, files, kill, shapes};

/// Steps of a clip that is long enough to be hit in the middle.
const STEPS: u32 = 120;

/// Attempts of the job's tasks as (task, number, cause).
fn attempts(house: &Coordinator, job: &str) -> Vec<(String, u64, String)> {
    let tasks = house.json(&["tasks", job]);
    let items = tasks["items"].as_array().expect("a list");
    let of = |task: &Value| {
        let name = task["name"].as_str().expect("a name").to_owned();
        let attempts = task["attempts"].as_array().cloned().unwrap_or_default();
        attempts.into_iter().map(move |a| {
            let cause = a["cause"].as_str().expect("a cause").to_owned();
            (name.clone(), a["number"].as_u64().expect("a number"), cause)
        })
    };
    items.iter().flat_map(of).collect()
}

/// Every clip of the job is there once and whole, and nothing else is.
fn complete(house: &mut Coordinator, clips: usize) {
    house.end();
    let published = files(&house.store());
    let sidecars: Vec<&String> =
        published.keys().filter(|name| name.ends_with(".json") && name.starts_with("clips/")).collect();
    assert_eq!(sidecars.len(), clips, "{sidecars:?}");
    let attempts = house.store().join(".attempts");
    assert!(!attempts.exists() || files(&attempts).is_empty(), "{:?}", files(&attempts).keys());
    ends(crate::house::croft(&["verify"]).arg(house.store().join("clips")), 0);
}

#[test]
fn a_killed_rank_costs_one_attempt() {
    let mut house = Coordinator::start();
    house.worker("one");
    let job = house.submit(&shapes(house.dir.path(), "clips", 2, STEPS));
    let mut watch = house.watch(&job);
    watch.until_denoising();
    kill(house.rank_of("one"), "-KILL");
    assert_eq!(watch.end(), Some(0));
    let attempts = attempts(&house, &job);
    let causes: Vec<(u64, &str)> = attempts.iter().map(|(_, n, cause)| (*n, cause.as_str())).collect();
    assert_eq!(causes, [(1, "CRASHED"), (2, "OK"), (1, "OK")]);
    complete(&mut house, 2);
}

#[test]
fn a_killed_workers_clips_are_rendered_by_another() {
    let mut house = Coordinator::start();
    house.worker("one");
    house.worker("two");
    let job = house.submit(&shapes(house.dir.path(), "clips", 2, STEPS));
    let mut watch = house.watch(&job);
    let worker = watch.until_denoising();
    let rank = house.rank_of(&worker);
    house.process(&worker).signal("-KILL");
    assert_eq!(watch.end(), Some(0));
    let attempts = attempts(&house, &job);
    assert!(attempts.iter().any(|(_, n, cause)| *n == 1 && cause == "LEASE_LOST"), "{attempts:?}");
    assert_eq!(attempts.iter().filter(|(_, _, cause)| cause == "OK").count(), 2, "{attempts:?}");
    complete(&mut house, 2);
    assert!(!alive(rank), "a rank does not outlive its worker");
}

#[test]
fn a_stopped_workers_late_clip_changes_nothing() {
    let mut house = Coordinator::start();
    house.worker("one");
    house.worker("two");
    let job = house.submit(&shapes(house.dir.path(), "clips", 2, STEPS));
    let mut watch = house.watch(&job);
    let worker = watch.until_denoising();
    house.process(&worker).signal("-STOP");
    assert_eq!(watch.end(), Some(0));
    let before = files(&house.store());
    // The woken worker must do the next job alone, so its end shows that it is back and knows what it lost.
    let other = if worker == "one" { "two" } else { "one" };
    house.process(other).signal("-KILL");
    house.process(&worker).signal("-CONT");
    let next = house.submit(&shapes(house.dir.path(), "next", 1, 2));
    assert_eq!(house.watch(&next).end(), Some(0));
    let after = files(&house.store());
    for (name, bytes) in &before {
        assert!(after.get(name) == Some(bytes), "{name} was touched");
    }
    let attempts = attempts(&house, &job);
    assert!(attempts.iter().any(|(_, n, cause)| *n == 1 && cause == "LEASE_LOST"), "{attempts:?}");
    assert_eq!(attempts.iter().filter(|(_, _, cause)| cause == "OK").count(), 2, "{attempts:?}");
    complete(&mut house, 2);
}

fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}
