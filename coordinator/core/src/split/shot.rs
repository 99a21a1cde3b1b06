//! What a request asks for, as far as memory and arithmetic depend on it: read off its parameters, never guessed.

use crate::model_card::{ParamValue, Params};

/// Sides and frames of a tile; diffusers' own, one frame being shared with the tile before.
const TILE_SIDE: u32 = 512;
const TILE_FRAMES: u32 = 17;

/// What a request asks for, as far as memory and arithmetic depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shot {
    pub width: u32,
    pub height: u32,
    pub frames: u32,
    /// Whether a step has two branches.
    pub is_guided: bool,
    pub text_tokens: u32,
    /// Whether it is decoded a tile at a time.
    pub is_tiled: bool,
}

/// Of two values of one parameter the one with which a clip needs more.
pub(crate) fn larger(one: ParamValue, other: ParamValue) -> ParamValue {
    let area = |size: &str| {
        let (width, height) = size.split_once('x').unwrap_or_default();
        width.parse::<u64>().unwrap_or(0) * height.parse::<u64>().unwrap_or(0)
    };
    match (&one, &other) {
        (ParamValue::Number(a), ParamValue::Number(b)) if b > a => other,
        (ParamValue::Text(a), ParamValue::Text(b)) if area(b) > area(a) => other,
        // Without tiles.
        (ParamValue::Flag(true), ParamValue::Flag(false)) => other,
        _ => one,
    }
}

impl Shot {
    /// Of a task's parameters; `None` where one is not set or varies from task to task.
    #[must_use]
    pub fn of(params: &Params) -> Option<Self> {
        let number = |name: &str| match params.get(name) {
            Some(ParamValue::Number(number)) => Some(*number),
            Some(ParamValue::Flag(_) | ParamValue::Text(_)) | None => None,
        };
        let Some(ParamValue::Text(size)) = params.get("size") else { return None };
        let (width, height) = size.split_once('x')?;
        Some(Self {
            width: width.parse().ok()?,
            height: height.parse().ok()?,
            frames: number("num_frames")? as u32,
            is_guided: number("guidance").is_some_and(|guidance| guidance > 1.0),
            text_tokens: number("max_sequence_length").unwrap_or(128.0) as u32,
            is_tiled: params.get("vae_tiling") == Some(&ParamValue::Flag(true)),
        })
    }

    pub(super) fn branches(&self) -> u64 {
        if self.is_guided { 2 } else { 1 }
    }

    pub(super) fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height) * u64::from(self.frames)
    }

    pub(super) fn tile(&self) -> Self {
        Self {
            width: self.width.min(TILE_SIDE),
            height: self.height.min(TILE_SIDE),
            frames: self.frames.min(TILE_FRAMES),
            ..*self
        }
    }
}
