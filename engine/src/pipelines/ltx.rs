//! Text to video with LTX-Video, as diffusers' LTXPipeline does it: the same noise for a seed, the same levels, the
//! same guidance. Images and other videos are not its work.

use std::time::Instant;

use super::decode::DecodeNoise;
use super::denoise::{Guidance, Work, denoise};
use super::load::{self, Reading};
use super::{Clip, Times};
use crate::card::{Card, card};
use crate::error::Error;
use crate::files::Files;
use crate::models::transformers::ltx::Grid;
use crate::noise::Generator;
use crate::parallel::{Group, Split};
use crate::progress::{Observer, Stage};
use crate::request::Request;

/// A loaded model, ready to render; several clips at once where each has its own group.
#[derive(Debug)]
pub struct Pipeline {
    parts: load::Ltx,
    card: Card,
    split: Split,
}

/// A render that was taken up where another left it.
#[derive(Clone, Debug, PartialEq)]
pub struct Halfway {
    /// Denoising steps that are done.
    pub step: u32,
    /// After that step, `(tokens, channels)`.
    pub latents: Vec<f32>,
}

/// The random numbers of a render, each `(channels, frames, height, width)` of latents.
#[derive(Clone, Debug)]
pub struct Noise {
    pub latents: Vec<f32>,
    /// Mixed in before decoding; only for models whose decoder is told a noise level.
    pub decode: Option<Vec<f32>>,
}

impl Pipeline {
    /// Loads `builtin://NAME` or a folder in the diffusers layout.
    ///
    /// # Errors
    /// As `card::card`.
    pub fn load(model: &str) -> Result<Self, Error> {
        Self::load_as(model, card(model)?)
    }

    /// Loads a model whose card is known, which saves hashing its files.
    ///
    /// # Errors
    /// As `card::card`.
    pub fn load_as(model: &str, card: Card) -> Result<Self, Error> {
        Self::load_split(model, card, &Split::whole())
    }

    /// Loads one rank's part of a model that several share, which `render_in` renders with.
    ///
    /// # Errors
    /// As `card::card`; `Unsupported` for a split that the model cannot do, before anything is read.
    pub fn load_split(model: &str, card: Card, split: &Split) -> Result<Self, Error> {
        let parts = load::ltx(&Files::open(model)?, Reading::All, split)?;
        Ok(Self { parts, card, split: split.clone() })
    }

    /// How the model is split.
    pub fn split(&self) -> &Split {
        &self.split
    }

    /// Blocks of the transformer, those of all ranks.
    pub fn layers(&self) -> usize {
        self.parts.transformer.config().layers
    }

    /// Numbers of text encoder and transformer that this rank holds: those that are split, and those that every rank has.
    pub fn held(&self) -> [usize; 2] {
        let [split, every] = self.parts.transformer.held();
        [split + self.parts.encoder.held(), every]
    }

    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Renders one clip from the noise of the request's seed.
    ///
    /// # Errors
    /// `BadRequest`, `Cancelled`, `NanOutput`, `OutOfMemory`.
    pub fn render(&self, request: &Request, observer: &mut dyn Observer) -> Result<Clip, Error> {
        request.check(&self.card)?;
        let noise = self.noise(request);
        self.render_from(request, noise, observer)
    }

    /// The noise of the request's seed.
    pub fn noise(&self, request: &Request) -> Noise {
        let count =
            self.latent_size(request).iter().product::<usize>() * self.parts.transformer.config().in_channels;
        let mut generator = Generator::new(request.seed);
        let latents = generator.normal(count);
        Noise { latents, decode: self.parts.video.timestep.then(|| generator.normal(count)) }
    }

    /// Renders one clip from noise that is given.
    ///
    /// # Errors
    /// As `render`; also `BadRequest` for noise of another size than the request's.
    pub fn render_from(
        &self,
        request: &Request,
        noise: Noise,
        observer: &mut dyn Observer,
    ) -> Result<Clip, Error> {
        self.run(request, noise, None, &mut Group::solo(), observer)
    }

    /// Renders one clip together with the other ranks of `group`, all of which are asked the same, from the noise of the
    /// request's seed or from where rank 0 takes it up. Rank 0 gets the frames; the clips of the others have none.
    ///
    /// # Errors
    /// As `render`; `Gang` when another rank did not keep up; `BadRequest` for latents of another size than the request's.
    pub fn render_in(
        &self,
        request: &Request,
        halfway: Option<Halfway>,
        group: &mut Group,
        observer: &mut dyn Observer,
    ) -> Result<Clip, Error> {
        request.check(&self.card)?;
        let noise = self.noise(request);
        self.run(request, noise, halfway, group, observer)
    }

