//! The same prompt, noise and levels as diffusers must give the same stream after each block, the same latents after
//! each step and the same frames.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use common::{golden, model, request};
use croft_engine::pipelines::{Noise, Pipeline};
use croft_engine::progress::Observer;
use croft_engine::request::Request;
use safetensors::SafeTensors;

/// The tensors that diffusers left behind.
struct Reference(Vec<u8>);

impl Reference {
    fn open(name: &str) -> Self {
        Self(std::fs::read(golden(name).join("golden.safetensors")).unwrap())
    }

    fn values(&self, tensor: &str) -> Vec<f32> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let data = file.tensor(tensor).unwrap_or_else(|e| panic!("{tensor}: {e}")).data().to_vec();
        data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }
}

/// The largest difference as a share of the largest value.
fn difference(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len(), "as many values");
    let largest = theirs.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    ours.iter().zip(theirs).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs())) / largest
}

/// Keeps what passes by.
#[derive(Default)]
struct Tape {
    blocks: Vec<Vec<f32>>,
    latents: Vec<Vec<f32>>,
}

impl Observer for Tape {
    fn looks_at_blocks(&self) -> bool {
        true
    }

    fn block(&mut self, _block: usize, stream: &[f32]) {
        self.blocks.push(stream.to_vec());
    }

    fn latents(&mut self, _step: u32, latents: &[f32]) {
        self.latents.push(latents.to_vec());
    }
}

fn follows_diffusers(name: &str) {
    let reference = Reference::open(name);
    let request = request(name);
    let decode_noise = (name == "ltx095").then(|| reference.values("noise.01"));
    let pipeline = Pipeline::load(&model(name)).unwrap();
    let mut tape = Tape::default();
    let noise = Noise { latents: reference.values("noise.00"), decode: decode_noise };
    let clip = pipeline.render_from(&request, noise, &mut tape).unwrap();

    for (i, stream) in tape.blocks.iter().enumerate() {
        let (step, block) = (i / 2, i % 2);
        let theirs = reference.values(&format!("transformer.transformer_blocks.{block}.{step:02}.out"));
        let off = difference(stream, &theirs);
        println!("{name} step {step} block {block}: {off:.2e}");
        assert!(off <= 2e-5, "step {step} block {block}: {off}");
    }
    assert_eq!(tape.latents.len(), 3);
    for (step, latents) in tape.latents.iter().enumerate() {
        let off = difference(latents, &reference.values(&format!("step.{step:02}.latents")));
        println!("{name} step {step} latents: {off:.2e}");
        assert!(off <= 2e-5, "step {step}: {off}");
    }

    let (width, height, frames) =
        (request.width as usize, request.height as usize, request.num_frames as usize);
    let decoded = reference.values("vae.decoder.00.out");
    assert_eq!(clip.frames.len(), frames);
    let mut off = 0.0_f32;
    for (f, frame) in clip.frames.iter().enumerate() {
        assert_eq!(frame.len(), width * height * 3);
        for (i, value) in frame.iter().enumerate() {
            let (pixel, channel) = (i / 3, i % 3);
            let theirs = decoded[(channel * frames + f) * width * height + pixel] / 2.0 + 0.5;
            off = off.max((value - theirs.clamp(0.0, 1.0)).abs());
        }
    }
    println!("{name} frames: {off:.2e}");
    assert!(off <= 5e-4, "frames: {off}");
}

#[test]
fn the_first_autoencoder_follows_diffusers() {
    follows_diffusers("ltx");
}

#[test]
fn the_autoencoder_with_timesteps_follows_diffusers() {
    follows_diffusers("ltx095");
}

#[test]
fn a_seed_gives_the_noise_that_torch_gives() {
    for name in ["ltx", "ltx095"] {
        let reference = Reference::open(name);
        let pipeline = Pipeline::load(&model(name)).unwrap();
        let noise = pipeline.noise(&request(name));
        let mut drawn = vec![("noise.00", noise.latents)];
        drawn.extend(noise.decode.map(|values| ("noise.01", values)));
        for (tensor, ours) in drawn {
            let off = difference(&ours, &reference.values(tensor));
            println!("{name} {tensor}: {off:.2e}");
            assert!(off <= 1e-6, "{name} {tensor}: {off}");
        }
    }
}

#[test]
fn a_second_render_of_a_seed_is_the_same_clip() {
    let pipeline = Pipeline::load(&model("ltx")).unwrap();
    let first = pipeline.render(&request("ltx"), &mut ()).unwrap();
    let second = pipeline.render(&request("ltx"), &mut ()).unwrap();
    assert_eq!(first.frames, second.frames);
}

#[test]
fn guiding_away_from_the_prompt_itself_changes_nothing() {
    let pipeline = Pipeline::load(&model("ltx")).unwrap();
    let last_latents = |guidance, negative_prompt: &str| {
        let mut tape = Tape::default();
        let request = Request { guidance, negative_prompt: negative_prompt.into(), ..request("ltx") };
        pipeline.render(&request, &mut tape).unwrap();
        tape.latents.pop().unwrap()
    };
    let alone = last_latents(1.0, "blurry");
    let prompt = request("ltx").prompt;
    assert!(difference(&last_latents(4.0, &prompt), &alone) <= 1e-6);
    assert!(difference(&last_latents(4.0, "blurry"), &alone) > 1e-3, "another prompt does matter");
}

#[test]
fn a_clip_does_not_depend_on_the_number_of_threads() {
    let render = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let clip =
            pool.install(|| Pipeline::load(&model("ltx095")).unwrap().render(&request("ltx095"), &mut ()));
        clip.unwrap().frames
    };
    let one = render(1);
    for threads in [2, 5] {
        assert_eq!(one, render(threads), "{threads} threads");
    }
}
