//! The plan: a spec and the cards of its models, as tasks that are a pure function of their numbers.
//!
//! Everything that can be wrong with a job is found here or in [`crate::spec`], before it exists; what the plan gives
//! afterwards cannot fail. It lists no tasks: names, prompts and parameters are made when they are asked for.

mod expansion;
mod layers;
mod outputs;
mod paths;
mod rules;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;

use expansion::Expansion;
use layers::Ground;
pub use layers::LayerPlan;
use serde::{Deserialize, Serialize};

use crate::{
    ids::JobId,
    model_card::ModelCard,
    spec::{self, NoProgress, Problem, Source, Spec, axes::Axis, report::Report, template::Filling},
    step::Recipe,
};

/// Tasks of one job, over all layers.
pub const TASKS_MAX: u64 = 1_000_000;

/// A checked job.
#[derive(Debug, Clone)]
pub struct Plan {
    record: PlanRecord,
    name: String,
    show: String,
    priority: u32,
    labels: BTreeMap<String, String>,
    policy: spec::policy::Policy,
    digest: String,
    axes: Vec<Axis>,
    expansion: Expansion,
    /// By axis and value, the first task that has it; of axes outside of the combination, nothing.
    first: Vec<Vec<Option<u32>>>,
    layers: Vec<LayerPlan>,
    warnings: Vec<String>,
}

/// What a plan is made of, to be stored and made into the same plan again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// What messages call the spec.
    pub name: String,
    pub text: String,
    pub files: BTreeMap<String, String>,
    pub set: Vec<String>,
    pub cards: BTreeMap<String, ModelCard>,
}

impl Plan {
    /// Plans a spec with the card of each model it names.
    ///
    /// # Errors
    /// Everything that does not go: too many tasks, an `expect` that differs, parameters that a model refuses, names
    /// that clash or leave their folder.
    pub fn new(spec: Spec, cards: &BTreeMap<String, ModelCard>) -> Result<Self, Vec<Problem>> {
        let mut report = Report::default();
        let plan = Self::made(spec, cards, &mut report);
        report.conclude(plan)
    }

    /// The plan that was recorded.
    ///
    /// # Errors
    /// Those of [`spec::parse`] and [`Plan::new`], when the rules have become stricter since.
    pub fn from_record(record: PlanRecord) -> Result<Self, Vec<Problem>> {
        let PlanRecord { name, text, files, set, cards } = record;
        let files = files.into_iter().map(|(name, text)| (name, text.into_bytes())).collect();
        let spec = spec::parse(&Source { name: &name, text: &text, files: &files, set: &set })?;
        Self::new(spec, &cards)
    }

    fn made(spec: Spec, cards: &BTreeMap<String, ModelCard>, report: &mut Report) -> Option<Self> {
        let mut used = BTreeMap::new();
        for layer in &spec.layers {
            match cards.get(&layer.model) {
                Some(card) => drop(used.insert(layer.model.clone(), card.clone())),
                None => {
                    let message = format!("nothing is known of model {}", spec::report::quoted(&layer.model));
                    report.add(
                        &layer.model_place,
                        message,
                        "give builtin://shapes or a folder in diffusers' layout",
                    );
                }
            }
        }
        let digest = spec.digest();
        let Spec { name, show, priority, labels, layers, axes, matrix, policy, mut warnings, source, .. } =
            spec;
        let expansion = Expansion::new(&axes, &matrix, policy.order, layers.len(), &mut warnings, report)?;
        let first = first_tasks(&axes, &matrix, &expansion);
        let ground = Ground { axes: &axes, expansion: &expansion, name: &name, show: &show, first: &first };
        let planned: Option<Vec<LayerPlan>> = layers
            .iter()
            .map(|layer| LayerPlan::new(layer, used.get(&layer.model)?, &ground, report))
            .collect();
        let layers = planned?;
        outputs::check(&layers, &ground, report);
        let spec::Kept { name: called, text, files, set } = source;
        let record = PlanRecord { name: called, text, files, set, cards: used };
        Some(Self {
            record,
            name,
            show,
            priority,
            labels,
            policy,
            digest,
            axes,
            expansion,
            first,
            layers,
            warnings,
        })
    }

    #[must_use]
    pub fn record(&self) -> &PlanRecord {
        &self.record
    }

    /// How the tasks of a layer come about: `product 2 x scene 3 x seed 4 = 24, exclude removes 0`.
    #[must_use]
    pub fn arithmetic(&self) -> &str {
        self.expansion.arithmetic()
    }

    /// Of all layers.
    #[must_use]
    pub fn tasks(&self) -> u64 {
        self.layers.iter().map(|layer| u64::from(layer.tasks)).sum()
    }

