//! Turns a request into frames: models, schedulers, pipelines, kernels and codecs.
//!
//! It knows no network, no job and no database; what it needs of the outside it is handed.

mod builtin;
pub mod codecs;
pub mod error;
pub mod files;
mod kernels;
pub mod progress;
pub mod weights;
