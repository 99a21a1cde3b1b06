//! Finds the parts of a model in its folder and builds them, or only checks that they could be built.

use serde_json::Value;

use super::decode::Video;
use super::encode::Encoder;
use crate::error::Error;
use crate::files::Files;
use crate::models::autoencoders::ltx::Decoder;
use crate::models::text::{T5, T5Config};
use crate::models::transformers::ltx::{Config, Transformer};
use crate::parallel::{Mode, Split};
use crate::schedulers::FlowMatchEuler;
use crate::settings::Settings;
use crate::weights::Source;

/// How much of the weights is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    All,
    /// Names, shapes and lengths; what is built can be dropped and nothing else.
    Headers,
}

/// The parts of LTX-Video.
#[derive(Debug)]
pub(crate) struct Ltx {
    pub(crate) encoder: Encoder,
    pub(crate) transformer: Transformer,
    pub(crate) schedule: FlowMatchEuler,
    pub(crate) video: Video,
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
    reading: Reading,
    parameters: u64,
    weights_bytes: u64,
    names: Vec<String>,
}

/// Loads LTX-Video from a folder in the diffusers layout.
///
/// Of a split model this rank's part; frames are decoded by rank 0, which alone reads the decoder.
pub(crate) fn ltx(files: &Files, reading: Reading, split: &Split) -> Result<Ltx, Error> {
    let mut loader = Loader { files, reading, parameters: 0, weights_bytes: 0, names: Vec::new() };
    let index = loader.settings(INDEX)?;
    if !index.text("_class_name").is_some_and(|class| PIPELINES.contains(&class)) {
        let class = index.get("_class_name").map_or("a pipeline without a name".to_owned(), Value::to_string);
        return Err(Error::Unsupported {
            what: format!("{class} in {INDEX}"),
            remedy: format!("the engine renders {}", PIPELINES.join(" and ")),
        });
    }
    let schedule = FlowMatchEuler::read(&loader.settings("scheduler/scheduler_config.json")?)?;

    let words = super::encode::Words::read(files)?;
    loader.names.push(words.file.to_owned());
    let settings = loader.settings("text_encoder/config.json")?;
    let config = T5Config::read(&settings)?;
    let text_width = config.width;
    let words_numbers = config.words_numbers();
    let by_heads = split.clone().by(Mode::Tensor);
    let t5 = loader.weights("text_encoder/model", |source| T5::load(config, source, &by_heads))?;
    let text = loader.parameters.saturating_sub(words_numbers);

    let settings = loader.settings("transformer/config.json")?;
    let config = Config::read(&settings)?;
    if config.caption_channels != text_width {
        let message = format!("{}, but the text encoder gives {text_width}", config.caption_channels);
        return Err(settings.wrong("caption_channels", message));
    }
    let channels = config.in_channels;
    let before = loader.parameters;
    let transformer = loader
        .weights("transformer/diffusion_pytorch_model", |source| Transformer::load(config, source, split))?;
    let all = loader.parameters - before;
    let blocks = transformer.numbers_in_blocks();
    if split.rank() != 0 {
        loader.reading = Reading::Headers;
    }

    let settings = loader.settings("vae/config.json")?;
    let video = loader.weights("vae/diffusion_pytorch_model", |source| {
        let decoder = Decoder::new(settings.value(), source)?;
        Video::load(&settings, channels, decoder, source)
    })?;
    let decoder = video.numbers();
    Ok(Ltx {
        numbers: Numbers { text, blocks, rest: all - blocks, decoder },
        encoder: Encoder::new(words, t5),
        transformer,
        schedule,
        video,
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

    /// Builds one part; none of its tensors may be left over.
    fn weights<T>(
        &mut self,
        stem: &str,
        build: impl FnOnce(&mut Source) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut source = match self.reading {
            Reading::All => Source::open(self.files, stem)?,
            Reading::Headers => Source::headers(self.files, stem)?,
        };
        let part = build(&mut source)?;
        source.finish()?;
        self.parameters += source.parameters();
        self.weights_bytes += source.bytes();
        self.names.extend(source.file_names());
        Ok(part)
    }
}
