//! What the farm must know of a model to plan with it, frozen into the job at its submission.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::split::{GUIDANCE_RANKS, Mode, Shape};

/// A parameter's value, as written in a spec and as a rank takes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ParamValue {
    Flag(bool),
    Number(f64),
    Text(String),
}

/// Parameters by their diffusers names.
pub type Params = BTreeMap<String, ParamValue>;

/// A model, as the registry found it. Plain data: a job keeps planning by the card it was submitted with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// As the spec names it.
    pub name: String,
    /// `ltx-video`, …
    pub family: String,
    /// sha256 over the model's files, hex.
    pub digest: String,
    pub parameters: u64,
    pub weights_bytes: u64,
    /// Whether a task makes a clip (frames and a preview) or a single picture.
    pub makes: Makes,
    /// Every parameter it takes, with its rule and default.
    pub params: BTreeMap<String, ParamRule>,
    pub prompt_bytes_max: usize,
    /// Devices that one task may be split over, at most.
    #[serde(default = "one")]
    pub ranks_max: u32,
    /// What memory and arithmetic depend on; `None` for what is no transformer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Shape>,
}

fn one() -> u32 {
    1
}

impl ModelCard {
    /// Devices that one task may be split over in this way, at most.
    #[must_use]
    pub fn ranks_max_by(&self, mode: Mode) -> u32 {
        match (mode, &self.shape) {
            (Mode::Tensor, _) | (_, None) => self.ranks_max,
            (Mode::Layers, Some(shape)) => shape.layers.min(shape.text_heads),
            (Mode::Guidance, Some(_)) => GUIDANCE_RANKS,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Makes {
    Clip,
    Still,
    /// Nothing at all: the model of scheduling benchmarks.
    Nothing,
}

/// What a parameter may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParamRule {
    pub kind: ParamKind,
    /// The pipeline's own default; `None` means the parameter is off when left out.
    pub default: Option<ParamValue>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum ParamKind {
    Number {
        min: f64,
        max: f64,
    },
    /// A whole number in `min..=max` that leaves `remainder` when divided by `multiple` (LTX frames: 8k + 1).
    Whole {
        min: u64,
        max: u64,
        multiple: u64,
        remainder: u64,
    },
    /// `WIDTHxHEIGHT`, each a multiple of `multiple`, each in `min..=max`.
    Size {
        multiple: u32,
        min: u32,
        max: u32,
    },
    Flag,
    Text {
        bytes_max: usize,
    },
}
