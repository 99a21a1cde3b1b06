//! The arithmetic of the CPU path on plain slices of f32: matrix products, attention, convolutions, norms, activations.
//!
//! Every kernel is written once over `simd::Simd`, picks its instruction set when it runs, and gives the same bytes for
//! any number of threads: outputs are cut into pieces by shape, sums never are. Inputs and outputs are checked at the
//! entry with `assert!`; behind it the loops use raw pointers. Nothing here knows models or tensors.
#![allow(unsafe_code)]

mod activation;
mod attention;
mod conv3d;
mod gemm;
mod isa;
mod linear;
mod norm;
mod pack;
mod par;
mod residual;
mod room;
mod simd;
mod volume;

pub(crate) use activation::silu;
pub(crate) use attention::{Bias, Heads, attention};
pub(crate) use conv3d::{Into, Time, conv3d};
pub(crate) use linear::{Finish, finish, linear};
pub(crate) use norm::{After, Mean, Norm, Turns, norm, norm_silu_into, rms_norm, squares};
pub(crate) use pack::Packed;
pub(crate) use room::{resize, room, zeros};
pub(crate) use simd::Isa;
pub(crate) use volume::{Padded, Volume};

#[cfg(test)]
mod tests;
