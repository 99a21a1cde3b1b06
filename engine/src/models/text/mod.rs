//! Text encoders: from words' numbers to states.

mod t5;

pub(crate) use t5::Config as T5Config;
pub use t5::T5;
#[cfg(feature = "cuda")]
pub(crate) use t5::{Around, bias_of, words_of};
