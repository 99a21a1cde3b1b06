//! Diffusion transformers: from noisy latents and text states to a velocity.

pub mod ltx;
