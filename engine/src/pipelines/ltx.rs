//! Text to video with LTX-Video, as diffusers' LTXPipeline does it: the same noise for a seed, the same levels, the
//! same guidance. Images and other videos are not its work.

use std::time::{Duration, Instant};

use super::decode::DecodeNoise;
use super::denoise::{Guidance, Work, denoise};
use super::load::{self, Ltx};
use super::{Clip, Held, MostHeld, Times};
use crate::card::{Card, card};
use crate::error::Error;
use crate::files::Files;
use crate::models::autoencoders::Tiling;
use crate::models::transformers::ltx::Grid;
use crate::noise::Generator;
use crate::parallel::{Group, Split};
use crate::place::Place;
use crate::progress::{Observer, Stage};
use crate::request::Request;
use crate::residency::Residency;

/// A model, ready to render; several clips at once where each has its own group.
#[derive(Debug)]
pub struct Pipeline {
    model: Ltx,
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
        Self::load_split(model, card, &Split::whole(), Residency::Resident)
    }

    /// Opens one rank's part of a model that several share, which `render_in` renders with, and loads as much of it as
    /// `residency` keeps. The rest was checked, and is read when it is needed.
    ///
    /// # Errors
    /// As `card::card`; `Unsupported` for a split that the model cannot do, before anything is read; `OutOfMemory`.
    pub fn load_split(model: &str, card: Card, split: &Split, residency: Residency) -> Result<Self, Error> {
        Self::load_on(&Place::Cpu, model, card, split, residency)
    }

    /// The same on another place.
    ///
    /// # Errors
    /// As `load_split`; `Device`, `DeviceMemory`.
    pub fn load_on(
        place: &Place,
        model: &str,
        card: Card,
        split: &Split,
        residency: Residency,
    ) -> Result<Self, Error> {
        let model = load::ltx(&Files::open(model)?, split, residency, place)?;
        Ok(Self { model, card, split: split.clone() })
    }

    /// How the model is split.
    pub fn split(&self) -> &Split {
        &self.split
    }

    /// How much of it is in memory at once.
    pub fn residency(&self) -> Residency {
        self.model.parts.residency()
    }

    /// Blocks of the transformer, those of all ranks.
    pub fn layers(&self) -> usize {
        self.model.config.layers
    }

    /// Numbers of the model that this rank holds now.
    pub fn held(&self) -> Held {
        self.model.parts.held()
    }

    /// The most that it has held so far.
    pub fn most_held(&self) -> MostHeld {
        self.model.parts.most_held()
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
        let count = self.latent_size(request).iter().product::<usize>() * self.model.config.in_channels;
        let mut generator = Generator::new(request.seed);
        let latents = generator.normal(count);
        Noise { latents, decode: self.model.geometry.timestep.then(|| generator.normal(count)) }
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
        let mut watch =
            Watch { observer, began: Instant::now(), loading: Duration::ZERO, counted: Duration::ZERO };
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
        let Ltx { encoder, schedule, parts, geometry, .. } = &self.model;
        if !parts.residency().keeps_all() {
            group.expects_reading();
        }
        let mut encode = |text: &str, group: &mut Group| {
            let loading = &mut watch.loading;
            encoder.encode(text, length, group, |numbers, group| parts.text(loading)?.encode(numbers, group))
        };
        let prompt = encode(&request.prompt, group)?;
        let negative = match guidance {
            Some(_) => Some(encode(&request.negative_prompt, group)?),
            None => None,
        };
        times.encode_ms = watch.end()?;

        watch.begin(Stage::Denoise);
        let transformer = parts.transformer(&mut watch.loading)?;
        let branches: Vec<&[f32]> = negative.iter().chain([&prompt]).map(|states| &**states).collect();
        let levels = schedule.levels(request.steps as usize, size.iter().product());
        let pixels = geometry.pixels_per_latent as f64;
        let step = [geometry.frames_per_latent as f64 / request.fps, pixels, pixels];
        let mut context = transformer.context(&branches, Grid { size, step }, group)?;
        let work = Work { levels: &levels, context: &mut context, guidance, done, latents: &mut latents };
        denoise(&transformer, work, group, watch.observer)?;
        // What denoising needed goes before the decoder asks for its own.
        drop((context, transformer));
        times.denoise_ms = watch.elapsed_ms();

        let frames = if group.rank() == 0 {
            watch.begin(Stage::Decode);
            let noise = match (geometry.timestep, noise.decode) {
                (true, Some(values)) => Some(DecodeNoise {
                    timestep: request.decode_timestep as f32,
                    share: request.decode_noise_scale as f32,
                    values,
                }),
                (true, None) => return Err(wrong_noise("this model's decoder takes noise as well")),
                (false, _) => None,
            };
            let tiling = request.vae_tiling.then_some(Tiling::VIDEO);
            let frames = parts.video(&mut watch.loading)?.decode(latents.clone(), size, noise, tiling);
            parts.decoded();
            times.decode_ms = watch.end().inspect_err(|_| watch.observer.halted(request.steps, &latents))?;
            frames?
        } else {
            Vec::new()
        };
        times.load_ms = watch.loading.as_secs_f64() * 1e3;
        Ok(Clip { width: request.width, height: request.height, fps: request.fps, frames, times })
    }

    fn latent_size(&self, request: &Request) -> [usize; 3] {
        self.model.geometry.latent_size(request.num_frames, request.height, request.width)
    }

    /// Latents drawn channel by channel, as `(tokens, channels)`.
    fn tokens(&self, drawn: &[f32], size: [usize; 3]) -> Result<Vec<f32>, Error> {
        let (channels, tokens) = (self.model.config.in_channels, size.iter().product::<usize>());
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
    /// What this render has spent reading parts, and how much of it when the stage before ended.
    loading: Duration,
    counted: Duration,
}

impl Watch<'_> {
    fn begin(&mut self, stage: Stage) {
        self.observer.stage(stage);
        self.began = Instant::now();
    }

    /// Milliseconds since the stage began, unless the render is to end with it.
    fn end(&mut self) -> Result<f64, Error> {
        if self.observer.cancelled() { Err(Error::Cancelled) } else { Ok(self.elapsed_ms()) }
    }

    /// Without what reading parts took.
    fn elapsed_ms(&mut self) -> f64 {
        let loading = self.loading - self.counted;
        self.counted = self.loading;
        (self.began.elapsed().saturating_sub(loading)).as_secs_f64() * 1e3
    }
}
