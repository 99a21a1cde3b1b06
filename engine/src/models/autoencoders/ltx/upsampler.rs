//! Twice the frames (less the first), rows and columns: channels are spread over time and space.

use super::config::UpsamplerConfig;
use super::resnet::{Conv, DECODING};
use crate::error::Error;
use crate::kernels::{self, Padded, Time, Volume};
use crate::weights::Scope;

/// Pixels that come of one.
pub(crate) const SPREAD: usize = 8;

/// The stored output for output `j` of the loaded form: stored, a pixel's eight places run fastest; loaded, the channels of each
/// place lie together.
pub(crate) fn stored_output(j: usize, channels: usize) -> usize {
    j % channels * SPREAD + j / channels
}

#[derive(Debug)]
pub(super) struct Upsampler {
    conv: Conv,
    residual: bool,
}

impl Upsampler {
    /// `channels` leave it.
    pub(super) fn load(
        mut scope: Scope<'_>,
        channels: usize,
        config: UpsamplerConfig,
    ) -> Result<Self, Error> {
        let order = |j| stored_output(j, channels);
        let conv =
            Conv::load_ordered(scope.at("conv.conv"), channels * config.factor, channels * SPREAD, order)?;
        Ok(Self { conv, residual: config.residual })
    }

    pub(super) fn apply(
        &self,
        x: &[f32],
        size: Volume,
        time: Time,
        padded: &mut Padded,
    ) -> Result<(Vec<f32>, Volume), Error> {
        padded.reshape(size, [1, 1])?;
        padded.copy_from(x);
        let spread = self.conv.apply(padded, time)?;
        let channels = self.conv.outputs() / SPREAD;
        let to =
            Volume { frames: 2 * size.frames - 1, height: 2 * size.height, width: 2 * size.width, channels };
        let mut out = kernels::zeros(to.len(), DECODING)?;
        // What came in has an eighth of its channels at each place, repeated until there are enough.
        let eighth = size.channels / SPREAD;
        for (i, pixel) in out.chunks_exact_mut(channels).enumerate() {
            let (frame, row, column) =
                (i / (to.height * to.width) + 1, i / to.width % to.height, i % to.width);
            let from = (frame / 2 * size.height + row / 2) * size.width + column / 2;
            let place = frame % 2 * 4 + row % 2 * 2 + column % 2;
            pixel.copy_from_slice(&spread[(from * SPREAD + place) * channels..][..channels]);
            if self.residual {
                let old = &x[from * size.channels..][..size.channels];
                for (c, value) in pixel.iter_mut().enumerate() {
                    *value += old[c % eighth * SPREAD + place];
                }
            }
        }
        Ok((out, to))
    }
}