    fn run(
        &self,
        request: &Request,
        noise: Noise,
        halfway: Option<Halfway>,
        group: &mut Group,
        observer: &mut dyn Observer,
    ) -> Result<Clip, Error> {
        assert_eq!(*group.split(), self.split, "the gang that the weights were split for");
        request.check(&self.card)?;
        let mut times = Times::default();
        let mut watch = Watch { observer, began: Instant::now() };
        let size = self.latent_size(request);
        let mut latents = self.tokens(&noise.latents, size)?;
        let mut done = 0;
        if let Some(halfway) = halfway {
            if halfway.latents.len() != latents.len() || halfway.step > request.steps {
                return Err(wrong_noise("the latents that were to be taken up are not this request's"));
            }
            (done, latents) = (halfway.step as usize, halfway.latents);
        }

        watch.begin(Stage::Encode);
        let guidance = (request.guidance > 1.0)
            .then_some(Guidance { scale: request.guidance as f32, rescale: request.guidance_rescale as f32 });
        let length = request.max_sequence_length as usize;
        let prompt = self.parts.encoder.encode(&request.prompt, length, group)?;
        let mut context = if guidance.is_some() {
            let negative = self.parts.encoder.encode(&request.negative_prompt, length, group)?;
            self.parts.transformer.context(&[&negative, &prompt], group)?
        } else {
            self.parts.transformer.context(&[&prompt], group)?
        };
        times.encode_ms = watch.end()?;

        watch.begin(Stage::Denoise);
        let transformer = &self.parts.transformer;
        let levels = self.parts.schedule.levels(request.steps as usize, size.iter().product());
        let video = &self.parts.video;
        let pixels = video.pixels_per_latent as f64;
        let step = [video.frames_per_latent as f64 / request.fps, pixels, pixels];
        let rope = transformer.rope(Grid { size, step });
        let work = Work {
            levels: &levels,
            rope: &rope,
            context: &mut context,
            guidance,
            done,
            latents: &mut latents,
        };
        denoise(transformer, work, group, watch.observer)?;
        // The working memory of denoising goes before the decoder asks for its own.
        drop((context, rope));
        times.denoise_ms = watch.elapsed_ms();

        let frames = if group.rank() == 0 {
            watch.begin(Stage::Decode);
            let noise = match (video.timestep, noise.decode) {
                (true, Some(values)) => Some(DecodeNoise {
                    timestep: request.decode_timestep as f32,
                    share: request.decode_noise_scale as f32,
                    values,
                }),
                (true, None) => return Err(wrong_noise("this model's decoder takes noise as well")),
                (false, _) => None,
            };
            let frames = video.decode(latents.clone(), size, noise)?;
            times.decode_ms = watch.end().inspect_err(|_| watch.observer.halted(request.steps, &latents))?;
            frames
        } else {
            Vec::new()
        };
        Ok(Clip { width: request.width, height: request.height, fps: request.fps, frames, times })
    }

    fn latent_size(&self, request: &Request) -> [usize; 3] {
        self.parts.video.latent_size(request.num_frames, request.height, request.width)
    }

    /// Latents drawn channel by channel, as `(tokens, channels)`.
    fn tokens(&self, drawn: &[f32], size: [usize; 3]) -> Result<Vec<f32>, Error> {
        let (channels, tokens) =
            (self.parts.transformer.config().in_channels, size.iter().product::<usize>());
        if drawn.len() != channels * tokens {
            return Err(wrong_noise(&format!("{} values for {tokens} tokens of {channels}", drawn.len())));
        }
        Ok((0..drawn.len()).map(|i| drawn[i % channels * tokens + i / channels]).collect())
    }
}

fn wrong_noise(message: &str) -> Error {
    crate::request::bad("noise", message, "give the noise of this request's size, or none")
}

/// Tells the observer of stages and times them.
struct Watch<'a> {
    observer: &'a mut dyn Observer,
    began: Instant,
}

impl Watch<'_> {
    fn begin(&mut self, stage: Stage) {
        self.observer.stage(stage);
        self.began = Instant::now();
    }

    /// Milliseconds since the stage began, unless the render is to end with it.
    fn end(&self) -> Result<f64, Error> {
        if self.observer.cancelled() { Err(Error::Cancelled) } else { Ok(self.elapsed_ms()) }
    }

    fn elapsed_ms(&self) -> f64 {
        self.began.elapsed().as_secs_f64() * 1e3
    }
}
