//! Models on NVIDIA devices: weights in bf16, sums in f32, one stream for all that a rank computes.
//!
//! Nothing here is linked: the driver and cuBLASLt are loaded when a device is opened, so one program serves machines with and
//! without one. Kernels come with the program, as machine code for each architecture it knows and as PTX for the rest. Each
//! model has a form of its own here, which reads the same tensors and gives the same numbers as the one on the processor;
//! what they have in common is in `models`: names, sizes and settings.
#![allow(unsafe_code)]

mod attention;
mod boxes;
mod decoder;
mod gpu;
mod images;
mod linear;
mod matmul;
#[doc(hidden)]
pub mod measure;
mod memory;
mod norm;
mod precision;
mod probe;
mod sum;
mod t5;
#[cfg(test)]
mod tests;
mod transformer;
mod upload;

pub(crate) use decoder::Decoder;
pub(crate) use gpu::Arg;
pub use gpu::Gpu;
pub(crate) use memory::{Floats, Numbers};
pub use precision::Precision;
pub use probe::{Absent, cublas, driver};
pub(crate) use t5::T5;
pub(crate) use transformer::{Context, Seen, Transformer};
