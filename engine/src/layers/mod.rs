//! Pieces that several models are made of. It knows no model.

mod blocks;
mod linear;
mod timestep;

pub(crate) use blocks::{Block, Blocks};
pub(crate) use linear::Linear;
pub(crate) use timestep::TimestepEmbedding;
#[cfg(feature = "cuda")]
pub(crate) use timestep::{WAVES, waves};
