//! A task goes only where its memory is, in the leanest way that fits, and what was measured counts.

use croft_core::{
    failure::Cause,
    farm::{Config, Farm},
    split::{Kind, Mode, Part, Residency, Seating, Shot},
    step::Assignment,
    time::Time,
    view::WaitReason,
};

use crate::{
    cards::{large, plan},
    house::{House, job_of},
};

/// `tasks` clips by LTX-Video 13B, with more keys of the layer.
fn clips(tasks: u32, keys: &str) -> String {
    job_of(tasks).replace("model: clip\n", &format!("model: film\n    {keys}\n"))
}

fn default_clips(tasks: u32) -> String {
    clips(tasks, "params: {num_frames: 121}")
}

fn residency_on(gib: u64, keys: &str) -> Option<Residency> {
    let mut house = House::new();
    house.submit(&clips(1, keys));
    house.join_cards("ws", &[gib]);
    house.take_started().first().map(|start| start.residency)
}

/// By rank: where, and how much it takes.
fn seats(started: &[Assignment]) -> Vec<(String, u32)> {
    started
        .iter()
        .map(|a| (format!("{}:{}", a.device.worker, a.device.index), a.shares[a.rank as usize]))
        .collect()
}

#[test]
fn a_clip_lies_in_memory_as_whole_as_the_device_allows() {
    for (gib, residency) in [(80, "resident"), (32, "sequential"), (24, "streamed")] {
        assert_eq!(
            residency_on(gib, "params: {steps: 8}").map(Residency::name),
            Some(residency),
            "{gib} GiB"
        );
    }
    assert_eq!(residency_on(2, "params: {steps: 8}"), None);
}

#[test]
fn a_large_clip_needs_more_and_tiles_less() {
    let large = "params: {size: 2048x2048, num_frames: 257}";
    assert_eq!(residency_on(44, large), None);
    let tiled = large.replace('}', ", vae_tiling: true}");
    assert_eq!(residency_on(44, &tiled), Some(Residency::Sequential));
}

#[test]
fn a_layer_is_placed_by_its_largest_task() {
    let spec = clips(1, "params: {size: \"{size}\"}")
        .replace("axes:\n", "axes:\n  size: [\"256x256\", \"2048x2048\", \"512x512\"]\n");
    let spec = spec.replace("s{seed}", "{size}/s{seed}");
    let shot = plan(&spec).layers()[0].shot.expect("a clip");
    assert_eq!((shot.width, shot.height, shot.frames), (2_048, 2_048, 121));
}

#[test]
fn what_fits_nowhere_waits_and_says_with_what_arithmetic() {
    let mut house = House::new();
    let job = house.submit(&default_clips(1));
    house.join_cards("small", &[2, 2]);
    assert!(house.take_started().is_empty());
    let why = house.why(&job, 0, 0);
    println!("{}", why.words);
    assert_eq!(why.reason, WaitReason::NoFit);
    for words in ["denoise 1.3 GiB + ", "reserve 576 MiB", "even streamed", "has 2.0 GiB", "vae_tiling: true"]
    {
        assert!(why.words.contains(words), "{words}: {}", why.words);
    }
    assert_eq!(why.unusable, ["small (too little memory: 2.0 GiB a device)"]);
    let warnings = house.farm.warnings(&job);
    println!("{warnings:#?}");
    assert!(warnings[0].contains("layer 'main' fits 0 of 2 devices that are here"), "{warnings:?}");
    house.join_cards("large", &[80]);
    assert_eq!(house.one_started().device.worker.as_str(), "large");
    assert!(house.farm.warnings(&job).is_empty());
}

#[test]
fn a_plan_says_on_which_devices_it_lies_how() {
    let mut house = House::new();
    house.join_cards("a", &[80, 80]);
    house.join_cards("b", &[24]);
    house.join_cards("c", &[2]);
    let forecast = house.farm.forecast(&plan(&default_clips(4)), 0);
    println!("{forecast:#?}");
    assert_eq!((forecast.devices_fit, forecast.devices), (3, 4));
    assert!(forecast.memory[0].starts_with("resident on 2 gpu devices: 37."), "{:?}", forecast.memory);
    assert!(forecast.memory[1].starts_with("streamed on 1 gpu devices: 3.9 GiB"), "{:?}", forecast.memory);
    assert_eq!((forecast.warning, forecast.split.len()), (None, 0));
}

