//! One level of the decoder: an upsampler where there is one, then residual blocks.

use std::sync::Arc;

use super::{level::Embedding, resnet::Resnet, upsampler::Upsampler};
use crate::cuda::{Gpu, Numbers};
use crate::error::Error;
use crate::kernels::{Time, Volume};
use crate::models::autoencoders::ltx::{BlockConfig, Config};
use crate::weights::Scope;

#[derive(Debug)]
pub(super) struct Block {
    widen: Option<Resnet>,
    channels: usize,
    time: Option<Embedding>,
    upsampler: Option<Upsampler>,
    resnets: Vec<Resnet>,
}

impl Block {
    pub(super) fn load(
        gpu: &Arc<Gpu>,
        mut scope: Scope<'_>,
        block: &BlockConfig,
        config: &Config,
    ) -> Result<Self, Error> {
        let BlockConfig { entering, channels, layers, noise, upsampler } = *block;
        let widen = if entering == channels {
            None
        } else {
            Some(Resnet::load(gpu, scope.at("conv_in"), entering, channels, noise, config)?)
        };
        let time = if config.timestep {
            Some(Embedding::load(gpu, scope.at("time_embedder.timestep_embedder"), 4 * entering)?)
        } else {
            None
        };
        let upsampler = match upsampler {
            Some(upsampler) => Some(Upsampler::load(gpu, scope.at("upsamplers.0"), channels, upsampler)?),
            None => None,
        };
        let resnets = (0..layers)
            .map(|i| {
                Resnet::load(gpu, scope.at(format_args!("resnets.{i}")), channels, channels, noise, config)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { widen, channels, time, upsampler, resnets })
    }

    pub(super) fn apply(
        &self,
        mut x: Numbers,
        mut size: Volume,
        level: Option<f32>,
        time: Time,
    ) -> Result<(Numbers, Volume), Error> {
        if let Some(widen) = &self.widen {
            x = widen.apply(x, size, None, time)?;
            size.channels = self.channels;
        }
        if let Some(upsampler) = &self.upsampler {
            (x, size) = upsampler.apply(x, size, time)?;
        }
        let embedded = match self.time.as_ref().zip(level) {
            Some((embedding, level)) => Some(embedding.apply(x.gpu(), level)?),
            None => None,
        };
        for resnet in &self.resnets {
            x = resnet.apply(x, size, embedded.as_ref(), time)?;
        }
        Ok((x, size))
    }
}
