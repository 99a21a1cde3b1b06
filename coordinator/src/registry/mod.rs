//! Models by name: `builtin://shapes`, `builtin://noop`, or a folder that coordinator and workers both can read.
//! A name becomes the card that a job is planned with. No model is built and nothing is fetched here.

mod cache;
mod print;

use std::collections::BTreeMap;

use croft_core::{
    model_card::{Makes, ModelCard, ParamKind, ParamRule, ParamValue},
    split::Shape,
};
use croft_engine::card::{Card, Rule};

pub(crate) use cache::Registry;

/// The model of scheduling benchmarks: its tasks make nothing.
pub const NOOP: &str = "builtin://noop";

/// Why a name has no card.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("'{name}' is no model: give an absolute folder, or one of builtin://shapes and builtin://noop")]
    NotAName { name: String },
    #[error("model '{name}': {message}; {remedy}")]
    Unusable { name: String, message: String, remedy: String },
    #[error("model '{name}' cannot be looked at now: too many others are; try again")]
    Busy { name: String },
}

impl Error {
    /// What is wrong, and what a person can do about it.
    #[must_use]
    pub fn told(&self) -> (String, String) {
        match self {
            Self::NotAName { name } => (
                format!("'{name}' is no model"),
                "give an absolute folder, or one of builtin://shapes and builtin://noop".to_owned(),
            ),
            Self::Unusable { message, remedy, .. } => (message.clone(), remedy.clone()),
            Self::Busy { name } => (
                format!("model '{name}' cannot be looked at now"),
                "too many others are: try again".to_owned(),
            ),
        }
    }
}

/// The card of a model. Reads every byte of its files for their digest: seconds for gigabytes. For a caller that asks
/// again and again there is a cache in the coordinator.
///
/// # Errors
/// For a name that is none, and for a model that cannot be loaded: the message names file and tensor.
pub fn card(name: &str) -> Result<ModelCard, Error> {
    if name == NOOP {
        return Ok(noop());
    }
    if !name.starts_with("builtin://") && !std::path::Path::new(name).is_absolute() {
        return Err(Error::NotAName { name: name.to_owned() });
    }
    match croft_engine::card::card(name) {
        Ok(card) => Ok(convert(name, card)),
        Err(error) => {
            Err(Error::Unusable { name: name.to_owned(), message: error.to_string(), remedy: error.remedy() })
        }
    }
}

/// As many as a layer may ask for.
const NOOP_RANKS_MAX: u32 = 64;

fn noop() -> ModelCard {
    ModelCard {
        name: NOOP.to_owned(),
        family: "noop".to_owned(),
        digest: "0".repeat(64),
        parameters: 0,
        weights_bytes: 0,
        makes: Makes::Nothing,
        params: BTreeMap::new(),
        prompt_bytes_max: 4_096,
        ranks_max: NOOP_RANKS_MAX,
        shape: None,
    }
}

fn convert(name: &str, card: Card) -> ModelCard {
    let makes = match card.makes {
        croft_engine::card::Makes::Clip => Makes::Clip,
    };
    ModelCard {
        name: name.to_owned(),
        family: card.family.to_owned(),
        digest: card.digest,
        parameters: card.parameters,
        weights_bytes: card.weights_bytes,
        makes,
        params: card.rules.into_iter().map(|(name, rule)| (name, param(rule))).collect(),
        prompt_bytes_max: card.prompt_bytes_max,
        ranks_max: small(card.ranks_max),
        shape: Some(shape(&card.shape)),
    }
}

fn shape(shape: &croft_engine::card::Shape) -> Shape {
    Shape {
        text: shape.text,
        blocks: shape.blocks,
        rest: shape.rest,
        decoder: shape.decoder,
        layers: small(shape.layers),
        heads: small(shape.heads),
        text_heads: small(shape.text_heads),
        text_layers: small(shape.text_layers),
        width: small(shape.width),
        channels: small(shape.channels),
        frames_per_latent: small(shape.frames_per_latent),
        pixels_per_latent: small(shape.pixels_per_latent),
        decoded_per_pixel: small(shape.decoded_per_pixel),
    }
}

fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn param(rule: Rule) -> ParamRule {
    match rule {
        Rule::Number { min, max, default } => {
            ParamRule { kind: ParamKind::Number { min, max }, default: default.map(ParamValue::Number) }
        }
        Rule::Whole { min, max, multiple, remainder, default } => ParamRule {
            kind: ParamKind::Whole { min, max, multiple, remainder },
            // Exact: no parameter of a pipeline comes near 2^53.
            default: default.map(|whole| ParamValue::Number(whole as f64)),
        },
        Rule::Size { multiple, min, max, default } => ParamRule {
            kind: ParamKind::Size { multiple, min, max },
            default: default.map(|(width, height)| ParamValue::Text(format!("{width}x{height}"))),
        },
        Rule::Flag { default } => {
            ParamRule { kind: ParamKind::Flag, default: Some(ParamValue::Flag(default)) }
        }
        Rule::Text { bytes_max, default } => {
            ParamRule { kind: ParamKind::Text { bytes_max }, default: Some(ParamValue::Text(default)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_folder_is_no_name() {
        for name in ["models/ltx", "builtin:shapes", ""] {
            assert!(matches!(card(name), Err(Error::NotAName { .. })), "{name}");
        }
    }

    #[test]
    fn a_folder_without_a_model_says_which_file_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().to_str().unwrap();
        let error = card(name).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
        assert!(error.contains("model_index.json"), "{error}");
    }

    #[test]
    fn noop_makes_nothing() {
        assert_eq!(card(NOOP).unwrap().makes, Makes::Nothing);
    }
}
