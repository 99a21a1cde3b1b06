//! What an NVIDIA device renders must be what diffusers rendered, within the rounding of bf16, and within that of f32 where it
//! computes in f32. `deploy/cuda/check` runs it.
#![cfg(feature = "cuda")]
#![allow(clippy::unwrap_used)]

mod common;

use common::{golden, model, request};
use croft_engine::{
    card::card,
    cuda::{Gpu, Precision, measure::row},
    parallel::Split,
    pipelines::{Clip, Noise, Pipeline},
    place::Place,
    progress::Observer,
    request::{Params, Request, Value},
    residency::Residency,
};
use safetensors::SafeTensors;

const BOTH: [(Precision, &str, f64); 2] = [(Precision::Bf16, "bf16", 2e-2), (Precision::F32, "f32", 1e-4)];

/// Keeps what passes by.
#[derive(Default)]
struct Tape {
    looks: bool,
    blocks: Vec<Vec<f32>>,
    latents: Vec<Vec<f32>>,
}

impl Observer for Tape {
    fn looks_at_blocks(&self) -> bool {
        self.looks
    }

    fn block(&mut self, _block: usize, stream: &[f32]) {
        self.blocks.push(stream.to_vec());
    }

    fn latents(&mut self, _step: u32, latents: &[f32]) {
        self.latents.push(latents.to_vec());
    }
}

/// How far `ours` is from `theirs`, as a share of the root mean square of `theirs`.
fn off(ours: &[f32], theirs: &[f32]) -> f64 {
    assert_eq!(ours.len(), theirs.len(), "as many values");
    let (mut off, mut all) = (0.0, 0.0);
    for (a, b) in ours.iter().zip(theirs) {
        off += (f64::from(*a) - f64::from(*b)).powi(2);
        all += f64::from(*b).powi(2);
    }
    (off / all).sqrt()
}

fn load(model: &str, place: &Place, residency: Residency) -> Pipeline {
    Pipeline::load_on(place, model, card(model).unwrap(), &Split::whole(), residency).unwrap()
}

/// Leaves a row and gives it back if it is out of its bound.
fn judge(name: &str, shape: &str, off: f64, bound: f64) -> Option<String> {
    row("parity", name, shape, (off, "rel L2"), Some(&format!("<= {bound}")));
    (off.is_nan() || off > bound).then(|| format!("{name} {shape}: {off}"))
}

#[test]
#[ignore = "needs an NVIDIA device"]
fn the_device_follows_diffusers() {
    let mut wrong = Vec::new();
    for name in ["ltx", "ltx095"] {
        let bytes = std::fs::read(golden(name).join("golden.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let values = |tensor: &str| -> Vec<f32> {
            let data = file.tensor(tensor).unwrap_or_else(|e| panic!("{tensor}: {e}")).data();
            data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
        };
        for (precision, kind, bound) in BOTH {
            let place = Place::Cuda(Gpu::open(0, precision).unwrap());
            let pipeline = load(&model(name), &place, Residency::Resident);
            // With every block shown, and as it is in a render: the last pass is a recorded one.
            let mut clips: Vec<(Tape, Clip)> = Vec::new();
            for looks in [true, false] {
                let mut tape = Tape { looks, ..Tape::default() };
                let noise = Noise {
                    latents: values("noise.00"),
                    decode: (name == "ltx095").then(|| values("noise.01")),
                };
                let clip = pipeline.render_from(&request(name), noise, &mut tape).unwrap();
                clips.push((tape, clip));
            }
            let (shown, clip) = &clips[0];
            assert_eq!(shown.blocks.len(), 6, "two blocks in three steps");
            for (i, stream) in shown.blocks.iter().enumerate() {
                let (step, block) = (i / 2, i % 2);
                let theirs = values(&format!("transformer.transformer_blocks.{block}.{step:02}.out"));
                let shape = format!("{name} step {step} block {block}");
                wrong.extend(judge(&format!("block {kind}"), &shape, off(stream, &theirs), bound));
            }
            for (step, latents) in shown.latents.iter().enumerate() {
                let theirs = values(&format!("step.{step:02}.latents"));
                let shape = format!("{name} step {step}");
                wrong.extend(judge(&format!("latents {kind}"), &shape, off(latents, &theirs), bound));
            }
            assert_eq!(
                shown.latents, clips[1].0.latents,
                "{name} {kind}: a recorded pass gives the same bytes"
            );
            let decoded = values("vae.decoder.00.out");
            let pixels = (request(name).width * request(name).height) as usize;
            let frames = clip.frames.len();
            let theirs: Vec<f32> = (0..decoded.len())
                .map(|i| {
                    let (frame, pixel, channel) = (i / 3 / pixels, i / 3 % pixels, i % 3);
                    (decoded[(channel * frames + frame) * pixels + pixel] / 2.0 + 0.5).clamp(0.0, 1.0)
                })
                .collect();
            wrong.extend(judge(&format!("frames {kind}"), name, off(&clip.frames.concat(), &theirs), bound));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
#[ignore = "needs an NVIDIA device"]
fn the_built_in_model_renders_what_the_processor_renders() {
    let name = "builtin://shapes";
    let params = Params::from([("steps".to_owned(), Value::Number(8.0))]);
    let prompt = "a red circle moving right on a gray background";
    let request = Request::from_params(&card(name).unwrap(), prompt, "", 7, &params).unwrap();
    let cpu = Pipeline::load(name).unwrap().render(&request, &mut ()).unwrap().frames.concat();
    let mut wrong = Vec::new();
    for (precision, kind, bound) in [(Precision::Bf16, "bf16", 0.1), (Precision::F32, "f32", 1e-3)] {
        let place = Place::Cuda(Gpu::open(0, precision).unwrap());
        let render =
            |residency| load(name, &place, residency).render(&request, &mut ()).unwrap().frames.concat();
        let ours = render(Residency::Resident);
        wrong.extend(judge(
            &format!("clip beside the processor's {kind}"),
            "builtin 8 steps",
            off(&ours, &cpu),
            bound,
        ));
        for residency in [Residency::Sequential, Residency::Streamed] {
            assert_eq!(render(residency), ours, "{kind}: {residency:?} gives the same bytes");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
#[ignore = "needs an NVIDIA device"]
fn memory_comes_back_and_what_is_too_large_says_so() {
    let gpu = Gpu::open(0, Precision::Bf16).unwrap();
    let before = gpu.held();
    let place = Place::Cuda(gpu.clone());
    let pipeline = load("builtin://shapes", &place, Residency::Resident);
    assert!(gpu.held() > before, "weights are counted");
    let params = Params::from([
        ("size".to_owned(), Value::Text("2048x2048".into())),
        ("num_frames".to_owned(), Value::Number(1025.0)),
    ]);
    let card = card("builtin://shapes").unwrap();
    if let Ok(request) = Request::from_params(&card, "a red circle", "", 7, &params) {
        let error = pipeline.render(&request, &mut ()).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("not enough memory"), "{said}");
    }
    drop(pipeline);
    assert_eq!(gpu.held(), before, "all of it was given back");
}
