//! The tensors of a model by name: safetensors files, one or many, mapped and read on use.
//!
//! A model is built by one walk over the names it needs, whatever it is built from: files with their data, the same
//! files by their headers alone (a check that costs no reading), or a bare list of shapes. So a layout that passes
//! the check is the layout that loads. Nothing here knows an architecture.

mod bytes;
mod safetensors;
mod source;
#[cfg(feature = "cuda")]
mod stored;
mod tensor;

pub(crate) use bytes::Bytes;
pub(crate) use source::Reading;
pub use source::{Scope, Source};
#[cfg(feature = "cuda")]
pub(crate) use stored::Stored;
pub use tensor::Tensor;

#[cfg(test)]
mod tests;
