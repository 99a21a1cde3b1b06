//! `builtin://shapes` shows what it is asked for: 72 prompts, two takes each, judged from the pixels alone.
//!
//! Small slips of the engine (a wrong RoPE scale, a mask in T5, guidance on the wrong side) lose motion, shape or
//! colour long before a picture looks broken; this is the test that sees them from outside.

mod shapes;

use croft_engine::pipelines::{Clip, Pipeline};
use croft_engine::progress::Observer;
use croft_engine::request::{Params, Request};
use rayon::prelude::*;
use shapes::Sight;
use shapes::judge::judge;
use shapes::outline::{Drawn, SHAPES};

const MODEL: &str = "builtin://shapes";
const PROMPTS: &str = include_str!("../assets/shapes/prompts.txt");
const TAKES: u64 = 2;
/// Share of right answers to each of the four questions.
const PASS: f64 = 0.95;
/// Clips rendered before they are judged; it bounds the memory.
const BATCH: usize = 12;

struct Unwatched;

impl Observer for Unwatched {}

#[derive(Default)]
struct Score {
    clips: u32,
    right: [u32; 4],
    all: u32,
    shape_error: f64,
}

impl Score {
    fn add(&mut self, asked: &Sight, seen: &Sight, shape_error: f32) {
        let hits = [
            asked.colour == seen.colour,
            asked.background == seen.background,
            asked.motion == seen.motion,
            asked.shape == seen.shape,
        ];
        self.clips += 1;
        self.all += u32::from(hits.iter().all(|&hit| hit));
        self.shape_error += f64::from(shape_error.min(9.0));
        for (sum, hit) in self.right.iter_mut().zip(hits) {
            *sum += u32::from(hit);
        }
    }

    fn shares(&self) -> [f64; 4] {
        self.right.map(|right| f64::from(right) / f64::from(self.clips))
    }
}

#[test]
fn the_built_in_model_shows_what_it_is_asked_for() {
    let pipeline = Pipeline::load(MODEL).expect("the built-in model loads");
    println!("take  colour  background  motion  shape  all four  shape error");
    let mut scores = Vec::new();
    for take in 0..TAKES {
        let mut score = Score::default();
        for (batch, prompts) in PROMPTS.lines().collect::<Vec<_>>().chunks(BATCH).enumerate() {
            let clips: Vec<Clip> = prompts
                .iter()
                .enumerate()
                .map(|(at, prompt)| render(&pipeline, prompt, 1000 * take + (batch * BATCH + at) as u64))
                .collect();
            let sights: Vec<(Sight, f32)> = clips.par_iter().map(judge).collect();
            for (prompt, (seen, error)) in prompts.iter().zip(&sights) {
                let asked = Sight::asked_by(prompt);
                if asked != *seen {
                    println!("      {prompt}: {seen:?}");
                }
                score.add(&asked, seen, *error);
            }
        }
        let [colour, background, motion, shape] = score.shares();
        let clips = f64::from(score.clips);
        let (all, error) = (f64::from(score.all) / clips, score.shape_error / clips);
        println!(
            "{take:4}  {colour:6.3}  {background:10.3}  {motion:6.3}  {shape:5.3}  {all:8.3}  {error:11.3}"
        );
        scores.push(score);
    }
    for score in &scores {
        assert!(score.shares().iter().all(|&share| share >= PASS), "right answers: {:?}", score.shares());
    }
}

fn render(pipeline: &Pipeline, prompt: &str, seed: u64) -> Clip {
    let request = Request::from_params(pipeline.card(), prompt, "", seed, &Params::new()).expect("a request");
    pipeline.render(&request, &mut Unwatched).expect("a clip")
}

/// The judge would be worth nothing if it could not tell true clips apart.
#[test]
fn the_judge_reads_drawn_clips_rightly() {
    for (number, prompt) in PROMPTS.lines().enumerate() {
        let asked = Sight::asked_by(prompt);
        let (seen, error) = judge(&draw(&asked, number));
        assert_eq!(asked, seen, "{prompt}");
        assert!(error < 0.1, "{prompt}: {error}");
    }
}

/// A clip as the training data has it: what `sight` says, drawn by hand.
fn draw(sight: &Sight, number: usize) -> Clip {
    const SIZE: usize = 96;
    const FRAMES: usize = 17;
    let look = |name: &str| shapes::COLOURS.iter().find(|c| c.0 == name).expect("a colour").1;
    let (colour, behind) = (
        look(sight.colour),
        shapes::BACKGROUNDS.iter().find(|b| b.0 == sight.background).expect("a background").1,
    );
    let distance = SHAPES.iter().find(|s| s.0 == sight.shape).expect("a shape").1;
    let frame = |t: usize| {
        let u = t as f32 / (FRAMES - 1) as f32;
        let along = 30.0 * (u - 0.5);
        let (dx, dy, scale) = match sight.motion {
            "left" => (-along, 0.0, 1.0),
            "right" => (along, 0.0, 1.0),
            "up" => (0.0, -along, 1.0),
            "down" => (0.0, along, 1.0),
            "growing" => (0.0, 0.0, 0.55 + 0.7 * u),
            "shrinking" => (0.0, 0.0, 1.25 - 0.7 * u),
            _ => (0.0, 0.0, 1.0),
        };
        let nudge = (number % 7) as f32 - 3.0;
        let drawn = Drawn { distance, x: 48.0 + nudge + dx, y: 48.0 - nudge + dy, r: 16.0 * scale };
        let mut pixels = Vec::with_capacity(SIZE * SIZE * 3);
        for row in 0..SIZE {
            let down = row as f32 / (SIZE - 1) as f32;
            for column in 0..SIZE {
                let a = drawn.coverage(column, row);
                for channel in 0..3 {
                    let ground = behind[channel] + (behind[channel + 3] - behind[channel]) * down;
                    pixels.push(ground + (colour[channel] - ground) * a);
                }
            }
        }
        pixels
    };
    Clip {
        width: 96,
        height: 96,
        fps: 25.0,
        frames: (0..FRAMES).map(frame).collect(),
        times: Default::default(),
    }
}
