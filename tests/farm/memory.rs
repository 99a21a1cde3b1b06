//! What a clip is said to need is what its rank holds, and what nobody has is waited for.

use std::path::Path;

use croft_core::split::{Kind, Mode, Part, Residency, Shot};
use serde_json::Value;

use crate::{
    gangs::{clip, farthest, sidecar},
    house::{Coordinator, croft, ends, files, shapes_with},
    middle,
};

/// An estimate that is further above what is measured keeps devices from work that they could do.
const TOO_HIGH: f64 = 2.0;
const PROMPT: &str = "a red circle moving right on a gray background";

/// Renders one clip and gives the most memory that its rank held, and what it was estimated to need.
#[allow(clippy::print_stdout, reason = "figures of a table")]
fn measured(model: &str, (width, height): (u32, u32), frames: u32, out: &Path) -> (u64, u64) {
    let size = format!("{width}x{height}");
    let number = frames.to_string();
    let words = ["render", "--model", model, "--prompt", PROMPT, "--steps", "2", "--seed", "1"];
    ends(croft(&words).args(["--size", &size, "--num-frames", &number]).arg("-o").arg(out), 0);
    let sidecar = files(out).into_iter().find(|(name, _)| name.ends_with(".json")).expect("a sidecar").1;
    let sidecar: Value = serde_json::from_slice(&sidecar).expect("JSON");
    let peak = sidecar["times"]["peak_memory_bytes"].as_u64().expect("a number");
    let shape = croft_coordinator::registry::card(model).expect("a model").shape.expect("a transformer");
    let shot = Shot { width, height, frames, is_guided: true, text_tokens: 128, is_tiled: false };
    let need = shape.need(&shot, &Part::WHOLE, Residency::Resident, Kind::Cpu);
    println!(
        "{model} {size}x{frames}: held {:.1} MiB, estimated {} = {:.2} times as much",
        peak as f64 / f64::from(1 << 20),
        need.words(),
        need.total() as f64 / peak as f64
    );
    (peak, need.total())
}

#[test]
fn what_a_rank_holds_is_no_more_than_was_estimated_and_not_far_from_it() {
    let root = tempfile::tempdir().expect("scratch");
    let made = root.path().join("model");
    middle::make(&made);
    let middle = made.to_str().expect("text");
    let cases = [
        ("builtin://shapes", (96, 96), 17),
        ("builtin://shapes", (256, 256), 49),
        (middle, (256, 256), 25),
        (middle, (512, 320), 25),
    ];
    let mut found = Vec::new();
    for (number, (model, size, frames)) in cases.into_iter().enumerate() {
        found.push((size, frames, measured(model, size, frames, &root.path().join(number.to_string()))));
    }
    for (size, frames, (held, estimated)) in found {
        assert!(held <= estimated, "{size:?} x {frames}: held {held}, estimated {estimated}");
        assert!((estimated as f64) < TOO_HIGH * held as f64, "{size:?} x {frames}: {estimated} for {held}");
    }
}

fn needs(mode: Mode, rank: usize, shares: &[u32], residency: Residency) -> u64 {
    let shape =
        croft_coordinator::registry::card("builtin://shapes").expect("ours").shape.expect("a transformer");
    let shot = Shot { width: 96, height: 96, frames: 17, is_guided: true, text_tokens: 128, is_tiled: false };
    shape.need(&shot, &Part { mode, rank, shares, clips: 1 }, residency, Kind::Cpu).total()
}

/// A worker with one device that offers so much.
fn worker_offering(house: &mut Coordinator, name: &str, bytes: u64) {
    let gib = bytes as f64 / f64::from(1 << 30);
    house.worker_with(name, |mut command| {
        command.args(["--device-memory", &gib.to_string()]);
        command
    });
}

