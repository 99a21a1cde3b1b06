//! What a model is and what can be asked of it, found without building it: every configuration is read, every weights
//! file is checked by its header and length, and all bytes are hashed. It runs nothing.

mod digest;
mod rule;

use std::collections::BTreeMap;

pub use rule::Rule;

use crate::error::Error;
use crate::files::Files;
use crate::models::autoencoders::Tiling;
use crate::parallel::Split;
use crate::pipelines::load;
use crate::place::Place;
use crate::request::parse_size;
use crate::residency::Residency;

/// Where a folder may set other defaults than the family's.
const OWN: &str = "croft.json";

/// What a model makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Makes {
    Clip,
}

/// A model's card.
#[derive(Clone, Debug)]
pub struct Card {
    pub name: String,
    pub family: &'static str,
    /// SHA-256 in hexadecimal over the SHA-256 and the name of each file.
    pub digest: String,
    /// Numbers in all tensors.
    pub parameters: u64,
    pub weights_bytes: u64,
    pub makes: Makes,
    /// What each parameter may be, by its name in a specification.
    pub rules: BTreeMap<String, Rule>,
    pub prompt_bytes_max: usize,
    /// Over how many ranks it can be split by heads: each needs one.
    pub ranks_max: usize,
    pub shape: Shape,
}

/// What its memory and arithmetic depend on: numbers in its parts, and sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Of the text encoder but its table of words, which is read row by row.
    pub text: u64,
    /// Of the transformer's blocks, and of the rest of it.
    pub blocks: u64,
    pub rest: u64,
    pub decoder: u64,
    pub layers: usize,
    pub heads: usize,
    pub text_heads: usize,
    pub text_layers: usize,
    /// Of the stream.
    pub width: usize,
    /// Of the latents.
    pub channels: usize,
    pub frames_per_latent: usize,
    pub pixels_per_latent: usize,
    /// Numbers that the decoder's last stage has for each pixel of the clip.
    pub decoded_per_pixel: usize,
}

/// Checks the model and describes it.
///
/// # Errors
/// Those of a model that cannot be loaded: `UnknownModel`, `Missing`, `MissingTensor`, `WrongShape`, `WrongDtype`,
/// `Truncated`, `Unused`, `Config`, `Unsupported`, `Io`.
pub fn card(model: &str) -> Result<Card, Error> {
    let files = Files::open(model)?;
    // Nothing is loaded of a model whose parts do not stay.
    let ltx = load::ltx(&files, &Split::whole(), Residency::Sequential, &Place::Cpu)?;
    let mut rules = rules(&ltx);
    let mut names = ltx.file_names.clone();
    if files.has(OWN) {
        own_defaults(&files, &mut rules)?;
        names.push(OWN.into());
    }
    Ok(Card {
        name: files.name(model),
        family: "ltx-video",
        digest: digest::digest(&files, names)?,
        parameters: ltx.parameters,
        weights_bytes: ltx.weights_bytes,
        makes: Makes::Clip,
        rules,
        prompt_bytes_max: 4096,
        ranks_max: ltx.text_heads.min(ltx.config.heads),
        shape: Shape {
            text: ltx.numbers.text,
            blocks: ltx.numbers.blocks,
            rest: ltx.numbers.rest,
            decoder: ltx.numbers.decoder,
            layers: ltx.config.layers,
            heads: ltx.config.heads,
            text_heads: ltx.text_heads,
            text_layers: ltx.text_layers,
            width: ltx.config.width(),
            channels: ltx.config.in_channels,
            frames_per_latent: ltx.geometry.frames_per_latent,
            pixels_per_latent: ltx.geometry.pixels_per_latent,
            decoded_per_pixel: ltx.decoded_per_pixel,
        },
    })
}

/// Defaults are those of diffusers' LTXPipeline.
fn rules(ltx: &load::Ltx) -> BTreeMap<String, Rule> {
    let number = |min, max, default| Rule::Number { min, max, default };
    let whole = |min, max, multiple, remainder, default| Rule::Whole {
        min,
        max,
        multiple,
        remainder,
        default: Some(default),
    };
    let frames = ltx.geometry.frames_per_latent as u64;
    let pixels = ltx.geometry.pixels_per_latent as u32;
    let mut rules = vec![
        // diffusers asks for multiples of 32 whatever the autoencoder.
        ("size", Rule::Size { multiple: lcm(32, pixels), min: 32, max: 2048, default: Some((704, 512)) }),
        ("num_frames", whole(1, 1 + 128 * frames, frames, 1 % frames, 161)),
        ("fps", number(1.0, 120.0, Some(25.0))),
        ("steps", whole(1, 500, 1, 0, 50)),
        ("guidance", number(1.0, 50.0, Some(3.0))),
        ("guidance_rescale", number(0.0, 1.0, Some(0.0))),
        ("max_sequence_length", whole(1, 512, 1, 0, 128)),
    ];
    if ltx.geometry.timestep {
        rules.push(("decode_timestep", number(0.0, 1.0, Some(0.0))));
        rules.push(("decode_noise_scale", number(0.0, 1.0, None)));
    }
    if Tiling::VIDEO.fits(ltx.geometry.pixels_per_latent) {
        rules.push(("vae_tiling", Rule::Flag { default: false }));
    }
    rules.into_iter().map(|(name, rule)| (name.to_owned(), rule)).collect()
}

fn own_defaults(files: &Files, rules: &mut BTreeMap<String, Rule>) -> Result<(), Error> {
    let json = files.json(OWN)?;
    let Some(defaults) = json.get("defaults").and_then(|d| d.as_object()) else { return Ok(()) };
    for (name, value) in defaults {
        let wrong = |message: &str| Error::Config {
            file: OWN.into(),
            key: format!("defaults.{name}"),
            message: message.into(),
        };
        let rule = rules.get_mut(name).ok_or_else(|| wrong("this model has no such parameter"))?;
        let size = value.as_str().and_then(parse_size);
        rule.set_default(value.as_f64(), size).map_err(|message| wrong(&message))?;
    }
    Ok(())
}

fn lcm(a: u32, b: u32) -> u32 {
    let gcd = |mut a: u32, mut b: u32| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    a / gcd(a, b) * b
}
