//! From latents to frames: back to the autoencoder's scale, its decoder, and values from 0 to 1.

use super::networks::Frames;
use crate::error::Error;
use crate::kernels;
use crate::models::autoencoders::Tiling;
use crate::progress::Stage;
use crate::settings::Settings;
use crate::weights::Source;

/// Pixels along one side, or frames, that a number of the latents stands for: clips are multiples of it.
const HALVINGS_MAX: usize = 10;
const RATIO_MAX: usize = 1 << HALVINGS_MAX;

/// The autoencoder's decoding half with the statistics of its latents.
#[derive(Debug)]
pub(crate) struct Video {
    decoder: Frames,
    statistics: Statistics,
    geometry: Geometry,
}

/// What a clip's latents are, said by the autoencoder's configuration alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    pub(crate) pixels_per_latent: usize,
    pub(crate) frames_per_latent: usize,
    /// Whether the decoder is told a noise level and given noise.
    pub(crate) timestep: bool,
}

impl Geometry {
    /// Of latents with `channels` channels.
    pub(super) fn read(settings: &Settings, channels: usize) -> Result<Self, Error> {
        let latent_channels = settings.size("latent_channels", Some(128))?;
        if latent_channels != channels {
            let message = format!("{latent_channels}, but the transformer works on {channels}");
            return Err(settings.wrong("latent_channels", message));
        }
        let scaled = settings.get("spatio_temporal_scaling").and_then(|v| v.as_array());
        let halvings = scaled.map_or(3, |s| s.iter().filter(|v| v.as_bool() == Some(true)).count());
        if halvings > HALVINGS_MAX {
            let message = format!("{halvings} halvings, more than {HALVINGS_MAX}");
            return Err(settings.wrong("spatio_temporal_scaling", message));
        }
        let ratio = |key: &str, patch: usize| {
            let ratio = settings.size(key, Some(patch.saturating_mul(1 << halvings)))?;
            if ratio <= RATIO_MAX && ratio.is_power_of_two() {
                return Ok(ratio);
            }
            Err(settings.wrong(key, format!("{ratio} is no power of two up to {RATIO_MAX}")))
        };
        Ok(Self {
            pixels_per_latent: ratio("spatial_compression_ratio", settings.size("patch_size", Some(4))?)?,
            frames_per_latent: ratio("temporal_compression_ratio", settings.size("patch_size_t", Some(1))?)?,
            timestep: settings.flag("timestep_conditioning", false)?,
        })
    }

    /// Frames, rows and columns of latents for a clip of pixels.
    pub(super) fn latent_size(&self, frames: u32, height: u32, width: u32) -> [usize; 3] {
        [
            (frames as usize).saturating_sub(1) / self.frames_per_latent + 1,
            height as usize / self.pixels_per_latent,
            width as usize / self.pixels_per_latent,
        ]
    }
}

/// Of each channel of the autoencoder's latents; the transformer works on latents without them.
#[derive(Debug)]
struct Statistics {
    mean: Vec<f32>,
    deviation: Vec<f32>,
    scaling: f32,
}

impl Statistics {
    fn restore(&self, latents: &mut [f32]) {
        for token in latents.chunks_exact_mut(self.mean.len()) {
            for ((value, mean), deviation) in token.iter_mut().zip(&self.mean).zip(&self.deviation) {
                *value = *value * deviation / self.scaling + mean;
            }
        }
    }
}

/// Noise that is mixed into the latents before they are decoded, and how much of it.
pub(super) struct DecodeNoise {
    pub(super) timestep: f32,
    pub(super) share: f32,
    /// `(channels, frames, height, width)`, as drawn.
    pub(super) values: Vec<f32>,
}

impl DecodeNoise {
    fn mix(&self, latents: &mut [f32], channels: usize) {
        let tokens = latents.len() / channels;
        for (token, values) in latents.chunks_exact_mut(channels).enumerate() {
            for (channel, value) in values.iter_mut().enumerate() {
                *value = (1.0 - self.share) * *value + self.share * self.values[channel * tokens + token];
            }
        }
    }
}

