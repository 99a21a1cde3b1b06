//! From a request to a clip: encode, denoise, decode. Each stage is a file; the order is in `ltx`.

mod decode;
mod denoise;
mod encode;
mod heap;
pub(crate) mod load;
mod ltx;
mod networks;
mod parts;
mod spiece;

#[doc(hidden)]
pub use encode::tokens;
pub use ltx::{Halfway, Noise, Pipeline};
pub use parts::{Held, MostHeld};

/// A rendered clip.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    pub width: u32,
    pub height: u32,
    pub fps: f64,
    /// Frame by frame, each `(height, width, 3)` from 0 to 1.
    pub frames: Vec<Vec<f32>>,
    pub times: Times,
}

/// How long each stage took, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Times {
    /// Reading parts that were not in memory when their stage began; the other times are without it.
    pub load_ms: f64,
    pub encode_ms: f64,
    pub denoise_ms: f64,
    pub decode_ms: f64,
}
