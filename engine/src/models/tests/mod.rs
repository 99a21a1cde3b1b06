//! Parts of the models against the published layouts and against diffusers.

mod layouts;
mod parts;
mod tiled;

use std::path::{Path, PathBuf};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/numerics/golden").join(name)
}
