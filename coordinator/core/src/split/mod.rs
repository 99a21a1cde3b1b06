//! Over how many devices, and in which way, a model is split: from its shape, the devices and what lies between them.

mod choose;
mod deal;
mod fleet;
mod need;
mod shot;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use choose::{Choice, Way, Wish, choose};
pub use deal::{Deal, Room};
pub use fleet::{Fleet, Host, Link};
pub use need::{Kind, Need, Part, Phase, Residency};
pub use shot::Shot;
pub(crate) use shot::larger;

/// Branches of the guidance, and so the ranks that can share them.
pub const GUIDANCE_RANKS: u32 = 2;

/// How ranks share a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Tensor parallel: whole heads of every layer, several sums a layer.
    #[default]
    Tensor,
    /// Layer pipeline: layers that follow each other, one activation a cut.
    Layers,
    /// Guidance parallel: the branches of a step on different devices, one velocity a step.
    Guidance,
}

/// Over how many devices a task is rendered, and how they share the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seating {
    pub ranks: u32,
    /// Of no meaning for one.
    pub mode: Mode,
}

impl Seating {
    pub const ALONE: Self = Self { ranks: 1, mode: Mode::Tensor };

    /// As people read it.
    #[must_use]
    pub fn words(self) -> String {
        if self.ranks == 1 {
            "one device".to_owned()
        } else {
            format!("{} over {}", self.mode.name(), self.ranks)
        }
    }
}

impl Mode {
    pub const ALL: [Self; 3] = [Self::Tensor, Self::Layers, Self::Guidance];

    /// As a spec and people write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tensor => "tensor",
            Self::Layers => "layers",
            Self::Guidance => "guidance",
        }
    }
}

/// What memory and arithmetic of a transformer model depend on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Numbers of the text encoder but its table of words, which is read row by row.
    pub text: u64,
    /// Numbers of the transformer's layers, and of the rest of it, which every rank has.
    pub blocks: u64,
    pub rest: u64,
    /// Numbers of the decoder, which rank 0 alone has.
    pub decoder: u64,
    pub layers: u32,
    pub heads: u32,
    pub text_heads: u32,
    /// Blocks of the text encoder; 0 where an older card does not say.
    #[serde(default)]
    pub text_layers: u32,
    /// Of the stream: all heads side by side.
    pub width: u32,
    /// Of the latents.
    pub channels: u32,
    pub frames_per_latent: u32,
    pub pixels_per_latent: u32,
    /// Numbers that the decoder's last stage has for each pixel of the clip.
    pub decoded_per_pixel: u32,
}

/// A number of bytes for people.
pub(crate) fn bytes(count: u64) -> String {
    let gib = count as f64 / f64::from(1 << 30);
    if gib >= 1.0 { format!("{gib:.1} GiB") } else { format!("{:.0} MiB", gib * 1024.0) }
}
