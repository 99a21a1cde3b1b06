//! One clip by several workers' ranks: what it looks like, and what becomes of it when one of them breaks.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use croft_engine::codecs::decode;
use serde_json::Value;

use crate::house::{Coordinator, croft, ends, files, is_there, kill, shapes_with};

/// Long enough to be hit in the middle.
const CLIP: &str = "params: {steps: 120}";
const BY_TWO: &str = "params: {steps: 120}\n    resources: {ranks: 2}";
/// What a clip that lost a rank may stand still, as an issue of this project asks.
const STANDSTILL_MAX: Duration = Duration::from_secs(5);

/// A farm of three workers with one device each.
fn farm() -> Coordinator {
    let mut house = Coordinator::start();
    for name in ["one", "two", "three"] {
        house.careful_worker(name);
    }
    house
}

/// The pictures and previews in a folder of the store, by their names there.
pub(crate) fn clip(store: &Path, folder: &str) -> BTreeMap<String, Vec<u8>> {
    let mut found = files(&store.join(folder));
    found.retain(|name, _| !name.ends_with(".json"));
    assert!(found.len() > 2, "frames and a preview: {:?}", found.keys());
    found
}

pub(crate) fn sidecar(store: &Path, folder: &str) -> Value {
    let bytes = std::fs::read(store.join(folder).join("s1.json")).expect("a sidecar");
    serde_json::from_slice(&bytes).expect("JSON")
}

/// Renders a clip as the spec's `keys` say, undisturbed, into `folder`.
fn rendered(house: &Coordinator, folder: &str, keys: &str) -> BTreeMap<String, Vec<u8>> {
    let job = house.submit(&shapes_with(house.dir.path(), folder, 1, keys));
    assert_eq!(house.watch(&job).end(), Some(0));
    clip(&house.store(), folder)
}

/// The largest difference of two clips' frames, of 255.
pub(crate) fn farthest(ours: &BTreeMap<String, Vec<u8>>, theirs: &BTreeMap<String, Vec<u8>>) -> u8 {
    let frames = ours.iter().filter(|(name, _)| name.ends_with(".png"));
    let far = frames.map(|(name, bytes)| {
        let [one, two] = [bytes, &theirs[name]].map(|png| decode::png(png).expect("a png").to_picture().rgb);
        assert_eq!(one.len(), two.len());
        one.iter().zip(&two).map(|(one, two)| one.abs_diff(*two)).max().expect("a pixel")
    });
    far.max().expect("a frame")
}

#[test]
fn two_workers_render_the_clip_of_one_and_the_same_each_time() {
    let house = farm();
    let alone = rendered(&house, "alone", CLIP);
    let first = rendered(&house, "first", BY_TWO);
    let again = rendered(&house, "again", BY_TWO);
    assert_eq!(first, again);
    let farthest = farthest(&alone, &first);
    println!("farthest pixel of two ranks from one: {farthest} of 255");
    assert!(farthest <= 1, "a pixel is {farthest} of 255 off");
    let sidecar = sidecar(&house.store(), "first");
    assert_eq!((&sidecar["ranks"], &sidecar["mode"]), (&2.into(), &"tensor".into()));
}

#[test]
fn layers_and_branches_on_different_workers_make_the_clip_of_one() {
    let house = farm();
    let alone = rendered(&house, "alone", CLIP);
    for (mode, ranks) in [("layers", 3), ("guidance", 2)] {
        let keys = format!("{CLIP}\n    resources: {{ranks: {ranks}, split: {mode}}}");
        assert!(farthest(&alone, &rendered(&house, mode, &keys)) <= 1, "{mode}");
        assert_eq!(sidecar(&house.store(), mode)["mode"], mode);
    }
}

#[test]
fn a_model_is_not_split_further_than_it_goes() {
    let house = Coordinator::start();
    let spec = shapes_with(house.dir.path(), "clips", 1, "params: {steps: 2}\n    resources: {ranks: 4}");
    let refused = ends(house.client(&["submit"]).arg(&spec), 3);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(words.contains("takes 3 at most"), "{words}");
}

