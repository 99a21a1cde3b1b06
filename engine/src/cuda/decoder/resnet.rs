//! Norm, SiLU and convolution, twice, added to what came in.

use std::sync::Arc;

use super::{
    WEIGHTS,
    conv::{Conv, To},
    input::Bordered,
    level::Modulation,
};
use crate::cuda::{
    Floats, Gpu, Numbers,
    linear::{Finish, Linear, Part, Rows, Taken},
    norm::{After, norm},
};
use crate::error::Error;
use crate::kernels::{Norm, Time, Volume};
use crate::models::autoencoders::ltx::{Config, DECODING};
use crate::weights::Scope;

#[derive(Debug)]
pub(super) struct Resnet {
    first: Conv,
    second: Conv,
    /// Shift and scale of the first norm, then of the second.
    table: Option<Floats>,
    shortcut: Option<Shortcut>,
}

/// How what came in is brought to another number of channels.
#[derive(Debug)]
struct Shortcut {
    /// The weight of the norm, less one.
    scale: Floats,
    shift: Floats,
    eps: f32,
    linear: Linear,
}

impl Resnet {
    pub(super) fn load(
        gpu: &Arc<Gpu>,
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
            let table = scope.take("scale_shift_table", &[4, inputs])?.into_vec();
            Some(Floats::from(gpu, &table, WEIGHTS)?)
        } else {
            None
        };
        let shortcut = if inputs == outputs {
            None
        } else {
            Some(Shortcut::load(gpu, &mut scope, [inputs, outputs], config.eps)?)
        };
        Ok(Self {
            first: Conv::load(gpu, scope.at("conv1.conv"), inputs, outputs)?,
            second: Conv::load(gpu, scope.at("conv2.conv"), outputs, outputs)?,
            table,
            shortcut,
        })
    }

    /// `level` is the block's embedding of the noise level, as long as the table.
    pub(super) fn apply(
        &self,
        mut x: Numbers,
        mut size: Volume,
        level: Option<&Floats>,
        time: Time,
    ) -> Result<Numbers, Error> {
        let modulation = match self.table.as_ref().zip(level) {
            Some((table, level)) => Some(Modulation::new(x.gpu(), table, level, size.channels)?),
            None => None,
        };
        let part = |i| modulation.as_ref().map(|modulation| modulation.part(i));
        let input = Bordered::normed(&x, size, part(0))?;
        let hidden = self.first.make(&input, time)?;
        drop(input);
        if let Some(shortcut) = &self.shortcut {
            x = shortcut.apply(&x, size)?;
        }
        size.channels = self.first.outputs();
        let input = Bordered::normed(&hidden, size, part(1))?;
        drop(hidden);
        self.second.apply(&input, time, To::Add(&x))?;
        Ok(x)
    }
}

impl Shortcut {
    fn load(
        gpu: &Arc<Gpu>,
        scope: &mut Scope<'_>,
        [inputs, outputs]: [usize; 2],
        eps: f32,
    ) -> Result<Self, Error> {
        let weight = scope.take("norm3.weight", &[inputs])?.into_vec();
        let scale: Vec<f32> = weight.iter().map(|w| w - 1.0).collect();
        let shift = scope.take("norm3.bias", &[inputs])?.into_vec();
        let taken = Taken::of_pixel(scope.at("conv_shortcut.conv"), [inputs, outputs])?;
        Ok(Self {
            scale: Floats::from(gpu, &scale, WEIGHTS)?,
            shift: Floats::from(gpu, &shift, WEIGHTS)?,
            eps,
            linear: Linear::of(gpu, vec![taken], [inputs, outputs], &Part::Outputs(0..outputs))?,
        })
    }

    fn apply(&self, x: &Numbers, size: Volume) -> Result<Numbers, Error> {
        let gpu = x.gpu();
        let (rows, width, outputs) = (x.len() / size.channels, size.channels, self.linear.outputs());
        let normed = Numbers::room(gpu, x.len(), DECODING)?;
        let after = After::Modulate { scale: self.scale.at(), shift: self.shift.at() };
        norm(gpu, [x.at(), normed.at()], [rows, width], Norm::Layer { eps: self.eps }, after)?;
        let out = Numbers::room(gpu, rows * outputs, DECODING)?;
        let rows = Rows { at: normed.at(), rows, stride: width };
        self.linear.write(rows, out.at(), outputs, Finish::Nothing)?;
        Ok(out)
    }
}
