//! Turns a request into frames: models, schedulers, pipelines, kernels and codecs.
//!
//! It knows no network, no job and no database; what it needs of the outside it is handed.

mod builtin;
pub mod card;
pub mod checkpoint;
pub mod codecs;
pub mod device;
pub mod error;
pub mod files;
pub mod guidance;
mod kernels;
mod layers;
pub mod models;
pub mod noise;
pub mod parallel;
pub mod pipelines;
pub mod progress;
pub mod request;
pub mod residency;
pub mod schedulers;
mod settings;
pub mod weights;

/// The instruction set that the kernels use on this machine: `avx512`, `avx2` or `portable`.
///
/// Frames are the same bytes on every machine that has the same one; another one sums in another order.
#[must_use]
pub fn instructions() -> &'static str {
    kernels::Isa::best().name()
}
