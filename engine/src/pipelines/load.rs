//! Finds the parts of a model in its folder, checks all of them, and loads those that are to stay.
//!
//! A file that lacks a tensor or has one too many is refused here, whether it is read now or in the middle of a render.

use serde_json::Value;

use super::decode::{Geometry, Video};
use super::encode::Encoder;
use super::networks::{Denoiser, Frames, Text};
use super::parts::{Part, Parts};
use crate::error::Error;
use crate::files::Files;
use crate::models::text::T5Config;
use crate::models::transformers::ltx::Config;
use crate::parallel::{Mode, Split};
use crate::place::Place;
use crate::residency::Residency;
use crate::schedulers::FlowMatchEuler;
use crate::settings::Settings;
use crate::weights::Source;

/// An LTX-Video whose files were checked: what they say of it, and its parts, loaded or to be loaded.
#[derive(Debug)]
pub(crate) struct Ltx {
    pub(crate) encoder: Encoder,
    pub(crate) schedule: FlowMatchEuler,
    pub(crate) parts: Parts,
    /// Of the transformer.
    pub(crate) config: Config,
    /// Of the text encoder.
    pub(crate) text_heads: usize,
    pub(crate) text_layers: usize,
    pub(crate) geometry: Geometry,
    pub(crate) decoded_per_pixel: usize,
    pub(crate) numbers: Numbers,
    pub(crate) parameters: u64,
    pub(crate) weights_bytes: u64,
    /// All files that were looked at.
    pub(crate) file_names: Vec<String>,
}

/// How many there are in each part.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Numbers {
    /// But the table of words.
    pub(crate) text: u64,
    pub(crate) blocks: u64,
    /// Of the transformer.
    pub(crate) rest: u64,
    pub(crate) decoder: u64,
}

const INDEX: &str = "model_index.json";
/// The two differ in what a request may hold, not in their parts.
const PIPELINES: [&str; 2] = ["LTXPipeline", "LTXConditionPipeline"];

struct Loader<'a> {
    files: &'a Files,
    parameters: u64,
    weights_bytes: u64,
    names: Vec<String>,
}

/// Opens LTX-Video in a folder in the diffusers layout, and loads it if all of it stays in memory.
///
/// Of a split model this rank's part; frames are decoded by rank 0, which alone reads the decoder.
pub(crate) fn ltx(files: &Files, split: &Split, residency: Residency, place: &Place) -> Result<Ltx, Error> {
    let mut loader = Loader { files, parameters: 0, weights_bytes: 0, names: Vec::new() };
    let index = loader.settings(INDEX)?;
    if !index.text("_class_name").is_some_and(|class| PIPELINES.contains(&class)) {
        let class = index.get("_class_name").map_or("a pipeline without a name".to_owned(), Value::to_string);
        return Err(Error::Unsupported {
            what: format!("{class} in {INDEX}"),
            remedy: format!("the engine renders {}", PIPELINES.join(" and ")),
        });
    }
    let schedule = FlowMatchEuler::read(&loader.settings("scheduler/scheduler_config.json")?)?;
    let stays = residency.keeps_all();

    let words = super::encode::Words::read(files)?;
    loader.names.push(words.file.to_owned());
    let config = T5Config::read(&loader.settings("text_encoder/config.json")?)?;
    let (text_heads, text_layers) = (config.heads, config.layers);
    let (text_width, words_numbers) = (config.width, config.words_numbers());
    let by_heads = split.clone().by(Mode::Tensor);
    let on = place.clone();
    let build = move |source: &mut Source| Text::load(&on, config.clone(), source, &by_heads);
    let (text, ()) = loader.part("text_encoder/model", stays, build, |_| ())?;
    let text_numbers = loader.parameters.saturating_sub(words_numbers);

    let settings = loader.settings("transformer/config.json")?;
    let config = Config::read(&settings)?;
    if config.caption_channels != text_width {
        let message = format!("{}, but the text encoder gives {text_width}", config.caption_channels);
        return Err(settings.wrong("caption_channels", message));
    }
    let before = loader.parameters;
    let (of_parts, its_split) = (config.clone(), split.clone());
    let on = place.clone();
    let build = move |source: &mut Source| Denoiser::load(&on, of_parts.clone(), source, &its_split);
    let stem = "transformer/diffusion_pytorch_model";
    let (transformer, blocks) = loader.part(stem, stays, build, Denoiser::numbers_in_blocks)?;
    let rest = loader.parameters - before - blocks;

    let settings = loader.settings("vae/config.json")?;
    let geometry = Geometry::read(&settings, config.in_channels)?;
    let (channels, on) = (config.in_channels, place.clone());
    let build = move |source: &mut Source| {
        let decoder = Frames::load(&on, settings.value(), source)?;
        Video::load(&settings, geometry, channels, decoder, source)
    };
    let learn = |video: &Video| (video.numbers(), video.decoded_per_pixel());
    let stem = "vae/diffusion_pytorch_model";
    let (video, (decoder, decoded_per_pixel)) =
        loader.part(stem, stays && split.rank() == 0, build, learn)?;
    Ok(Ltx {
        encoder: Encoder::new(words),
        schedule,
        parts: Parts::new(residency, text, transformer, video),
        config,
        text_heads,
        text_layers,
        geometry,
        decoded_per_pixel,
        numbers: Numbers { text: text_numbers, blocks, rest, decoder },
        parameters: loader.parameters,
        weights_bytes: loader.weights_bytes,
        file_names: loader.names,
    })
}

impl Loader<'_> {
    fn settings(&mut self, name: &str) -> Result<Settings, Error> {
        self.names.push(name.to_owned());
        Settings::read(self.files, name)
    }

    /// Opens one part; none of its tensors may be missing or left over.
    fn part<T, F>(
        &mut self,
        stem: &str,
        stays: bool,
        build: impl Fn(&mut Source) -> Result<T, Error> + Send + Sync + 'static,
        learn: impl FnOnce(&T) -> F,
    ) -> Result<(Part<T>, F), Error> {
        let (part, learnt) = Part::open(Source::open(self.files, stem)?, stays, build, learn)?;
        self.parameters += part.source().parameters();
        self.weights_bytes += part.source().bytes();
        self.names.extend(part.source().file_names());
        Ok((part, learnt))
    }
}
