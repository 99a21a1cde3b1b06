//! From latents to frames: back to the autoencoder's scale, its decoder, and values from 0 to 1.

use crate::error::Error;
use crate::models::autoencoders::ltx::Decoder;
use crate::progress::Stage;
use crate::settings::Settings;
use crate::weights::Source;

/// The autoencoder's decoding half with the statistics of its latents.
#[derive(Debug)]
pub(crate) struct Video {
    decoder: Decoder,
    mean: Vec<f32>,
    deviation: Vec<f32>,
    scaling: f32,
    pub(crate) pixels_per_latent: usize,
    pub(crate) frames_per_latent: usize,
    /// Whether the decoder is told a noise level and given noise.
    pub(crate) timestep: bool,
}

/// Noise that is mixed into the latents before they are decoded, and how much of it.
pub(super) struct DecodeNoise {
    pub(super) timestep: f32,
    pub(super) share: f32,
    /// `(channels, frames, height, width)`, as drawn.
    pub(super) values: Vec<f32>,
}

impl Video {
    /// Takes the statistics of `channels` latent channels.
    pub(super) fn load(
        settings: &Settings,
        channels: usize,
        decoder: Decoder,
        source: &mut Source,
    ) -> Result<Self, Error> {
        let latent_channels = settings.size("latent_channels", Some(128))?;
        if latent_channels != channels {
            let message = format!("{latent_channels}, but the transformer works on {channels}");
            return Err(settings.wrong("latent_channels", message));
        }
        let scaled = settings.get("spatio_temporal_scaling").and_then(|v| v.as_array());
        let halvings = scaled.map_or(3, |s| s.iter().filter(|v| v.as_bool() == Some(true)).count());
        let ratio = |key: &str, patch: usize| settings.size(key, Some(patch << halvings));
        Ok(Self {
            decoder,
            mean: source.take("latents_mean", &[channels])?.into_vec(),
            deviation: source.take("latents_std", &[channels])?.into_vec(),
            scaling: settings.number("scaling_factor", Some(1.0))? as f32,
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

    /// Frames `(height, width, 3)` from 0 to 1 of normalised `latents (tokens, channels)`.
    pub(super) fn decode(
        &self,
        mut latents: Vec<f32>,
        size: [usize; 3],
        noise: Option<DecodeNoise>,
    ) -> Result<Vec<Vec<f32>>, Error> {
        let channels = self.mean.len();
        for token in latents.chunks_exact_mut(channels) {
            for ((value, mean), deviation) in token.iter_mut().zip(&self.mean).zip(&self.deviation) {
                *value = *value * deviation / self.scaling + mean;
            }
        }
        if let Some(noise) = &noise {
            let tokens = latents.len() / channels;
            for (token, values) in latents.chunks_exact_mut(channels).enumerate() {
                for (channel, value) in values.iter_mut().enumerate() {
                    let noisy = noise.values[channel * tokens + token];
                    *value = (1.0 - noise.share) * *value + noise.share * noisy;
                }
            }
        }
        let pixels = self.decoder.decode(&latents, size, noise.map(|n| n.timestep));
        if !pixels.iter().all(|v| v.is_finite()) {
            return Err(Error::NanOutput { stage: Stage::Decode, step: None });
        }
        let frame = 3 * size[1] * size[2] * self.pixels_per_latent.pow(2);
        let shown = |frame: &[f32]| frame.iter().map(|v| (v / 2.0 + 0.5).clamp(0.0, 1.0)).collect();
        Ok(pixels.chunks_exact(frame).map(shown).collect())
    }
}
