//! From the text of a spec to a plan: models are looked up, then the spec is read and expanded on a thread that may
//! take its time. Nothing of the farm is touched.

use std::{collections::BTreeMap, sync::Arc};

use croft_core::{
    model_card::ModelCard,
    plan::Plan,
    spec::{self, Problem, SPEC_BYTES_MAX, Source, Spec},
};
use tokio::{sync::Semaphore, task};
use tonic::Status;

use super::status::{exhausted, invalid, problems};
use crate::registry::{self, Registry};

/// Plans made at once: each may take a core for a second.
const PLANS: usize = 2;
/// Plans that may wait for their turn.
const WAITING: usize = 64;
/// Overrides and files of one request.
const SETS_MAX: usize = 1_000;
const FILES_MAX: usize = 100;
const NAME_BYTES_MAX: usize = 1_000;

/// A spec as a request brings it.
#[derive(Debug)]
pub(crate) struct Text {
    pub(super) name: String,
    pub(super) spec: String,
    pub(super) files: BTreeMap<String, Vec<u8>>,
    pub(super) set: Vec<String>,
}

/// Makes plans, a bounded number at once. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Planner {
    registry: Registry,
    waiting: Arc<Semaphore>,
    plans: Arc<Semaphore>,
}

impl Default for Planner {
    fn default() -> Self {
        Self {
            registry: Registry::default(),
            waiting: Arc::new(Semaphore::new(WAITING)),
            plans: Arc::new(Semaphore::new(PLANS)),
        }
    }
}

impl Planner {
    /// The plan of a spec, or every problem that it has.
    pub(super) async fn plan(&self, text: Text) -> Result<Plan, Status> {
        check_sizes(&text)?;
        let busy =
            || exhausted("plans", format!("{WAITING} specs are being read already; try again in a moment"));
        let _place = self.waiting.try_acquire().map_err(|_| busy())?;
        let _turn = self.plans.acquire().await.map_err(|_| busy())?;
        let name = text.name.clone();
        let parsed = blocking(move || parse(&text)).await?;
        let spec = parsed.map_err(|found| problems(&name, &found))?;
        let cards = self.cards(&spec).await?;
        let planned = blocking(move || Plan::new(spec, &cards)).await?;
        planned.map_err(|found| problems(&name, &found))
    }

    async fn cards(&self, spec: &Spec) -> Result<BTreeMap<String, ModelCard>, Status> {
        let mut cards = BTreeMap::new();
        for model in spec.models() {
            match self.registry.card(&model).await {
                Ok(card) => drop(cards.insert(model, card)),
                Err(error @ registry::Error::Busy { .. }) => {
                    return Err(exhausted("models", error.to_string()));
                }
                Err(error) => return Err(invalid("model", error.to_string())),
            }
        }
        Ok(cards)
    }
}

fn parse(text: &Text) -> Result<Spec, Vec<Problem>> {
    spec::parse(&Source { name: &text.name, text: &text.spec, files: &text.files, set: &text.set })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "planning failed");
        Status::internal("planning failed; the coordinator's log says where")
    })
}

/// Bounds that must hold before anything is read.
fn check_sizes(text: &Text) -> Result<(), Status> {
    if text.spec.len() > SPEC_BYTES_MAX {
        let mib = text.spec.len() >> 20;
        return Err(invalid(
            "spec",
            format!(
                "a spec may have 1 MiB, this one has {mib} MiB; put long lists into a file that an axis names"
            ),
        ));
    }
    if text.files.len() > FILES_MAX {
        return Err(invalid("files", format!("{} files; {FILES_MAX} at most", text.files.len())));
    }
    if text.set.len() > SETS_MAX {
        return Err(invalid("set", format!("{} overrides; {SETS_MAX} at most", text.set.len())));
    }
    if text.name.len() > NAME_BYTES_MAX {
        return Err(invalid("spec_name", format!("{NAME_BYTES_MAX} bytes at most")));
    }
    Ok(())
}
