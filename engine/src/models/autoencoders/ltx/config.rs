//! The sizes in vae/config.json, in the order in which the decoder uses them.

use serde_json::Value;

use super::upsampler::SPREAD;
use crate::error::Error;
use crate::kernels::Time;
use crate::settings::{SIZE_MAX, Settings};

/// Entries of a list, one for each block: a block doubles the sides of a clip.
const BLOCKS_MAX: usize = 16;

const FILE: &str = "vae/config.json";

#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) latent_channels: usize,
    /// The middle block, then the upper ones.
    pub(crate) blocks: Vec<BlockConfig>,
    pub(crate) timestep: bool,
    /// Frames, then rows and columns that a pixel of the last convolution stands for.
    pub(crate) patch: [usize; 2],
    pub(crate) time: Time,
    pub(crate) eps: f32,
    pub(crate) encoder: EncoderConfig,
}

#[derive(Debug)]
pub(crate) struct BlockConfig {
    /// Channels of what comes in, before an upsampler.
    pub(crate) entering: usize,
    pub(crate) channels: usize,
    pub(crate) layers: usize,
    pub(crate) noise: bool,
    pub(crate) upsampler: Option<UpsamplerConfig>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct UpsamplerConfig {
    pub(crate) residual: bool,
    /// How many times fewer channels leave than an upsampler without it would give.
    pub(crate) factor: usize,
}

#[derive(Debug)]
pub(crate) struct EncoderConfig {
    pub(crate) inputs: usize,
    pub(crate) latent_channels: usize,
    pub(crate) channels: Vec<usize>,
    pub(crate) layers: Vec<usize>,
    pub(crate) halves: Vec<bool>,
    /// How each block halves; empty in the first age, where all do it by a strided convolution.
    pub(crate) downsamplers: Vec<String>,
    /// Whether blocks change their number of channels while they halve (0.9.5) or after it.
    pub(crate) widens_by_halving: bool,
}

impl Config {
    pub(crate) fn read(config: &Value) -> Result<Self, Error> {
        let settings = Settings::new(FILE, config.clone())?;
        settings.only("out_channels", 3)?;
        settings.only("in_channels", 3)?;
        let patch = settings.size("patch_size", Some(4))?;
        let latent_channels = settings.size("latent_channels", Some(128))?;
        let encoder = EncoderConfig {
            inputs: 3 * patch * patch,
            latent_channels,
            channels: sizes(&settings, "block_out_channels")?,
            layers: sizes(&settings, "layers_per_block")?,
            halves: flags(&settings, "spatio_temporal_scaling")?,
            downsamplers: list(&settings, "downsample_type", |v| v.as_str().map(str::to_owned))
                .unwrap_or_default(),
            widens_by_halving: settings
                .get("down_block_types")
                .and_then(Value::as_array)
                .and_then(|types| types.last())
                .is_some_and(|last| last == "LTXVideo095DownBlock3D"),
        };
        if encoder.channels.is_empty() {
            return Err(settings.wrong("block_out_channels", "no blocks"));
        }
        let (blocks, timestep) = (blocks(&settings)?, settings.flag("timestep_conditioning", false)?);
        if timestep && blocks.iter().any(|block| block.entering != block.channels) {
            let message = "a block that is told the noise level changes its number of channels";
            return Err(settings.wrong("decoder_block_out_channels", message));
        }
        Ok(Self {
            latent_channels,
            blocks,
            timestep,
            patch: [settings.size("patch_size_t", Some(1))?, patch],
            time: if settings.flag("decoder_causal", false)? { Time::Causal } else { Time::Centred },
            eps: settings.number("resnet_norm_eps", Some(1e-6))? as f32,
            encoder,
        })
    }
}

/// Lists in the file run from the pixels to the latents; the decoder goes the other way.
fn blocks(settings: &Settings) -> Result<Vec<BlockConfig>, Error> {
    let channels = sizes(settings, "decoder_block_out_channels")?;
    let layers = sizes(settings, "decoder_layers_per_block")?;
    let noise = flags(settings, "decoder_inject_noise")?;
    let scaling = flags(settings, "decoder_spatio_temporal_scaling")?;
    let residual = flags(settings, "upsample_residual")?;
    let factor = sizes(settings, "upsample_factor")?;
    let count = channels.len();
    for (key, found, wanted) in [
        ("decoder_block_out_channels", count, count.max(1)),
        ("decoder_layers_per_block", layers.len(), count + 1),
        ("decoder_inject_noise", noise.len(), count + 1),
        ("decoder_spatio_temporal_scaling", scaling.len(), count),
        ("upsample_residual", residual.len(), count),
        ("upsample_factor", factor.len(), count),
    ] {
        if found != wanted {
            return Err(settings.wrong(key, format!("{found} entries where {wanted} are needed")));
        }
    }
    if channels.iter().zip(&factor).any(|(channels, factor)| *factor == 0 || channels / factor == 0) {
        return Err(settings.wrong("upsample_factor", "leaves a block without channels"));
    }
    let widest = channels[count - 1];
    let mut blocks = vec![BlockConfig {
        entering: widest,
        channels: widest,
        layers: layers[count],
        noise: noise[count],
        upsampler: None,
    }];
    let mut entering = widest;
    for i in (0..count).rev() {
        entering /= factor[i];
        let channels = channels[i] / factor[i];
        let upsampler = scaling[i].then_some(UpsamplerConfig { residual: residual[i], factor: factor[i] });
        if upsampler.is_some_and(|it| it.residual && channels * it.factor < SPREAD) {
            let message = format!("an upsampler of fewer than {SPREAD} channels has nothing to add");
            return Err(settings.wrong("upsample_residual", message));
        }
        blocks.push(BlockConfig { entering, channels, layers: layers[i], noise: noise[i], upsampler });
        entering = channels;
    }
    Ok(blocks)
}

fn sizes(settings: &Settings, key: &str) -> Result<Vec<usize>, Error> {
    list(settings, key, |v| v.as_u64().filter(|n| *n <= SIZE_MAX).map(|n| n as usize))
}

fn flags(settings: &Settings, key: &str) -> Result<Vec<bool>, Error> {
    list(settings, key, Value::as_bool)
}

fn list<T>(settings: &Settings, key: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Vec<T>, Error> {
    let entries =
        settings.get(key).and_then(Value::as_array).ok_or_else(|| settings.wrong(key, "not a list"))?;
    if entries.len() > BLOCKS_MAX {
        return Err(settings.wrong(key, format!("{} entries, more than {BLOCKS_MAX}", entries.len())));
    }
    entries
        .iter()
        .map(|v| read(v).ok_or_else(|| settings.wrong(key, format!("{v} is of the wrong kind"))))
        .collect()
}
