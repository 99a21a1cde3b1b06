//! The embedding of a noise level: sines and cosines of it, then two linear layers.

use super::Linear;
use crate::error::Error;
use crate::kernels::Finish;
use crate::weights::Scope;

/// Width of the sines and cosines together.
pub(crate) const WAVES: usize = 256;
const LONGEST: f32 = 10_000.0;

/// A timestep as a vector.
#[derive(Debug)]
pub(crate) struct TimestepEmbedding {
    first: Linear,
    second: Linear,
}

impl TimestepEmbedding {
    /// Takes `linear_1` and `linear_2`, the second `width` wide.
    pub(crate) fn load(mut scope: Scope<'_>, width: usize) -> Result<Self, Error> {
        Ok(Self {
            first: Linear::load(scope.at("linear_1"), WAVES, width, true)?,
            second: Linear::load(scope.at("linear_2"), width, width, true)?,
        })
    }

    /// Numbers that are held.
    pub(crate) fn held(&self) -> usize {
        self.first.held() + self.second.held()
    }

    /// The vector of `timestep`.
    pub(crate) fn apply(&self, timestep: f32) -> Vec<f32> {
        self.second.apply(&self.first.apply(&waves(timestep), Finish::Silu), Finish::Nothing)
    }
}

/// Cosines of falling frequency, then the sines.
pub(crate) fn waves(timestep: f32) -> [f32; WAVES] {
    let mut out = [0.0; WAVES];
    let (cos, sin) = out.split_at_mut(WAVES / 2);
    for (i, (cos, sin)) in cos.iter_mut().zip(sin).enumerate() {
        let angle = timestep * (-LONGEST.ln() * i as f32 / (WAVES / 2) as f32).exp();
        (*sin, *cos) = angle.sin_cos();
    }
    out
}