#[test]
fn a_worker_of_two_kinds_renders_on_the_faster_and_mixes_no_gang() {
    let mut house = House::new();
    house.join_mixed("ws", &[("cpu", 128), ("cuda", 80), ("cuda", 80)]);
    house.submit(&default_clips(1));
    assert_eq!(house.one_started().device.index, 1, "though the processor has more memory and comes first");
    let mut house = House::new();
    house.join_mixed("ws", &[("cpu", 128), ("cuda", 80), ("cuda", 80)]);
    house.submit(&clips(1, "resources: {ranks: 2, split: tensor}\n    params: {num_frames: 121}"));
    let started = house.take_started();
    assert_eq!(seats(&started), [("ws:1".to_owned(), 1), ("ws:2".to_owned(), 1)]);
    let mut house = House::new();
    house.join_mixed("ws", &[("cpu", 128), ("cuda", 80)]);
    let job = house.submit(&clips(1, "resources: {ranks: 2, split: tensor}\n    params: {num_frames: 121}"));
    assert!(house.take_started().is_empty(), "one of each is no gang");
    assert!(house.farm.warnings(&job)[0].contains("waits"), "{:?}", house.farm.warnings(&job));
}

#[test]
fn a_model_that_measured_more_than_was_estimated_is_placed_by_that() {
    let mut house = House::new();
    house.submit(&default_clips(3));
    house.join_cards("a", &[40]);
    let first = house.one_started();
    assert_eq!(first.residency, Residency::Resident);
    house.saves_having_held(&first, 45 << 30);
    house.publishes();
    assert_eq!(house.one_started().residency, Residency::Sequential, "as it would not fit 40 GiB");
}

#[test]
fn an_attempt_that_ran_out_of_memory_is_followed_by_a_leaner_one() {
    let mut house = House::new();
    let job = house.submit(&default_clips(1));
    house.join_cards("a", &[40]);
    for (residency, next) in [(Residency::Resident, "sequential"), (Residency::Sequential, "streamed")] {
        let start = house.one_started();
        assert_eq!(start.residency, residency);
        house.fails(&start, Cause::OomDevice);
        let task = house.task(&job, 0, 0);
        let words = &task.attempts.last().expect("it failed").failure.as_ref().expect("a failure").message;
        println!("{words}");
        assert!(words.contains(&format!("it is tried {next} on devices of this size")), "{words}");
        house.wait_ms(5_000);
    }
    assert_eq!(house.one_started().residency, Residency::Streamed);
}

#[test]
fn where_two_devices_are_better_the_farm_splits_and_stays_with_it() {
    let mut house = House::new();
    let job = house.submit(&default_clips(1));
    house.join_cards("ws", &[24, 24]);
    let started = house.take_started();
    assert_eq!(seats(&started), [("ws:0".to_owned(), 1), ("ws:1".to_owned(), 1)]);
    assert!(started.iter().all(|start| start.mode == Mode::Tensor && start.residency == Residency::Resident));
    let tensor = Some(Seating { ranks: 2, mode: Mode::Tensor });
    let seating = |house: &House| house.farm.job(&job).expect("it is there").layers[0].seating;
    assert_eq!(seating(&house), tensor);
    // After a restart, and although one device would do now: bytes depend on it.
    house.restarts();
    assert_eq!(seating(&house), tensor);
    house.join_cards("rack", &[80]);
    house.wait_ms(20_000);
    assert!(house.take_started().is_empty(), "two devices are not there");
    house.join_cards("ws", &[24, 24]);
    house.wait_ms(5_000);
    let again = house.take_started();
    assert_eq!(
        again.iter().map(|start| (start.mode, start.ranks)).collect::<Vec<_>>(),
        [(Mode::Tensor, 2); 2]
    );
}

