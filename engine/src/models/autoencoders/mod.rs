//! Autoencoders: from latents to pixels.

pub mod ltx;
pub(crate) mod tiling;

pub use tiling::Tiling;
