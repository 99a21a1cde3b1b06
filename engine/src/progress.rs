//! How a render tells what it is doing and asks whether it should stop. It keeps nothing and shows nothing.

use std::fmt;

/// The parts of a render, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    Load,
    Encode,
    Denoise,
    Decode,
    Save,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Load => "loading",
            Self::Encode => "encoding the prompt",
            Self::Denoise => "denoising",
            Self::Decode => "decoding",
            Self::Save => "saving",
        })
    }
}

/// Watches a render. Every method has a default, so that a caller names only what it needs.
pub trait Observer {
    /// A stage begins.
    fn stage(&mut self, _stage: Stage) {}

    /// Denoising step `step` of `steps` is done, counted from 1.
    fn step(&mut self, _step: u32, _steps: u32) {}

    /// The latents after a step, `(tokens, channels)`; the same step is announced by `step` next.
    fn latents(&mut self, _step: u32, _latents: &[f32]) {}

    /// The render ends here, with `step` steps done, for it was cancelled or another rank is gone: these latents can be taken
    /// up elsewhere.
    fn halted(&mut self, _step: u32, _latents: &[f32]) {}

    /// Whether it looks at blocks: to show them costs a device a copy each.
    fn looks_at_blocks(&self) -> bool {
        false
    }

    /// The transformer's stream after block `block`, `(branches, tokens, width)`; for comparing with other engines.
    fn block(&mut self, _block: usize, _stream: &[f32]) {}

    /// Asked after each stage and each denoising step; `true` ends the render with `Error::Cancelled`.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Watches nothing.
impl Observer for () {}