/// A job whose layer was seated by the farm, as a coordinator of format 1 left it.
#[test]
fn a_stored_seating_is_read() {
    let text = include_str!("../fixtures/state-1-seated.json");
    let stored: std::collections::BTreeMap<String, serde_json::Value> =
        serde_json::from_str(text).expect("a fixture is JSON");
    let records: Vec<(String, Vec<u8>)> =
        stored.into_iter().map(|(key, value)| (key, value.to_string().into_bytes())).collect();
    let farm = Farm::recover(Config::default(), 1, Time(2_000_000), &records).expect("format 1");
    assert_eq!(farm.jobs()[0].layers[0].seating, Some(Seating { ranks: 2, mode: Mode::Tensor }));
}

/// `CROFT_WRITE_FIXTURE=PATH cargo test -p croft-core --test farm seated`.
#[test]
fn a_seated_fixture_is_written_when_asked_for() {
    let mut house = House::new();
    house.submit(&default_clips(1));
    house.join_cards("ws", &[24, 24]);
    let records: std::collections::BTreeMap<String, serde_json::Value> = house
        .records()
        .into_iter()
        .map(|(key, value)| (key, serde_json::from_slice(&value).expect("JSON")))
        .collect();
    assert_eq!(records["jobs/shots"]["seatings"][0]["ranks"], 2);
    if let Ok(path) = std::env::var("CROFT_WRITE_FIXTURE") {
        let text = serde_json::to_string_pretty(&records).expect("JSON");
        std::fs::write(path, text + "\n").expect("the fixture is written");
    }
}

#[test]
fn what_one_device_holds_whole_is_not_split_unless_it_is_asked_for() {
    let ranks = |keys: &str, tasks| {
        let mut house = House::new();
        house.submit(&clips(tasks, keys));
        house.join_cards("rack", &[80, 80]);
        let started = house.take_started();
        (started.len(), started[0].ranks, started[0].mode)
    };
    assert_eq!(ranks("params: {steps: 8}", 1), (1, 1, Mode::Tensor));
    assert_eq!(ranks("resources: {split: layers}", 1), (1, 1, Mode::Tensor));
    assert_eq!(ranks("resources: {ranks: auto}", 1), (2, 2, Mode::Guidance), "the other device stands idle");
    assert_eq!(ranks("resources: {ranks: auto}", 9).1, 1);
    assert_eq!(
        ranks("resources: {ranks: 2, split: layers}", 9),
        (4, 2, Mode::Layers),
        "two in flight on each pair"
    );
}

#[test]
fn a_split_over_a_slow_network_is_had_by_name_alone() {
    let mode = |keys: &str| {
        let mut house = House::new();
        house.submit(&clips(1, keys));
        house.ticking = false;
        house.join_cards("a", &[24]);
        house.join_cards("b", &[24]);
        house.ticks();
        house.take_started()[0].mode
    };
    assert_eq!(mode("params: {steps: 8}"), Mode::Layers);
    assert_eq!(mode("resources: {ranks: 2, split: tensor}"), Mode::Tensor);
}

#[test]
fn unequal_devices_take_unequal_shares_and_each_fits() {
    let mut house = House::new();
    house.submit(&clips(1, "resources: {ranks: 2, split: tensor}"));
    house.ticking = false;
    house.join_cards("a-small", &[12]);
    house.join_cards("b-large", &[36]);
    house.ticks();
    let started = house.take_started();
    assert_eq!(seats(&started), [("b-large:0".to_owned(), 24), ("a-small:0".to_owned(), 8)]);
    let shot =
        Shot { width: 768, height: 512, frames: 121, is_guided: true, text_tokens: 128, is_tiled: false };
    for (start, gib) in started.iter().zip([36, 12]) {
        let part = Part { mode: start.mode, rank: start.rank as usize, shares: &start.shares, clips: 1 };
        let need = large().need(&shot, &part, start.residency, Kind::Gpu).total();
        assert!(need <= gib << 30, "rank {} needs {need}", start.rank);
    }
}

#[test]
fn a_gang_passes_devices_that_are_too_small_together() {
    let mut house = House::new();
    house.submit(&clips(1, "resources: {ranks: 2, split: tensor}"));
    house.ticking = false;
    house.join_cards("tiny", &[1, 1, 1]);
    house.join_cards("b", &[24]);
    house.join_cards("c", &[24]);
    house.ticks();
    assert_eq!(seats(&house.take_started()), [("b:0".to_owned(), 1), ("c:0".to_owned(), 1)]);
}
