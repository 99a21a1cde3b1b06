//! Steps that are kept on the way, so that another rank can go on from them; and going on from those of others.
//!
//! A step is written into the attempt's own folder; getting it to where others find it is the worker's.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use croft_engine::{
    checkpoint::Checkpoint,
    pipelines::Halfway,
    progress::{Observer, Stage},
};
use croft_proto::v1::RankRender;

/// Who hears of a render and of the steps that were kept.
pub(crate) trait Tells: Observer {
    fn kept(&mut self, step: u32, file: &str);

    /// The other ranks reach this one here.
    fn listens(&mut self, address: &str);

    /// Tells that the render waits: for its turn on the device, or for a rank that waits for its own.
    fn waits(&self) -> Box<dyn FnMut() + Send>;

    /// Waits for the addresses of all ranks; `None` when it was cancelled or they did not come in time.
    fn joined(&mut self, wait: Duration) -> Option<Vec<String>>;
}

/// An observer that keeps steps.
pub(crate) struct Keeper<'a> {
    tells: &'a mut dyn Tells,
    folder: PathBuf,
    every: Option<Duration>,
    identity: String,
    attempt: u32,
    kept: Instant,
    /// The step that was kept last, or that it went on from.
    last: u32,
}

impl<'a> Keeper<'a> {
    pub(crate) fn new(tells: &'a mut dyn Tells, render: &RankRender, identity: String, last: u32) -> Self {
        Self {
            tells,
            folder: PathBuf::from(&render.scratch),
            every: (render.checkpoint_ms > 0).then(|| Duration::from_millis(render.checkpoint_ms)),
            identity,
            attempt: render.attempt,
            kept: Instant::now(),
            last,
        }
    }

    fn keep(&mut self, step: u32, latents: &[f32]) {
        let halfway = Halfway { step, latents: latents.to_vec() };
        let checkpoint = Checkpoint { identity: self.identity.clone(), attempt: self.attempt, halfway };
        let file = format!("checkpoint-{step:05}.safetensors");
        let (part, whole) = (self.folder.join("checkpoint.part"), self.folder.join(&file));
        let written = fs::write(&part, checkpoint.to_bytes()).and_then(|()| fs::rename(&part, &whole));
        self.kept = Instant::now();
        match written {
            Ok(()) => {
                self.last = step;
                self.tells.kept(step, &file);
            }
            // The clip is worth more than the way back to its middle.
            Err(error) => tracing::warn!(%error, step, "a step could not be kept"),
        }
    }
}

impl Observer for Keeper<'_> {
    fn stage(&mut self, stage: Stage) {
        self.tells.stage(stage);
    }

    fn step(&mut self, step: u32, steps: u32) {
        self.tells.step(step, steps);
    }

    fn latents(&mut self, step: u32, latents: &[f32]) {
        if self.every.is_some_and(|every| self.kept.elapsed() >= every) {
            self.keep(step, latents);
        }
    }

    fn halted(&mut self, step: u32, latents: &[f32]) {
        if self.every.is_some() && step > self.last {
            self.keep(step, latents);
        }
    }

    fn cancelled(&self) -> bool {
        self.tells.cancelled()
    }
}

/// The first of `files` that is whole and of the render `identity`.
pub(crate) fn newest(files: &[String], identity: &str) -> Option<Checkpoint> {
    files.iter().find_map(|file| {
        let read = fs::read(file).map_err(|error| error.to_string());
        let found = read.and_then(|b| Checkpoint::from_bytes(&b, identity).map_err(|e| e.to_string()));
        found.inspect_err(|why| tracing::warn!(file, why, "not gone on from")).ok()
    })
}