impl Video {
    /// Takes the statistics of `channels` latent channels.
    pub(super) fn load(
        settings: &Settings,
        geometry: Geometry,
        channels: usize,
        decoder: Frames,
        source: &mut Source,
    ) -> Result<Self, Error> {
        Ok(Self {
            decoder,
            statistics: Statistics {
                mean: source.take("latents_mean", &[channels])?.into_vec(),
                deviation: source.take("latents_std", &[channels])?.into_vec(),
                scaling: settings.number("scaling_factor", Some(1.0))? as f32,
            },
            geometry,
        })
    }

    /// Numbers of the decoder.
    pub(crate) fn numbers(&self) -> u64 {
        self.decoder.numbers()
    }

    /// Numbers that the last stage has for each pixel.
    pub(crate) fn decoded_per_pixel(&self) -> usize {
        let (channels, [frames, side]) = self.decoder.last_stage();
        channels.div_ceil(frames * side * side)
    }

    /// Frames `(height, width, 3)` from 0 to 1 of normalised `latents (tokens, channels)`, all at once or in tiles.
    pub(super) fn decode(
        &self,
        mut latents: Vec<f32>,
        size: [usize; 3],
        noise: Option<DecodeNoise>,
        tiling: Option<Tiling>,
    ) -> Result<Vec<Vec<f32>>, Error> {
        self.statistics.restore(&mut latents);
        if let Some(noise) = &noise {
            noise.mix(&mut latents, self.statistics.mean.len());
        }
        let timestep = noise.map(|n| n.timestep);
        let ratio = self.geometry.pixels_per_latent;
        let [height, width] = [ratio * size[1], ratio * size[2]];
        let count = (size[0] - 1) * self.geometry.frames_per_latent + 1;
        let frame = || kernels::zeros(3 * height * width, "the clip's frames");
        let mut frames = (0..count).map(|_| frame()).collect::<Result<Vec<_>, _>>()?;
        let mut is_finite = true;
        let decode = |latents: &[f32], size| self.decoder.decode(latents, size, timestep);
        tiling.unwrap_or(Tiling::NONE).decode(&latents, size, ratio, decode, |at, line| {
            is_finite &= line.iter().all(|v| v.is_finite());
            let into = &mut frames[at.frame][3 * (at.row * width + at.column)..][..line.len()];
            into.iter_mut().zip(line).for_each(|(shown, v)| *shown = (v / 2.0 + 0.5).clamp(0.0, 1.0));
        })?;
        if is_finite { Ok(frames) } else { Err(Error::NanOutput { stage: Stage::Decode, step: None }) }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_decoder_is_given_what_diffusers_gives_it() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/numerics/golden");
        for (name, noisy) in [("ltx", false), ("ltx095", true)] {
            let bytes = std::fs::read(golden.join(name).join("golden.safetensors")).unwrap();
            let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            let values = |tensor: &str| -> Vec<f32> {
                let data = file.tensor(tensor).unwrap().data().as_chunks::<4>().0;
                data.iter().map(|b| f32::from_le_bytes(*b)).collect()
            };
            let line = |from: f32, to: f32| (0..8).map(|i| from + (to - from) * i as f32 / 7.0).collect();
            let statistics = Statistics { mean: line(-0.3, 0.3), deviation: line(0.7, 1.3), scaling: 1.0 };
            let mut latents = values("step.02.latents");
            statistics.restore(&mut latents);
            if noisy {
                let noise = DecodeNoise { timestep: 0.05, share: 0.025, values: values("noise.01") };
                noise.mix(&mut latents, 8);
            }
            let theirs = values("vae.decoder.00.in.hidden_states");
            let tokens = latents.len() / 8;
            for (i, value) in latents.iter().enumerate() {
                let their = theirs[i % 8 * tokens + i / 8];
                assert!((value - their).abs() <= 2e-6, "{name} {i}: {value} for {their}");
            }
        }
    }
}