#[test]
fn what_fits_no_device_is_said_and_waits_for_a_larger_one() {
    let mut house = Coordinator::start();
    let least = needs(Mode::Tensor, 0, &[1], Residency::Streamed);
    worker_offering(&mut house, "small", least / 2);
    house.until_workers(1);
    let spec = shapes_with(house.dir.path(), "clips", 1, "params: {steps: 2}");
    let said = ends(house.client(&["submit"]).arg(&spec), 0);
    let warning = String::from_utf8_lossy(&said.stderr).into_owned();
    println!("{warning}");
    assert!(warning.contains("fits 0 of 1 devices that are here"), "{warning}");
    let job = String::from_utf8(said.stdout).expect("text").trim().to_owned();
    let why = String::from_utf8(ends(&mut house.client(&["why", &job]), 0).stdout).expect("text");
    println!("{why}");
    for words in ["NO_FIT", "even streamed", "denoise", "small (too little memory"] {
        assert!(why.contains(words), "{words}: {why}");
    }
    let plan = ends(house.client(&["plan"]).arg(&spec), 0);
    let plan = String::from_utf8(plan.stdout).expect("text");
    assert!(plan.contains("fits 0 of 1 devices"), "{plan}");
    worker_offering(&mut house, "large", 2 * needs(Mode::Tensor, 0, &[1], Residency::Resident));
    assert_eq!(house.watch(&job).end(), Some(0));
    assert_eq!(sidecar(&house.store(), "clips")["worker"], "large");
    let plan = String::from_utf8(ends(house.client(&["plan"]).arg(&spec), 0).stdout).expect("text");
    println!("{plan}");
    assert!(plan.contains("fits 1 of 2 devices") && plan.contains("resident on 1 cpu devices"), "{plan}");
}

#[test]
fn devices_of_three_to_one_share_the_heads_and_make_the_clip_of_one() {
    let mut house = Coordinator::start();
    let spec = |house: &Coordinator, folder: &str, keys: &str| {
        shapes_with(house.dir.path(), folder, 1, &format!("params: {{steps: 20}}{keys}"))
    };
    // Two of three heads fit the smaller device in no way that is not leaner, one does.
    let half = needs(Mode::Tensor, 1, &[1, 1], Residency::Resident);
    let third = needs(Mode::Tensor, 1, &[2, 1], Residency::Resident);
    let small = third + (half - third) / 2;
    worker_offering(&mut house, "small", small);
    worker_offering(&mut house, "large", 3 * small);
    house.until_workers(2);
    let alone = house.submit(&spec(&house, "alone", ""));
    assert_eq!(house.watch(&alone).end(), Some(0));
    let both = house.submit(&spec(&house, "both", "\n    resources: {ranks: 2, split: tensor}"));
    assert_eq!(house.watch(&both).end(), Some(0));
    let farthest = farthest(&clip(&house.store(), "alone"), &clip(&house.store(), "both"));
    println!("farthest pixel of 2 + 1 heads from one rank: {farthest} of 255");
    assert!(farthest <= 1, "a pixel is {farthest} of 255 off");
    let sidecar = sidecar(&house.store(), "both");
    assert_eq!((&sidecar["shares"], &sidecar["worker"]), (&serde_json::json!([2, 1]), &"large".into()));
}

/// The bound of a CPU device is kept by the system: a rank that asks for more ends, and not the machine.
#[test]
fn a_rank_may_ask_the_system_for_no_more_than_its_owner_offers() {
    const UNUSED_BYTES: u64 = 256 << 20;
    let mut house = Coordinator::start();
    let offered = needs(Mode::Tensor, 0, &[1], Residency::Resident) + (1 << 20);
    worker_offering(&mut house, "bound", offered);
    let job = house.submit(&shapes_with(house.dir.path(), "clips", 1, "params: {steps: 2}"));
    assert_eq!(house.watch(&job).end(), Some(0));
    let rank = house.rank_of("bound");
    let limits = std::fs::read_to_string(format!("/proc/{rank}/limits")).expect("its limits");
    let line = limits.lines().find(|line| line.starts_with("Max data size")).expect("a line");
    let most: u64 = line.split_whitespace().nth(3).and_then(|most| most.parse().ok()).expect("a number");
    assert!(most.abs_diff(offered + UNUSED_BYTES) < 2, "{line}");
}
