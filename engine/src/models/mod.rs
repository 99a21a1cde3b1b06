//! The networks, one file a family. They take slices and give slices; files, seeds and schedules are not theirs.

pub mod autoencoders;
pub mod text;
pub mod transformers;

#[cfg(test)]
mod tests;
