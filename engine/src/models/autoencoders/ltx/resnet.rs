//! A convolution, and the residual block of two.

use super::config::Config;
use crate::error::Error;
use crate::kernels::{self, After, Finish, Into, Norm, Packed, Padded, Time, Volume};
use crate::weights::Scope;

/// What memory is asked for.
pub(crate) const DECODING: &str = "decoding";
/// Of the norms over the channels of a pixel.
pub(crate) const EPS: f32 = 1e-8;
const KERNEL: [usize; 3] = [3; 3];

/// A convolution over three frames, rows and columns.
#[derive(Debug)]
pub(super) struct Conv {
    weight: Packed,
    bias: Vec<f32>,
}

impl Conv {
    pub(super) fn load(scope: Scope<'_>, inputs: usize, outputs: usize) -> Result<Self, Error> {
        Self::load_ordered(scope, inputs, outputs, |output| output)
    }

    /// With output `j` of the loaded form being output `order(j)` of the stored one.
    pub(super) fn load_ordered(
        mut scope: Scope<'_>,
        inputs: usize,
        outputs: usize,
        order: impl Fn(usize) -> usize + Sync,
    ) -> Result<Self, Error> {
        let stored = scope.take("bias", &[outputs])?.into_vec();
        let bias = (0..stored.len()).map(|j| stored[order(j)]).collect();
        let weight = scope.take("weight", &[outputs, inputs, 3, 3, 3])?.into_conv3d(order)?;
        Ok(Self { weight, bias })
    }

    pub(super) fn outputs(&self) -> usize {
        self.bias.len()
    }

    pub(super) fn apply(&self, x: &Padded, time: Time) -> Result<Vec<f32>, Error> {
        let size = x.inner();
        let mut out = kernels::zeros(size.frames * size.height * size.width * self.bias.len(), DECODING)?;
        kernels::conv3d(x, &self.weight, KERNEL, time, Some(&self.bias), Into::Replace, &mut out);
        Ok(out)
    }

    fn add_to(&self, x: &Padded, time: Time, out: &mut [f32]) {
        kernels::conv3d(x, &self.weight, KERNEL, time, Some(&self.bias), Into::Add, out);
    }
}

/// Norm, SiLU and convolution, twice, added to what came in.
#[derive(Debug)]
pub(super) struct Resnet {
    first: Conv,
    second: Conv,
    /// Shift and scale of the first norm, then of the second.
    table: Option<Vec<f32>>,
    shortcut: Option<Shortcut>,
}

/// How what came in is brought to another number of channels.
#[derive(Debug)]
struct Shortcut {
    /// The weight of the norm, less one.
    scale: Vec<f32>,
    shift: Vec<f32>,
    eps: f32,
    weight: Packed,
    bias: Vec<f32>,
}

impl Resnet {
    pub(super) fn load(
        mut scope: Scope<'_>,
        inputs: usize,
        outputs: usize,
        noise: bool,
        config: &Config,
    ) -> Result<Self, Error> {
        if noise {
            for name in ["per_channel_scale1", "per_channel_scale2"] {
                scope.skip(name, &[inputs, 1, 1])?;
            }
        }
        let table = if config.timestep {
            Some(scope.take("scale_shift_table", &[4, inputs])?.into_vec())
        } else {
            None
        };
        let shortcut = if inputs == outputs {
            None
        } else {
            let weight = scope.take("norm3.weight", &[inputs])?.into_vec();
            Some(Shortcut {
                scale: weight.iter().map(|w| w - 1.0).collect(),
                shift: scope.take("norm3.bias", &[inputs])?.into_vec(),
                eps: config.eps,
                weight: scope
                    .take("conv_shortcut.conv.weight", &[outputs, inputs, 1, 1, 1])?
                    .into_conv3d(|output| output)?,
                bias: scope.take("conv_shortcut.conv.bias", &[outputs])?.into_vec(),
            })
        };
        Ok(Self {
            first: Conv::load(scope.at("conv1.conv"), inputs, outputs)?,
            second: Conv::load(scope.at("conv2.conv"), outputs, outputs)?,
            table,
            shortcut,
        })
    }

    /// `level` is the block's embedding of the noise level, as long as the table.
    pub(super) fn apply(
        &self,
        mut x: Vec<f32>,
        mut size: Volume,
        level: Option<&[f32]>,
        time: Time,
        padded: &mut Padded,
    ) -> Result<Vec<f32>, Error> {
        let both: Option<Vec<f32>> = self
            .table
            .as_ref()
            .zip(level)
            .map(|(table, level)| table.iter().zip(level).map(|(t, l)| t + l).collect());
        let part = |i: usize| match &both {
            Some(both) => {
                let width = both.len() / 4;
                let shift = &both[2 * i * width..][..width];
                After::Modulate { shift, scale: &both[(2 * i + 1) * width..][..width] }
            }
            None => After::Nothing,
        };
        let norm = Norm::Rms { eps: EPS };
        padded.reshape(size, [1, 1])?;
        kernels::norm_silu_into(&x, norm, part(0), padded);
        let hidden = self.first.apply(padded, time)?;
        if let Some(Shortcut { scale, shift, eps, weight, bias }) = &self.shortcut {
            let mut normed = kernels::zeros(x.len(), DECODING)?;
            let after = After::Modulate { scale, shift };
            kernels::norm(&x, size.channels, Norm::Layer { eps: *eps }, after, &mut normed);
            // A convolution that looks at one pixel is a linear layer.
            x = kernels::zeros(normed.len() / size.channels * bias.len(), DECODING)?;
            kernels::linear(&normed, weight, Some(bias), Finish::Nothing, &mut x);
        }
        size.channels = self.first.outputs();
        padded.reshape(size, [1, 1])?;
        kernels::norm_silu_into(&hidden, norm, part(1), padded);
        drop(hidden);
        self.second.add_to(padded, time, &mut x);
        Ok(x)
    }
}
