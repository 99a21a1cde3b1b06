//! The reference renders: a tiny LTX-Video in two ages of its autoencoder, and what diffusers 0.42.1 made with it.

use std::path::{Path, PathBuf};

use croft_engine::request::Request;

/// Where a reference render lies: in the repository, or where `deploy/cuda/check` has it.
pub(crate) fn golden(name: &str) -> PathBuf {
    let here = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/numerics/golden");
    std::env::var_os("CROFT_GOLDEN").map_or_else(here, PathBuf::from).join(name)
}

/// The model of a reference render, as the engine is told it.
pub(crate) fn model(name: &str) -> String {
    let path = golden(name).join("pipe").canonicalize().expect("the reference model is in the repository");
    path.to_str().expect("a path in UTF-8").to_owned()
}

/// What was asked of diffusers.
pub(crate) fn request(name: &str) -> Request {
    let older = name == "ltx";
    Request {
        prompt: "a red circle moving right".into(),
        negative_prompt: "blurry".into(),
        seed: 42,
        width: if older { 32 } else { 96 },
        height: if older { 32 } else { 64 },
        num_frames: if older { 9 } else { 17 },
        fps: 25.0,
        steps: 3,
        guidance: 3.0,
        guidance_rescale: if older { 0.0 } else { 0.5 },
        decode_timestep: if older { 0.0 } else { 0.05 },
        decode_noise_scale: if older { 0.0 } else { 0.025 },
        max_sequence_length: 32,
        vae_tiling: false,
    }
}
