//! One level of the decoder: an upsampler where there is one, then residual blocks.

use super::config::{BlockConfig, Config};
use super::resnet::Resnet;
use super::upsampler::Upsampler;
use crate::error::Error;
use crate::kernels::{Padded, Time, Volume};
use crate::layers::TimestepEmbedding;
use crate::weights::Scope;

#[derive(Debug)]
pub(super) struct Block {
    widen: Option<Resnet>,
    channels: usize,
    time: Option<TimestepEmbedding>,
    upsampler: Option<Upsampler>,
    resnets: Vec<Resnet>,
}

impl Block {
    pub(super) fn load(mut scope: Scope<'_>, block: &BlockConfig, config: &Config) -> Result<Self, Error> {
        let BlockConfig { entering, channels, layers, noise, upsampler } = *block;
        let widen = if entering == channels {
            None
        } else {
            Some(Resnet::load(scope.at("conv_in"), entering, channels, noise, config)?)
        };
        let time = if config.timestep {
            Some(TimestepEmbedding::load(scope.at("time_embedder.timestep_embedder"), 4 * entering)?)
        } else {
            None
        };
        let upsampler = match upsampler {
            Some(upsampler) => Some(Upsampler::load(scope.at("upsamplers.0"), channels, upsampler)?),
            None => None,
        };
        let resnets = (0..layers)
            .map(|i| Resnet::load(scope.at(format_args!("resnets.{i}")), channels, channels, noise, config))
            .collect::<Result<_, _>>()?;
        Ok(Self { widen, channels, time, upsampler, resnets })
    }

    pub(super) fn apply(
        &self,
        mut x: Vec<f32>,
        mut size: Volume,
        level: Option<f32>,
        time: Time,
        padded: &mut Padded,
    ) -> Result<(Vec<f32>, Volume), Error> {
        if let Some(widen) = &self.widen {
            x = widen.apply(x, size, None, time, padded)?;
            size.channels = self.channels;
        }
        if let Some(upsampler) = &self.upsampler {
            (x, size) = upsampler.apply(&x, size, time, padded)?;
        }
        let embedded = self.time.as_ref().zip(level).map(|(embedding, level)| embedding.apply(level));
        for resnet in &self.resnets {
            x = resnet.apply(x, size, embedded.as_deref(), time, padded)?;
        }
        Ok((x, size))
    }
}
