//! One engine and its warm model: a recipe in, files out. Several renders of the one model may be under way, each in a
//! thread of its own, and take turns on the device.

use std::{
    path::Path,
    sync::{Arc, Condvar, Mutex, OnceLock, PoisonError},
    time::Instant,
};

use croft_engine::{
    card::Card,
    checkpoint,
    device::Device,
    error::Error,
    parallel::{Split, Turns},
    pipelines::Pipeline,
    place::Place,
    progress::Stage,
    request::Request,
    residency::Residency,
};
use croft_proto::v1::{AttemptTimes, ExitCause, RankDone, RankFailed, RankRender, RankResumed, Recipe};

use crate::{
    convert, gang,
    halfway::{self, Keeper, Tells},
    peak, save,
};

/// The model of scheduling benchmarks: it makes nothing.
const NOOP: &str = "builtin://noop";

#[derive(Debug, Default)]
pub(crate) struct Engine {
    device: Device,
    /// Where that is, from when it is first needed.
    place: OnceLock<Place>,
    warm: Mutex<Warm>,
    /// A render has given the model back.
    given_back: Condvar,
    turns: Turns,
}

/// What is loaded, and how many renders use it.
#[derive(Debug, Default)]
struct Warm {
    model: Option<Loaded>,
    renders: usize,
}

#[derive(Debug)]
struct Loaded {
    /// As the recipe named it.
    model: String,
    pipeline: Arc<Pipeline>,
}

impl Loaded {
    fn is(&self, recipe: &Recipe, split: &Split, residency: Residency) -> bool {
        self.model == recipe.model
            && self.pipeline.card().digest == recipe.model_digest
            && self.pipeline.split() == split
            && self.pipeline.residency() == residency
    }
}

/// The warm model in the hands of a render.
struct Lent<'a> {
    engine: &'a Engine,
    pipeline: Arc<Pipeline>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.engine.warm.lock().unwrap_or_else(PoisonError::into_inner).renders -= 1;
        self.engine.given_back.notify_all();
    }
}

impl Engine {
    /// With nothing loaded.
    pub(crate) fn on(device: Device) -> Self {
        Self { device, ..Self::default() }
    }

    pub(crate) fn render(
        &self,
        render: &RankRender,
        observer: &mut dyn Tells,
    ) -> Result<RankDone, RankFailed> {
        let fail = |cause: ExitCause, message: &str, remedy: &str| RankFailed {
            id: render.id,
            cause: cause.into(),
            message: message.to_owned(),
            remedy: remedy.to_owned(),
            ..RankFailed::default()
        };
        let Some(recipe) = &render.recipe else {
            return Err(fail(ExitCause::BadSpec, "a render without a recipe", "update the worker"));
        };
        let split = gang::split(render.gang.as_ref())
            .map_err(|why| fail(ExitCause::Internal, &why, "update the coordinator"))?;
        let residency = convert::residency(render.residency());
        let mut times = AttemptTimes::default();
        let mut files = Vec::new();
        let mut resumed = None;
        let mut peak_memory_bytes = self.peak();
        if recipe.model != NOOP {
            let began = Instant::now();
            let lent = self.warm(recipe, &split, residency, observer).map_err(|error| match error {
                Cold::Engine(error) => convert::failed(render.id, &error, 0),
                Cold::Differs { here } => fail(
                    ExitCause::ModelCorrupt,
                    &format!(
                        "{}: the files here ({here:.12}) are not those the job was planned with",
                        recipe.model
                    ),
                    "copy the model folder again, or submit the job anew with the changed model",
                ),
            })?;
            let pipeline = &lent.pipeline;
            times.load_ms = elapsed(began);
            let group = gang::join(render.gang.as_ref(), render.id, &split, self.device, observer)?;
            // From here on it has the device to itself whenever it computes, to the last file.
            let mut group = group.in_turns(&self.turns, observer.waits());
            let request = request(render.id, recipe, pipeline.card())?;
            let identity = checkpoint::identity(pipeline.card(), &request);
            let found = halfway::newest(&render.resume, &identity);
            resumed =
                found.as_ref().map(|found| RankResumed { attempt: found.attempt, step: found.halfway.step });
            let mut keeper =
                Keeper::new(observer, render, identity, resumed.map_or(0, |resumed| resumed.step));
            let halfway = found.map(|found| found.halfway);
            let clip = pipeline
                .render_in(&request, halfway, &mut group, &mut keeper)
                .map_err(|error| convert::failed(render.id, &error, self.peak()))?;
            times.load_ms += clip.times.load_ms as u64;
            times.encode_ms = clip.times.encode_ms as u64;
            times.denoise_ms = clip.times.denoise_ms as u64;
            times.decode_ms = clip.times.decode_ms as u64;
            // The others have no part in what comes out.
            if split.rank() == 0 {
                let began = Instant::now();
                observer.stage(Stage::Save);
                files = save::clip(&clip, &request, recipe, Path::new(&render.scratch))
                    .map_err(|error| error.failed(render.id))?;
                times.save_ms = elapsed(began);
            }
            peak_memory_bytes = self.peak();
        }
        Ok(RankDone { id: render.id, files, times: Some(times), peak_memory_bytes, resumed })
    }