/// The worker that renders a clip together with `one`.
fn other_than(one: &str, house: &Coordinator) -> String {
    let workers = house.json(&["workers"]);
    let renders =
        |worker: &&Value| worker["devices"][0]["running"].as_array().is_some_and(|tasks| !tasks.is_empty());
    let busy = workers["items"].as_array().expect("a list").iter().filter(renders);
    let mut names =
        busy.map(|worker| worker["name"].as_str().expect("a name").trim_start_matches("workers/"));
    names.find(|name| *name != one).expect("a gang of two").to_owned()
}

/// How far a clip was when its rank was killed.
struct Hit {
    /// Until the rank's process was gone.
    freed: Duration,
    standstill: Duration,
    /// Steps that were rendered twice.
    repeated: u64,
}

/// Sends `signal` to one rank of a clip by two when it is at `step`, and follows the clip to its end.
fn hit(house: &Coordinator, folder: &str, signal: &str, victim: usize, step: u64) -> Hit {
    let job = house.submit(&shapes_with(house.dir.path(), folder, 1, BY_TWO));
    let mut watch = house.watch(&job);
    let first = watch.until_step(step);
    let worker = if victim == 0 { first } else { other_than(&first, house) };
    let rank = house.rank_of(&worker);
    kill(rank, signal);
    let since = Instant::now();
    while is_there(rank) {
        std::thread::yield_now();
    }
    let freed = since.elapsed();
    let mut reached = step;
    watch.until(|event| {
        let progress = &event["progress"];
        if progress["stage"] != "DENOISE" {
            return false;
        }
        if progress["attempt"] == 1 {
            reached = reached.max(progress["step"].as_u64().unwrap_or(0));
        }
        progress["attempt"].as_u64() >= Some(2) && progress["step"].as_u64() >= Some(1)
    });
    let standstill = since.elapsed();
    assert_eq!(watch.end(), Some(0));
    let from = &sidecar(&house.store(), folder)["resumed_from"];
    let repeated = reached.saturating_sub(from["step"].as_u64().unwrap_or(0));
    Hit { freed, standstill, repeated }
}

/// What was kept is at most so many steps old: one on its way to the store, and one that was not told yet.
const REPEATED_MAX: u64 = 3;

/// `CROFT_GANG_KILLS` clips, in each of which a rank is killed at some step; by default three.
#[test]
fn a_killed_rank_of_a_gang_costs_seconds_and_not_the_clip() {
    let kills = std::env::var("CROFT_GANG_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    let mut house = farm();
    let undisturbed = rendered(&house, "undisturbed", BY_TWO);
    let (mut standstills, mut repeated) = (Vec::new(), Vec::new());
    for number in 0..kills {
        let folder = format!("hit-{number}");
        let (victim, step) = (number % 2, 1 + (number as u64 * 37) % 80);
        let hit = hit(&house, &folder, "-KILL", victim, step);
        assert_eq!(clip(&house.store(), &folder), undisturbed, "killed rank {victim} at step {step}");
        standstills.push(hit.standstill);
        repeated.push(hit.repeated);
    }
    standstills.sort_unstable();
    repeated.sort_unstable();
    let p99 = standstills[(standstills.len() * 99).div_ceil(100) - 1];
    println!(
        "{kills} kills: from the kill to the next step {:.2?} median, {p99:.2?} p99, {:.2?} at most; steps repeated {} \
         median, {} at most",
        standstills[standstills.len() / 2],
        standstills[standstills.len() - 1],
        repeated[repeated.len() / 2],
        repeated[repeated.len() - 1],
    );
    assert!(p99 < STANDSTILL_MAX, "{standstills:?}");
    assert!(repeated.iter().all(|steps| *steps <= REPEATED_MAX), "{repeated:?}");
    house.end();
    ends(croft(&["verify"]).arg(house.store().join("hit-0")), 0);
}

#[test]
fn a_stopped_rank_is_noticed_by_the_other_and_ended() {
    let house = farm();
    let undisturbed = rendered(&house, "undisturbed", BY_TWO);
    for victim in [0, 1] {
        let folder = format!("stopped-{victim}");
        let hit = hit(&house, &folder, "-STOP", victim, 20);
        println!(
            "rank {victim} stopped: its process was ended after {:.2?}, the next step was done after {:.2?}, {} repeated",
            hit.freed, hit.standstill, hit.repeated
        );
        assert!(hit.freed < STANDSTILL_MAX, "{:?}", hit.freed);
        assert_eq!(clip(&house.store(), &folder), undisturbed);
    }
}