    #[must_use]
    pub fn layers(&self) -> &[LayerPlan] {
        &self.layers
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn show(&self) -> &str {
        &self.show
    }

    #[must_use]
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    /// 0 to 100; higher first.
    #[must_use]
    pub fn priority(&self) -> u32 {
        self.priority
    }

    #[must_use]
    pub fn retries(&self) -> &spec::Retries {
        &self.policy.retries
    }

    /// The longest that each stage may take.
    #[must_use]
    pub fn stages(&self) -> spec::StageLimits {
        self.policy.stages
    }

    /// What a layer asks of the devices that render it.
    #[must_use]
    pub fn resources(&self, layer: u32) -> &spec::Resources {
        &self.layers[layer as usize].spec.resources
    }

    #[must_use]
    pub fn timeout_total_ms(&self) -> u64 {
        self.policy.timeout_total_ms
    }

    #[must_use]
    pub fn no_progress(&self) -> NoProgress {
        self.policy.no_progress
    }

    #[must_use]
    pub fn spec_digest(&self) -> &str {
        &self.digest
    }

    /// What is allowed and yet probably not meant.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether a task of this layer waits only for the task of its number in the layer before. All layers have the same
    /// axes, so every one that waits does so.
    #[must_use]
    pub fn after_each(&self, layer: u32) -> bool {
        self.layers[layer as usize].after.is_some()
    }

    /// The task at a position of the order in which the tasks of a layer start.
    #[must_use]
    pub fn order(&self, _layer: u32, position: u32) -> u32 {
        self.expansion.order(position)
    }

    /// All that a rank needs for one task. Parameters and seeds go by the spec's name of the job, so that a job that got
    /// another name makes the same pictures.
    #[must_use]
    pub fn recipe(&self, job: &JobId, layer: u32, task: u32) -> Recipe {
        let ground = self.ground();
        let layer = &self.layers[layer as usize];
        let picks = self.expansion.picks(task);
        let fixed = layer.filling(&ground, &picks, task);
        let seed = layer.seed(&fixed, &ground);
        let with = Filling { job: job.as_str(), ..fixed };
        Recipe {
            model: layer.card.name.clone(),
            model_digest: layer.card.digest.clone(),
            prompt: layer.spec.prompt.fill(&with),
            negative_prompt: layer.spec.negative_prompt.fill(&with),
            seed,
            params: layer.resolve(&fixed),
            dtype: layer.spec.dtype.clone(),
            output: outputs::of(layer, &with),
        }
    }

    /// The sidecar's part that is known before the task runs, as a JSON object.
    #[must_use]
    pub fn sidecar(&self, job: &JobId, layer: u32, task: u32) -> String {
        let name = &self.layers[layer as usize].name;
        let fixed = Sidecar {
            spec_digest: &self.digest,
            job: job.as_str(),
            show: &self.show,
            layer: name,
            task: format!("{job}/{name}/{:04}", task + 1),
            axes: self.axes(layer, task),
        };
        serde_json::to_string(&fixed).expect("text is always JSON")
    }

    /// The values of a task, by `axis` and by `axis.column`.
    #[must_use]
    pub fn axes(&self, _layer: u32, task: u32) -> BTreeMap<String, String> {
        let ground = self.ground();
        let picks = self.expansion.picks(task);
        let mut values = BTreeMap::new();
        for at in ground.combined() {
            let (axis, pick) = (&self.axes[at], picks[at]);
            values.insert(axis.name.clone(), axis.text(pick).into_owned());
            for (number, column) in axis.columns().iter().enumerate() {
                values.insert(format!("{}.{column}", axis.name), axis.cell(pick, number).to_owned());
            }
        }
        values
    }

    /// A task's values on one line: `scene=alley seed=4103`.
    #[must_use]
    pub fn label(&self, _layer: u32, task: u32) -> String {
        layers::label(&self.ground(), &self.expansion.picks(task))
    }

    fn ground(&self) -> Ground<'_> {
        let Self { axes, expansion, name, show, first, .. } = self;
        Ground { axes, expansion, name, show, first }
    }
}

#[derive(Serialize)]
struct Sidecar<'a> {
    spec_digest: &'a str,
    job: &'a str,
    show: &'a str,
    layer: &'a str,
    task: String,
    axes: BTreeMap<String, String>,
}

fn first_tasks(axes: &[Axis], matrix: &spec::matrix::Matrix, expansion: &Expansion) -> Vec<Vec<Option<u32>>> {
    let mut combined = std::collections::BTreeSet::new();
    if let Some(expr) = &matrix.combine {
        expr.axes_into(&mut combined);
    }
    let mut first: Vec<Vec<Option<u32>>> = axes
        .iter()
        .enumerate()
        .map(|(at, axis)| if combined.contains(&at) { vec![None; axis.len() as usize] } else { Vec::new() })
        .collect();
    let mut picks = vec![0; axes.len()];
    for task in 0..expansion.tasks() {
        expansion.picks_into(task, &mut picks);
        for &axis in &combined {
            first[axis][picks[axis] as usize].get_or_insert(task);
        }
    }
    first
}
