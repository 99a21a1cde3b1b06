//! What is asked of a pipeline, and the check that it can be done. It fills in nothing that a card's rule does not.

use std::collections::BTreeMap;

use crate::card::{Card, Rule};
use crate::error::Error;

/// One clip to render.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub prompt: String,
    pub negative_prompt: String,
    pub seed: u64,
    pub width: u32,
    pub height: u32,
    pub num_frames: u32,
    /// Frames a second; it tells the model how far frames are apart.
    pub fps: f64,
    pub steps: u32,
    /// Above 1 the negative prompt is rendered beside the prompt.
    pub guidance: f64,
    pub guidance_rescale: f64,
    pub decode_timestep: f64,
    pub decode_noise_scale: f64,
    /// Tokens of the prompt that count.
    pub max_sequence_length: u32,
    /// Whether large frames are decoded in tiles, in less memory.
    pub vae_tiling: bool,
}

/// The value of a parameter as it stands in a job's specification.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(f64),
    Text(String),
    Flag(bool),
}

/// Parameters by name.
pub type Params = BTreeMap<String, Value>;

impl Request {
    /// A request from parameters, with the card's defaults for those that are absent.
    ///
    /// # Errors
    /// `BadRequest` for a parameter that the card does not know, has no default for, or whose value breaks its rule.
    pub fn from_params(
        card: &Card,
        prompt: &str,
        negative_prompt: &str,
        seed: u64,
        params: &Params,
    ) -> Result<Self, Error> {
        if let Some(param) = params.keys().find(|p| !card.rules.contains_key(*p)) {
            let known: Vec<&str> = card.rules.keys().map(String::as_str).collect();
            return Err(bad(
                param,
                "this model has no such parameter",
                format!("it has {}", known.join(", ")),
            ));
        }
        let reader = Reader { card, params };
        let (width, height) = reader.pixels("size")?;
        let decode_timestep = reader.optional("decode_timestep")?.unwrap_or(0.0);
        let request = Self {
            prompt: prompt.to_owned(),
            negative_prompt: negative_prompt.to_owned(),
            seed,
            width,
            height,
            num_frames: reader.whole("num_frames")?,
            fps: reader.number("fps")?,
            steps: reader.whole("steps")?,
            guidance: reader.number("guidance")?,
            guidance_rescale: reader.number("guidance_rescale")?,
            decode_timestep,
            decode_noise_scale: reader.optional("decode_noise_scale")?.unwrap_or(decode_timestep),
            max_sequence_length: reader.whole("max_sequence_length")?,
            vae_tiling: reader.flag("vae_tiling")?,
        };
        request.check(card)?;
        Ok(request)
    }

    /// Whether this model can render it.
    ///
    /// # Errors
    /// `BadRequest`, with the nearest value that the model takes.
    pub fn check(&self, card: &Card) -> Result<(), Error> {
        for (param, text) in [("prompt", &self.prompt), ("negative_prompt", &self.negative_prompt)] {
            if text.len() > card.prompt_bytes_max {
                let message = format!("{} bytes", text.len());
                return Err(bad(param, message, format!("at most {} bytes", card.prompt_bytes_max)));
            }
        }
        for (param, rule) in &card.rules {
            match (param.as_str(), rule) {
                ("size", rule) => rule.check_size(param, self.width, self.height)?,
                ("num_frames", rule) => rule.check_number(param, f64::from(self.num_frames))?,
                ("fps", rule) => rule.check_number(param, self.fps)?,
                ("steps", rule) => rule.check_number(param, f64::from(self.steps))?,
                ("guidance", rule) => rule.check_number(param, self.guidance)?,
                ("guidance_rescale", rule) => rule.check_number(param, self.guidance_rescale)?,
                ("decode_timestep", rule) => rule.check_number(param, self.decode_timestep)?,
                ("decode_noise_scale", rule) => rule.check_number(param, self.decode_noise_scale)?,
                ("max_sequence_length", rule) => {
                    rule.check_number(param, f64::from(self.max_sequence_length))?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

pub(crate) fn bad(param: &str, message: impl Into<String>, remedy: impl Into<String>) -> Error {
    Error::BadRequest { param: param.to_owned(), message: message.into(), remedy: remedy.into() }
}

struct Reader<'a> {
    card: &'a Card,
    params: &'a Params,
}

impl Reader<'_> {
    /// The number given for `param`, or the card's default; none where the card has neither.
    fn optional(&self, param: &str) -> Result<Option<f64>, Error> {
        match self.params.get(param) {
            Some(Value::Number(number)) => Ok(Some(*number)),
            Some(other) => Err(bad(param, format!("{other:?} is not a number"), "give a number")),
            None => Ok(self.card.rules.get(param).and_then(Rule::default_number)),
        }
    }

    fn number(&self, param: &str) -> Result<f64, Error> {
        self.optional(param)?.ok_or_else(|| bad(param, "missing", "this model has no default for it"))
    }

    /// The flag given for `param`, or the card's default; false where the card does not know it.
    fn flag(&self, param: &str) -> Result<bool, Error> {
        match (self.params.get(param), self.card.rules.get(param)) {
            (Some(Value::Flag(flag)), _) => Ok(*flag),
            (Some(other), _) => Err(bad(param, format!("{other:?} is not a flag"), "give true or false")),
            (None, Some(Rule::Flag { default })) => Ok(*default),
            (None, _) => Ok(false),
        }
    }

    fn whole(&self, param: &str) -> Result<u32, Error> {
        let number = self.number(param)?;
        if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) {
            return Ok(number as u32);
        }
        Err(bad(param, format!("{number} is not a whole number"), "give a whole number"))
    }

    fn pixels(&self, param: &str) -> Result<(u32, u32), Error> {
        match (self.params.get(param), self.card.rules.get(param)) {
            (Some(Value::Text(text)), _) => parse_size(text)
                .ok_or_else(|| bad(param, format!("`{text}` is not a size"), "write it as 704x512")),
            (Some(other), _) => {
                Err(bad(param, format!("{other:?} is not a size"), "write it as \"704x512\""))
            }
            (None, Some(Rule::Size { default: Some(size), .. })) => Ok(*size),
            (None, _) => Err(bad(param, "missing", "write it as 704x512")),
        }
    }
}

/// `704x512` as width and height.
pub(crate) fn parse_size(text: &str) -> Option<(u32, u32)> {
    let (width, height) = text.split_once('x')?;
    Some((width.parse().ok()?, height.parse().ok()?))
}