    /// Opened while the model is waited for: only one render is here at a time.
    fn place(&self) -> Result<&Place, Error> {
        if let Some(place) = self.place.get() {
            return Ok(place);
        }
        let opened = Place::open(self.device)?;
        Ok(self.place.get_or_init(|| opened))
    }

    /// The most memory that it has held of its device since the model was loaded.
    fn peak(&self) -> u64 {
        peak::bytes(self.device, self.place.get())
    }

    /// The part of the recipe's model that `split` gives it, opened unless it is the warm one; then not before the renders
    /// of the warm one have ended.
    fn warm(
        &self,
        recipe: &Recipe,
        split: &Split,
        residency: Residency,
        observer: &mut dyn Tells,
    ) -> Result<Lent<'_>, Cold> {
        let fits = |loaded: &Loaded| loaded.is(recipe, split, residency);
        // Held while it loads: whoever else wants the model waits for it here.
        let mut warm = self.warm.lock().unwrap_or_else(PoisonError::into_inner);
        while warm.renders > 0 && !warm.model.as_ref().is_some_and(fits) {
            warm = self.given_back.wait(warm).unwrap_or_else(PoisonError::into_inner);
        }
        // The old weights go first: two models at once may not fit.
        warm.model.take_if(|loaded| !fits(loaded));
        if warm.renders == 0 {
            peak::forget();
            if let Some(place) = self.place.get() {
                place.forget_most();
            }
        }
        if warm.model.is_none() {
            observer.stage(Stage::Load);
            let card = croft_engine::card::card(&recipe.model)?;
            if card.digest != recipe.model_digest {
                return Err(Cold::Differs { here: card.digest });
            }
            let pipeline = Pipeline::load_on(self.place()?, &recipe.model, card, split, residency)?;
            let pipeline = Arc::new(pipeline);
            warm.model = Some(Loaded { model: recipe.model.clone(), pipeline });
        }
        let pipeline = Arc::clone(&warm.model.as_ref().expect("it was just loaded").pipeline);
        warm.renders += 1;
        Ok(Lent { engine: self, pipeline })
    }
}

/// What the recipe asks of the model of `card`.
fn request(id: u64, recipe: &Recipe, card: &Card) -> Result<Request, RankFailed> {
    let params = convert::params(recipe);
    Request::from_params(card, &recipe.prompt, &recipe.negative_prompt, recipe.seed, &params)
        .map_err(|error| convert::failed(id, &error, 0))
}

/// Everything of a render that is looked at before a file is.
pub(crate) fn understood(render: &RankRender, card: &Card) -> Result<Request, RankFailed> {
    // Words for people, if it is refused.
    let _ = gang::split(render.gang.as_ref());
    convert::residency(render.residency());
    request(render.id, render.recipe.as_ref().unwrap_or(&Recipe::default()), card)
}

/// Why a model is not warm.
enum Cold {
    Engine(Error),
    Differs { here: String },
}

impl From<Error> for Cold {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

fn elapsed(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
