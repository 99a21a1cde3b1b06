//! Text states, noise levels and short draws against diffusers and torch.

use super::golden;
use crate::files::Files;
use crate::models::text::{T5, T5Config};
use crate::models::transformers::ltx::{Grid, Rope};
use crate::noise::Generator;
use crate::parallel::{Group, Split};
use crate::schedulers::FlowMatchEuler;
use crate::settings::Settings;
use crate::weights::Source;

fn difference(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    let largest = theirs.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    ours.iter().zip(theirs).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs())) / largest
}

fn reference(name: &str, tensor: &str) -> Vec<u8> {
    let bytes = std::fs::read(golden(name).join("golden.safetensors")).unwrap();
    safetensors::SafeTensors::deserialize(&bytes).unwrap().tensor(tensor).unwrap().data().to_vec()
}

/// The turns of LTX-Video 2B at 704x512 and 161 frames, for four of its tokens. The frequencies are powers that each
/// library rounds as it likes; one rounding of the highest is a thousandth of a radian.
#[test]
fn turns_of_the_published_size_follow_diffusers() {
    let bytes = std::fs::read(golden("rope/ltx_2b.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let rope = Rope::new(Grid { size: [21, 16, 22], step: [8.0 / 25.0, 32.0, 32.0] }, 2048).unwrap();
    for (name, ours) in [("cos", rope.cos()), ("sin", rope.sin())] {
        let theirs = floats(file.tensor(name).unwrap().data());
        let picked =
            [0, 1, 7391, 3333].into_iter().flat_map(|t| (0..1024).map(move |i| ours[t * 2048 + 2 * i]));
        let picked: Vec<f32> = picked.collect();
        let off = difference(&picked, &theirs);
        let other = picked.iter().zip(&theirs).filter(|(a, b)| (*a - *b).abs() > 1e-5).count();
        println!("{name}: {off:.2e}, {other} of {} beyond 1e-5", picked.len());
        assert!(off <= 2e-3, "{name}: {off}");
        assert!(other * 50 < picked.len(), "{name}: {other} of {} beyond 1e-5", picked.len());
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

#[test]
fn text_states_follow_transformers() {
    for name in ["ltx", "ltx095"] {
        let files = Files::Folder(golden(name).join("pipe"));
        let config = T5Config::read(&Settings::read(&files, "text_encoder/config.json").unwrap()).unwrap();
        let mut source = Source::open(&files, "text_encoder/model").unwrap();
        let t5 = T5::load(config, &mut source, &Split::whole()).unwrap();
        source.finish().unwrap();
        for i in 0..2 {
            let ids = reference(name, &format!("text_encoder.0{i}.in.input_ids"));
            let ids: Vec<u32> =
                ids.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b) as u32).collect();
            let theirs = floats(&reference(name, &format!("text_encoder.0{i}.out.last_hidden_state")));
            let off = difference(&t5.encode(&ids, &mut Group::solo()).unwrap(), &theirs);
            println!("{name} text {i}: {off:.2e}");
            assert!(off <= 2e-5, "{name} {i}: {off}");
        }
    }
}

#[test]
fn noise_levels_follow_diffusers() {
    for (name, tokens) in [("ltx", 192), ("ltx095", 18)] {
        let files = Files::Folder(golden(name).join("pipe"));
        let settings = Settings::read(&files, "scheduler/scheduler_config.json").unwrap();
        let levels = FlowMatchEuler::read(&settings).unwrap().levels(3, tokens);
        for (ours, tensor) in [(&levels.sigmas, "sigmas"), (&levels.timesteps, "timesteps")] {
            let off = difference(ours, &floats(&reference(name, &format!("scheduler.{tensor}"))));
            println!("{name} {tensor}: {off:.2e}");
            assert!(off <= 1e-6, "{name} {tensor}: {off}");
        }
    }
}

#[test]
fn longer_and_unshifted_schedules_follow_diffusers() {
    let read = |json| FlowMatchEuler::read(&Settings::new("scheduler_config.json", json).unwrap()).unwrap();
    let dynamic = read(serde_json::json!({
        "use_dynamic_shifting": true, "base_shift": 0.95, "max_shift": 2.05,
        "base_image_seq_len": 1024, "max_image_seq_len": 4096, "shift_terminal": 0.1,
    }));
    let seven = [1.0, 0.944_482, 0.872_959_9, 0.777_348_4, 0.643_012_2, 0.440_450_97, 0.100_000_02, 0.0];
    assert!(difference(&dynamic.levels(7, 2640).sigmas, &seven) <= 1e-6);
    let fixed = read(serde_json::json!({ "shift": 5.0 }));
    assert!(difference(&fixed.levels(4, 1).sigmas, &[1.0, 0.9375, 0.833_333_3, 0.625, 0.0]) <= 1e-6);
    assert_eq!(dynamic.levels(1, 2640).sigmas, [1.0, 0.0]);
}

#[test]
fn draws_of_any_length_are_those_of_torch() {
    let mut generator = Generator::new(42);
    let short = [0.336_690_37, 0.128_809_4, 0.234_462_37, 0.230_333_03, -1.122_856_4];
    assert!(difference(&generator.normal(5), &short) <= 1e-6);
    let next = generator.normal(17);
    let theirs = [-0.248_257_5, 0.318_880_32, -1.274_151_2];
    assert!(difference(&[next[0], next[8], next[16]], &theirs) <= 1e-6, "{next:?}");
    // Only the low 32 bits of a seed count.
    let many = Generator::new((1 << 40) + 3).normal(100);
    let ours = [0, 1, 8, 95, 96, 99].map(|i| many[i]);
    let theirs = [-0.076_644_3, 0.359_881_52, -0.051_680_963, -0.885_262_7, 1.165_813_8, 0.404_204_8];
    assert!(difference(&ours, &theirs) <= 1e-6, "{ours:?}");
}
