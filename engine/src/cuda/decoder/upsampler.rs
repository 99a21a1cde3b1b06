//! Twice the frames (less the first), rows and columns: channels are spread over time and space as they leave the convolution.

use std::sync::Arc;

use super::{
    conv::{Conv, To},
    input::Bordered,
};
use crate::cuda::{Gpu, Numbers};
use crate::error::Error;
use crate::kernels::{Time, Volume};
use crate::models::autoencoders::ltx::{DECODING, SPREAD, UpsamplerConfig, stored_output};
use crate::weights::Scope;

#[derive(Debug)]
pub(super) struct Upsampler {
    conv: Conv,
    residual: bool,
}

impl Upsampler {
    /// `channels` leave it.
    pub(super) fn load(
        gpu: &Arc<Gpu>,
        mut scope: Scope<'_>,
        channels: usize,
        config: UpsamplerConfig,
    ) -> Result<Self, Error> {
        let order = |j| stored_output(j, channels);
        let (inputs, outputs) = (channels * config.factor, channels * SPREAD);
        let conv = Conv::load_ordered(gpu, scope.at("conv.conv"), inputs, outputs, order)?;
        Ok(Self { conv, residual: config.residual })
    }

    pub(super) fn apply(&self, x: Numbers, size: Volume, time: Time) -> Result<(Numbers, Volume), Error> {
        let input = Bordered::copy_of(&x, size)?;
        drop(x);
        let channels = self.conv.outputs() / SPREAD;
        let to =
            Volume { frames: 2 * size.frames - 1, height: 2 * size.height, width: 2 * size.width, channels };
        let out = Numbers::room(input.gpu(), to.len(), DECODING)?;
        self.conv.apply(&input, time, To::Spread(&out, self.residual))?;
        Ok((out, to))
    }
}
