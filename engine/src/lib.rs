//! Turns a request into frames: models, schedulers, pipelines, kernels and codecs.
//!
//! It knows no network, no job and no database; what it needs of the outside it is handed.

mod builtin;
pub mod card;
pub mod codecs;
pub mod error;
pub mod files;
pub mod guidance;
mod kernels;
mod layers;
pub mod models;
pub mod noise;
pub mod pipelines;
pub mod progress;
pub mod request;
pub mod schedulers;
mod settings;
pub mod weights;
