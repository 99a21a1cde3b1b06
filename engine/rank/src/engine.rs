//! One engine and its warm model: a recipe in, files out.

use std::{path::Path, time::Instant};

use croft_engine::{checkpoint, parallel::Split, pipelines::Pipeline, progress::Stage, request::Request};
use croft_proto::v1::{AttemptTimes, ExitCause, RankDone, RankFailed, RankRender, RankResumed, Recipe};

use crate::{
    convert, gang,
    halfway::{self, Keeper, Tells},
    save,
};

/// The model of scheduling benchmarks: it makes nothing.
const NOOP: &str = "builtin://noop";

#[derive(Debug, Default)]
pub(crate) struct Engine {
    /// The model as the recipe names it, and its pipeline.
    warm: Option<(String, Pipeline)>,
}

impl Engine {
    pub(crate) fn render(
        &mut self,
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
        begin_peak();
        let mut times = AttemptTimes::default();
        let mut files = Vec::new();
        let mut resumed = None;
        if recipe.model != NOOP {
            let began = Instant::now();
            let gang = render.gang.as_ref();
            let split = gang::split(gang);
            let pipeline = self.warm(recipe, &split, observer).map_err(|error| match error {
                Cold::Engine(error) => convert::failed(render.id, &error),
                Cold::Differs { here } => fail(
                    ExitCause::ModelCorrupt,
                    &format!(
                        "{}: the files here ({here:.12}) are not those the job was planned with",
                        recipe.model
                    ),
                    "copy the model folder again, or submit the job anew with the changed model",
                ),
            })?;
            times.load_ms = elapsed(began);
            let mut group = gang::join(gang, render.id, &split, observer)?;
            let params = convert::params(recipe);
            let request = Request::from_params(
                pipeline.card(),
                &recipe.prompt,
                &recipe.negative_prompt,
                recipe.seed,
                &params,
            )
            .map_err(|error| convert::failed(render.id, &error))?;
            let identity = checkpoint::identity(pipeline.card(), &request);
            let found = halfway::newest(&render.resume, &identity);
            resumed =
                found.as_ref().map(|found| RankResumed { attempt: found.attempt, step: found.halfway.step });
            let mut keeper =
                Keeper::new(observer, render, identity, resumed.map_or(0, |resumed| resumed.step));
            let halfway = found.map(|found| found.halfway);
            let clip = pipeline
                .render_in(&request, halfway, &mut group, &mut keeper)
                .map_err(|error| convert::failed(render.id, &error))?;
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
        }
        let peak_memory_bytes = peak_memory_bytes();
        Ok(RankDone { id: render.id, files, times: Some(times), peak_memory_bytes, resumed })
    }

    /// The part of the recipe's model that `split` gives it, loaded unless it is the warm one.
    fn warm(
        &mut self,
        recipe: &Recipe,
        split: &Split,
        observer: &mut dyn Tells,
    ) -> Result<&mut Pipeline, Cold> {
        let fits = |(model, pipeline): &(String, Pipeline)| {
            *model == recipe.model
                && pipeline.card().digest == recipe.model_digest
                && pipeline.split() == split
        };
        if !self.warm.as_ref().is_some_and(fits) {
            // The old weights go first: two models at once may not fit.
            self.warm = None;
            observer.stage(Stage::Load);
            let card = croft_engine::card::card(&recipe.model)?;
            if card.digest != recipe.model_digest {
                return Err(Cold::Differs { here: card.digest });
            }
            self.warm = Some((recipe.model.clone(), Pipeline::load_split(&recipe.model, card, split)?));
        }
        Ok(&mut self.warm.as_mut().expect("it was just loaded").1)
    }
}

/// Why a model is not warm.
enum Cold {
    Engine(croft_engine::error::Error),
    Differs { here: String },
}

impl From<croft_engine::error::Error> for Cold {
    fn from(error: croft_engine::error::Error) -> Self {
        Self::Engine(error)
    }
}

fn elapsed(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// From here on the peak is that of this render, and not of a larger one that a warm rank did before. A system that does not
/// let it begin anew gives the peak of all.
fn begin_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The most memory this process has held; 0 where the system does not say.
fn peak_memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB"));
    kib.and_then(|kib| kib.trim().parse::<u64>().ok()).unwrap_or(0) << 10
}
