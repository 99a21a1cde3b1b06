//! The video decoder of `models::autoencoders::ltx` on a device.
//!
//! Activations are channels last in the device's precision. Each is given back as soon as what is made of it is begun, so that
//! of the last stage, which is the largest, there are three at most: the stream, what the block adds to it, and the bordered
//! input between them.

mod block;
mod conv;
mod hopper;
mod input;
mod level;
mod resnet;
#[cfg(test)]
mod tests;
mod upsampler;

use std::sync::Arc;

use super::{Floats, Gpu, Numbers};
use crate::error::Error;
use crate::kernels::{Time, Volume};
use crate::models::autoencoders::ltx::{self, Config, DECODING};
use crate::weights::Source;

use block::Block;
pub(super) use conv::prepare;
use conv::{Conv, To};
use input::Bordered;
use level::{Embedding, Modulation};

const WEIGHTS: &str = "weights";

/// A loaded decoder.
#[derive(Debug)]
pub(crate) struct Decoder {
    gpu: Arc<Gpu>,
    enter: Conv,
    middle: Block,
    up: Vec<Block>,
    time: Option<Conditioning>,
    leave: Conv,
    patch: [usize; 2],
    causal: Time,
    /// Channels of the last stage.
    width: usize,
    /// Numbers that it is made of.
    numbers: u64,
}

/// How the last norm hears of the noise level, and what the level is multiplied by for all.
#[derive(Debug)]
struct Conditioning {
    multiplier: f32,
    embedding: Embedding,
    table: Floats,
}

impl Decoder {
    /// Takes all tensors of the file but the statistics of the latents, by vae/config.json.
    ///
    /// # Errors
    /// As `ltx::Decoder::new`; `Device`, `DeviceMemory`.
    pub(crate) fn new(
        gpu: &Arc<Gpu>,
        config: &serde_json::Value,
        source: &mut Source,
    ) -> Result<Self, Error> {
        gpu.loading(|| Self::load_parts(gpu, config, source))
    }

    fn load_parts(gpu: &Arc<Gpu>, config: &serde_json::Value, source: &mut Source) -> Result<Self, Error> {
        let config = Config::read(config)?;
        ltx::check_encoder(&config.encoder, &mut source.root().at("encoder"))?;
        let before = source.parameters();
        let mut root = source.root();
        let mut scope = root.at("decoder");
        let widest = config.blocks[0].channels;
        let enter = Conv::load(gpu, scope.at("conv_in.conv"), config.latent_channels, widest)?;
        let middle = Block::load(gpu, scope.at("mid_block"), &config.blocks[0], &config)?;
        let mut up = Vec::new();
        for (i, block) in config.blocks[1..].iter().enumerate() {
            up.push(Block::load(gpu, scope.at(format_args!("up_blocks.{i}")), block, &config)?);
        }
        let last = config.blocks.last().map_or(widest, |block| block.channels);
        let time = if config.timestep {
            let multiplier = scope.take("timestep_scale_multiplier", &[])?.into_vec();
            Some(Conditioning {
                multiplier: multiplier.first().copied().unwrap_or(1.0),
                embedding: Embedding::load(gpu, scope.at("time_embedder.timestep_embedder"), 2 * last)?,
                table: Floats::from(gpu, &scope.take("scale_shift_table", &[2, last])?.into_vec(), WEIGHTS)?,
            })
        } else {
            None
        };
        let leave = Conv::load_ordered(
            gpu,
            scope.at("conv_out.conv"),
            last,
            3 * config.patch[0] * config.patch[1] * config.patch[1],
            |j| of_patch(j, config.patch),
        )?;
        let numbers = source.parameters() - before;
        Ok(Self {
            gpu: Arc::clone(gpu),
            enter,
            middle,
            up,
            time,
            leave,
            patch: config.patch,
            causal: config.time,
            width: last,
            numbers,
        })
    }

    /// Numbers that it is made of, without the encoder beside it.
    pub(crate) fn numbers(&self) -> u64 {
        self.numbers
    }

    /// Channels of the last stage, and the pixels, `(frames, side)`, that one position of it becomes.
    pub(crate) fn last_stage(&self) -> (usize, [usize; 2]) {
        (self.width, self.patch)
    }

    /// As `ltx::Decoder::decode`.
    ///
    /// # Errors
    /// `DeviceMemory`, `Device`, or `BadRequest` for a clip that is too large for one pass.
    pub(crate) fn decode(
        &self,
        latents: &[f32],
        [frames, height, width]: [usize; 3],
        timestep: Option<f32>,
    ) -> Result<Vec<f32>, Error> {
        let Self { gpu, causal, .. } = self;
        gpu.enter()?;
        let channels = latents.len() / (frames * height * width);
        let mut size = Volume { frames, height, width, channels };
        let level = self.time.as_ref().map(|time| timestep.unwrap_or(0.0) * time.multiplier);
        let latents = Numbers::from_f32(gpu, latents, DECODING)?;
        let mut x = self.enter.make(&Bordered::copy_of(&latents, size)?, *causal)?;
        drop(latents);
        size.channels = self.enter.outputs();
        for block in std::iter::once(&self.middle).chain(&self.up) {
            (x, size) = block.apply(x, size, level, *causal)?;
        }
        let modulation = match self.time.as_ref().zip(level) {
            Some((time, level)) => {
                Some(Modulation::new(gpu, &time.table, &time.embedding.apply(gpu, level)?, self.width)?)
            }
            None => None,
        };
        let input = Bordered::normed(&x, size, modulation.as_ref().map(|both| both.part(0)))?;
        drop(x);
        let values = size.frames * size.height * size.width * self.leave.outputs();
        let pixels = Floats::room(gpu, values, DECODING)?;
        self.leave.apply(&input, *causal, To::Frames(&pixels, self.patch))?;
        drop(input);
        pixels.values()
    }
}

/// The stored output for output `j` of the loaded form, where those of one line of pixels lie together: frames of the patch,
/// then rows, columns and colours; stored are colours, frames, columns, rows.
fn of_patch(j: usize, [time, side]: [usize; 2]) -> usize {
    let (colour, column, row, frame) = (j % 3, j / 3 % side, j / 3 / side % side, j / 3 / side / side);
    ((colour * time + frame) * side + column) * side + row
}
