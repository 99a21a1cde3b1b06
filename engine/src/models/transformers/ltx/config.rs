//! The sizes in transformer/config.json. Switches that no release of LTX-Video uses are refused.

use std::ops::Range;

use crate::error::Error;
use crate::parallel::{Mode, Split};
use crate::settings::Settings;

/// Branches of the guidance: one without the prompt, one with it.
const GUIDED: usize = 2;

/// The sizes of a transformer.
#[derive(Clone, Debug)]
pub struct Config {
    pub in_channels: usize,
    pub out_channels: usize,
    pub heads: usize,
    /// Width of a head.
    pub head: usize,
    pub layers: usize,
    /// Width of the text states.
    pub caption_channels: usize,
    pub(crate) norm_eps: f32,
    pub(crate) attention_bias: bool,
    pub(crate) attention_out_bias: bool,
}

impl Config {
    pub(crate) fn read(settings: &Settings) -> Result<Self, Error> {
        settings.only("qk_norm", "rms_norm_across_heads")?;
        settings.only("activation_fn", "gelu-approximate")?;
        settings.only("norm_elementwise_affine", false)?;
        settings.only("patch_size", 1)?;
        settings.only("patch_size_t", 1)?;
        let in_channels = settings.size("in_channels", Some(128))?;
        let config = Self {
            in_channels,
            out_channels: settings.size("out_channels", Some(in_channels))?,
            heads: settings.size("num_attention_heads", Some(32))?,
            head: settings.size("attention_head_dim", Some(64))?,
            layers: settings.size("num_layers", Some(28))?,
            caption_channels: settings.size("caption_channels", Some(4096))?,
            norm_eps: settings.number("norm_eps", Some(1e-6))? as f32,
            attention_bias: settings.flag("attention_bias", true)?,
            attention_out_bias: settings.flag("attention_out_bias", true)?,
        };
        if !config.width().is_multiple_of(2) {
            return Err(settings.wrong("attention_head_dim", "the rotary turn needs an even width"));
        }
        let cross = settings.size("cross_attention_dim", Some(2048))?;
        if cross != config.width() {
            let message = format!("{cross}, but projected text is {} wide", config.width());
            return Err(settings.wrong("cross_attention_dim", message));
        }
        Ok(config)
    }

    /// # Errors
    /// `Unsupported` for a split that leaves a rank without a head, a layer or a branch, or half of a pair that is turned.
    pub(crate) fn check(&self, split: &Split) -> Result<(), Error> {
        match split.mode() {
            // Pairs run over all heads side by side.
            Mode::Tensor if !split.is_whole() && !self.head.is_multiple_of(2) => Err(Error::Unsupported {
                what: format!("splitting the transformer by heads {} wide, which halve a pair", self.head),
                remedy: "split it by layers or by guidance, or not at all".into(),
            }),
            Mode::Tensor => split.check("the transformer", "head", self.heads),
            Mode::Layers => split.check("the transformer", "layer", self.layers),
            Mode::Guidance => split.check("the guidance", "branch", GUIDED),
        }
    }

    /// Where a rank's heads lie in the stream.
    pub(crate) fn columns(&self, split: &Split) -> Range<usize> {
        let heads = split.part(self.heads);
        heads.start * self.head..heads.end * self.head
    }

    /// Width of the stream: all heads side by side.
    pub fn width(&self) -> usize {
        self.heads * self.head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_that_halve_a_pair_are_split_by_layers_alone() {
        let config = Config {
            in_channels: 8,
            out_channels: 8,
            heads: 4,
            head: 3,
            layers: 2,
            caption_channels: 8,
            norm_eps: 1e-6,
            attention_bias: true,
            attention_out_bias: true,
        };
        let halves = Split::equal(0, 2);
        assert!(config.check(&Split::whole()).is_ok());
        assert!(config.check(&halves).is_err());
        assert!(config.check(&halves.by(Mode::Layers)).is_ok());
        assert!(Config { head: 6, ..config }.check(&Split::equal(0, 2)).is_ok());
    }
}
