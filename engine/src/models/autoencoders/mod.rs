//! Autoencoders: from latents to pixels.

pub mod ltx;
