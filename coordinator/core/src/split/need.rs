//! What a clip needs on a device, before it runs: bytes for the weights and for working memory, operations, bytes moved.
//!
//! The estimate follows what the engine does: all parts stay resident, the stream and its projections are whole on every
//! rank, and rank 0 decodes the clip as a whole. It is an upper bound for the device that needs most, rank 0's.

use super::{Mode, Shape};
use crate::model_card::{ParamValue, Params};

/// Numbers of the stream and of what is made of it that are held at once: two of the stream, queries, keys, values.
const STREAMS: u64 = 5;
/// Of the decoder's last stage: what goes in, its padded form, what comes out.
const STAGES: u64 = 3;
/// The clip itself, as numbers and as they are handed on: three colours each.
const FRAMES: u64 = 9;
/// Rows of the feed-forward layer's hidden form that are held at once; it is four times as wide as the stream.
const FEED_ROWS: u64 = 1_536;
/// Of pictures, and of sines and cosines, whatever the weights are.
const F32_BYTES: u64 = 4;
/// The process, its libraries and buffers of the connections.
const RESERVE: u64 = 512 << 20;

/// What a request asks for, as far as memory and arithmetic depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shot {
    pub width: u32,
    pub height: u32,
    pub frames: u32,
    /// Whether a step has two branches.
    pub is_guided: bool,
    pub text_tokens: u32,
}

impl Shot {
    /// Of a task's parameters; `None` where one is not set or varies from task to task.
    #[must_use]
    pub fn of(params: &Params) -> Option<Self> {
        let number = |name: &str| match params.get(name) {
            Some(ParamValue::Number(number)) => Some(*number),
            Some(ParamValue::Flag(_) | ParamValue::Text(_)) | None => None,
        };
        let Some(ParamValue::Text(size)) = params.get("size") else { return None };
        let (width, height) = size.split_once('x')?;
        Some(Self {
            width: width.parse().ok()?,
            height: height.parse().ok()?,
            frames: number("num_frames")? as u32,
            is_guided: number("guidance").is_some_and(|guidance| guidance > 1.0),
            text_tokens: number("max_sequence_length").unwrap_or(128.0) as u32,
        })
    }

    pub(super) fn branches(&self) -> u64 {
        if self.is_guided { 2 } else { 1 }
    }

    fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height) * u64::from(self.frames)
    }
}

/// Bytes on one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    pub weights: u64,
    /// While steps are taken, and while the clip is decoded.
    pub denoise: u64,
    pub decode: u64,
    pub reserve: u64,
}

impl Need {
    #[must_use]
    pub fn total(&self) -> u64 {
        self.weights + self.denoise.max(self.decode) + self.reserve
    }
}

impl Shape {
    /// Tokens of a clip.
    #[must_use]
    pub fn tokens(&self, shot: &Shot) -> u64 {
        let frames = shot.frames.div_ceil(self.frames_per_latent.max(1));
        let side = |pixels: u32| u64::from(pixels.div_ceil(self.pixels_per_latent.max(1)));
        u64::from(frames) * side(shot.height) * side(shot.width)
    }

    /// What rank 0 of `ranks` needs.
    #[must_use]
    pub fn need(&self, shot: &Shot, mode: Mode, ranks: u32, number_bytes: u64) -> Need {
        let n = u64::from(ranks.max(1));
        let layers = u64::from(self.layers.max(1));
        let (own, heads) = match mode {
            // The largest share, where the heads do not divide.
            Mode::Tensor => {
                let heads = u64::from(self.heads.max(1));
                (self.blocks * heads.div_ceil(n) / heads, n)
            }
            Mode::Layers => (self.blocks / layers * layers.div_ceil(n), 1),
            Mode::Guidance => (self.blocks, 1),
        };
        let text_heads = u64::from(self.text_heads.max(1));
        let text = self.text * text_heads.div_ceil(n) / text_heads;
        let weights = (text + own + self.rest + self.decoder) * number_bytes;
        let (tokens, width) = (self.tokens(shot), u64::from(self.width));
        let together = if mode == Mode::Tensor || n == 1 { shot.branches() } else { 1 };
        let streams = STREAMS * together * tokens * width;
        let feed = FEED_ROWS.min(together * tokens) * 4 * width / heads;
        let turns = 2 * tokens * width / heads;
        let layers_here = if mode == Mode::Layers { layers.div_ceil(n) } else { layers };
        let text_keys = 2 * layers_here * shot.branches() * u64::from(shot.text_tokens) * width / heads;
        let decoded = STAGES * u64::from(self.decoded_per_pixel) * number_bytes + FRAMES * F32_BYTES;
        Need {
            weights,
            denoise: (streams + feed + text_keys) * number_bytes + turns * F32_BYTES,
            decode: shot.pixels() * decoded,
            reserve: RESERVE,
        }
    }

    /// Floating-point operations of one branch of one step.
    #[must_use]
    pub fn operations(&self, shot: &Shot) -> f64 {
        let (tokens, width, layers) =
            (self.tokens(shot) as f64, f64::from(self.width), f64::from(self.layers));
        let linear = 2.0 * (self.blocks + self.rest) as f64 * tokens;
        let attention = 4.0 * tokens * (tokens + f64::from(shot.text_tokens)) * width * layers;
        linear + attention
    }
}
