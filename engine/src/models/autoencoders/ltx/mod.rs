//! The decoding half of LTX-Video's autoencoder (diffusers' AutoencoderKLLTXVideo), in its three ages.
//!
//! Encoders are in the same files; their names and shapes are checked, and nothing of them is loaded. The noise that
//! 0.9.1 injects between its convolutions is left out: diffusers draws it from a process-wide generator, so that no
//! seed gives it twice.

mod block;
mod config;
mod encoder;
mod resnet;
mod upsampler;

use crate::error::Error;
use crate::kernels::{self, After, Norm, Padded, Time, Volume};
use crate::layers::TimestepEmbedding;
use crate::weights::Source;

use block::Block;
pub(crate) use config::Config;
#[cfg(feature = "cuda")]
pub(crate) use config::{BlockConfig, UpsamplerConfig};
#[cfg(feature = "cuda")]
pub(crate) use encoder::check as check_encoder;
use resnet::Conv;
pub(crate) use resnet::{DECODING, EPS};
#[cfg(feature = "cuda")]
pub(crate) use upsampler::{SPREAD, stored_output};

/// A loaded decoder.
#[derive(Debug)]
pub struct Decoder {
    enter: Conv,
    middle: Block,
    up: Vec<Block>,
    time: Option<Conditioning>,
    leave: Conv,
    patch: [usize; 2],
    causal: Time,
    /// Channels of the last stage, which is the largest.
    width: usize,
    /// Numbers that it is made of.
    numbers: u64,
}

/// How the last norm hears of the noise level, and what the level is multiplied by for all.
#[derive(Debug)]
struct Conditioning {
    multiplier: f32,
    embedding: TimestepEmbedding,
    table: Vec<f32>,
}

impl Decoder {
    /// Takes all tensors of the file but the statistics of the latents, by vae/config.json.
    ///
    /// # Errors
    /// `Config`, or as `Source::take`.
    pub fn new(config: &serde_json::Value, source: &mut Source) -> Result<Self, Error> {
        let config = Config::read(config)?;
        encoder::check(&config.encoder, &mut source.root().at("encoder"))?;
        let before = source.parameters();
        let mut root = source.root();
        let mut scope = root.at("decoder");
        let widest = config.blocks[0].channels;
        let enter = Conv::load(scope.at("conv_in.conv"), config.latent_channels, widest)?;
        let middle = Block::load(scope.at("mid_block"), &config.blocks[0], &config)?;
        let mut up = Vec::new();
        for (i, block) in config.blocks[1..].iter().enumerate() {
            up.push(Block::load(scope.at(format_args!("up_blocks.{i}")), block, &config)?);
        }
        let last = config.blocks.last().map_or(widest, |block| block.channels);
        let time = if config.timestep {
            let multiplier = scope.take("timestep_scale_multiplier", &[])?.into_vec();
            let embedding = scope.at("time_embedder.timestep_embedder");
            Some(Conditioning {
                multiplier: multiplier.first().copied().unwrap_or(1.0),
                embedding: TimestepEmbedding::load(embedding, 2 * last)?,
                table: scope.take("scale_shift_table", &[2, last])?.into_vec(),
            })
        } else {
            None
        };
        let [time_patch, patch] = config.patch;
        let leave = Conv::load(scope.at("conv_out.conv"), last, 3 * time_patch * patch * patch)?;
        let (patch, causal) = (config.patch, config.time);
        let numbers = source.parameters() - before;
        Ok(Self { enter, middle, up, time, leave, patch, causal, width: last, numbers })
    }

    /// Numbers that it is made of, without the encoder beside it.
    pub fn numbers(&self) -> u64 {
        self.numbers
    }

    /// Channels of the last stage, and the pixels, `(frames, side)`, that one position of it becomes.
    pub fn last_stage(&self) -> (usize, [usize; 2]) {
        (self.width, self.patch)
    }

    /// Frames `(frames, height, width, 3)` from -1 to 1 of denormalised `latents (frames, height, width, channels)`
    /// of `size` frames, rows and columns. `timestep` is for decoders that are told a noise level.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn decode(
        &self,
        latents: &[f32],
        size: [usize; 3],
        timestep: Option<f32>,
    ) -> Result<Vec<f32>, Error> {
        let [frames, height, width] = size;
        let channels = latents.len() / (frames * height * width);
        let mut volume = Volume { frames, height, width, channels };
        let level = self.time.as_ref().map(|time| timestep.unwrap_or(0.0) * time.multiplier);
        let mut padded = Padded::copy_of(latents, volume, [1, 1])?;
        let mut x = self.enter.apply(&padded, self.causal)?;
        volume.channels = self.enter.outputs();
        for block in std::iter::once(&self.middle).chain(&self.up) {
            (x, volume) = block.apply(x, volume, level, self.causal, &mut padded)?;
        }
        padded.reshape(volume, [1, 1])?;
        let modulation = self.time.as_ref().zip(level).map(|(time, level)| {
            let embedded = time.embedding.apply(level);
            time.table.iter().zip(&embedded).map(|(t, e)| t + e).collect::<Vec<f32>>()
        });
        let after = match &modulation {
            Some(both) => {
                let (shift, scale) = both.split_at(both.len() / 2);
                After::Modulate { scale, shift }
            }
            None => After::Nothing,
        };
        kernels::norm_silu_into(&x, Norm::Rms { eps: EPS }, after, &mut padded);
        drop(x);
        self.unpatch(&self.leave.apply(&padded, self.causal)?, volume)
    }

    /// Each pixel's channels become a small square of pixels over some frames.
    fn unpatch(&self, x: &[f32], from: Volume) -> Result<Vec<f32>, Error> {
        let [time, patch] = self.patch;
        let (height, width) = (from.height * patch, from.width * patch);
        let channels = 3 * time * patch * patch;
        let mut out = kernels::zeros(x.len(), DECODING)?;
        for (i, rgb) in out.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let (frame, row, column) = (i / (height * width), i / width % height, i % width);
            let pixel = (frame / time * from.height + row / patch) * from.width + column / patch;
            for (c, value) in rgb.iter_mut().enumerate() {
                let channel = ((c * time + frame % time) * patch + column % patch) * patch + row % patch;
                *value = x[pixel * channels + channel];
            }
        }
        Ok(out)
    }
}
