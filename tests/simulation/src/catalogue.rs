//! The jobs that people submit: a few shapes, planned once a thread.

use std::{collections::BTreeMap, rc::Rc};

use croft_core::{
    model_card::{Makes, ModelCard, ParamKind, ParamRule, ParamValue},
    plan::Plan,
    spec::{self, Source},
};

#[derive(Debug)]
pub(crate) struct Catalogue {
    pub(crate) plans: Vec<Plan>,
}

/// Ranks that the models of this catalogue take.
pub(crate) const RANKS_MAX: u32 = 8;

impl Catalogue {
    /// The one of this thread.
    pub(crate) fn shared() -> Rc<Self> {
        thread_local! {
            static SHARED: Rc<Catalogue> = Rc::new(Catalogue::new());
        }
        SHARED.with(Rc::clone)
    }

    fn new() -> Self {
        let mut plans = Vec::new();
        for tasks in [1, 3, 9, 40] {
            plans.push(plan(&Shape { tasks, ..Shape::default() }.text()));
        }
        let plain = Shape { tasks: 6, ..Shape::default() };
        for shape in [
            Shape { after: true, ..plain },
            Shape { after: true, tasks: 2, show: "beta", ..plain },
            Shape { layers: 3, after: true, tasks: 4, ..plain },
            Shape { show: "beta", tasks: 12, ..plain },
            Shape { show: "gamma", priority: 80, ..plain },
            Shape { show: "beta", priority: 10, model: "other", ..plain },
            Shape { resources: "{limits: [licence]}", tasks: 10, ..plain },
            Shape { resources: "{limits: [licence, disk]}", show: "beta", ..plain },
            Shape { resources: "{tags: [big]}", ..plain },
            Shape { resources: "{ranks: 2}", tasks: 4, ..plain },
            Shape { resources: "{ranks: 2, topology: same_worker}", tasks: 3, ..plain },
            Shape { resources: "{ranks: 3, limits: [licence]}", show: "gamma", tasks: 2, ..plain },
            Shape { resources: "{ranks: 4}", show: "beta", tasks: 2, ..plain },
            Shape { resources: "{ranks: 6}", tasks: 1, ..plain },
            Shape { resources: "{ranks: 2}", after: true, tasks: 2, ..plain },
            Shape { resources: "{ranks: 2, split: layers}", tasks: 9, ..plain },
            Shape { resources: "{ranks: 3, split: layers}", show: "beta", tasks: 7, ..plain },
            Shape {
                resources: "{ranks: 2, split: layers, limits: [licence]}",
                after: true,
                tasks: 5,
                ..plain
            },
            Shape { resources: "{ranks: 2, split: layers, topology: same_worker}", show: "gamma", ..plain },
            Shape { retries: "0", tasks: 5, ..plain },
            Shape { retries: "0", after: true, layers: 3, tasks: 2, ..plain },
            Shape { retries: "1", after: true, tasks: 3, ..plain },
            Shape { retries: "{default: 1, CRASHED: 2, LEASE_LOST: 8}", tasks: 5, ..plain },
            Shape { model: "nothing", tasks: 8, ..plain },
        ] {
            plans.push(plan(&shape.text()));
        }
        Self { plans }
    }
}

/// What a job's spec says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) tasks: u32,
    pub(crate) layers: u32,
    /// Whether each layer waits for the one before.
    pub(crate) after: bool,
    pub(crate) show: &'static str,
    pub(crate) priority: u32,
    pub(crate) model: &'static str,
    pub(crate) resources: &'static str,
    pub(crate) retries: &'static str,
    /// How long it may go without progress.
    pub(crate) patience: &'static str,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            tasks: 1,
            layers: 2,
            after: false,
            show: "alpha",
            priority: 50,
            model: "clip",
            resources: "{}",
            retries: "3",
            patience: "15s",
        }
    }
}

impl Shape {
    /// A job whose workers are not watched closely.
    pub(crate) fn patient() -> Self {
        Self { patience: "1h", ..Self::default() }
    }

    pub(crate) fn text(&self) -> String {
        let Self { tasks, show, priority, model, resources, retries, patience, .. } = *self;
        let mut text = format!(
            "apiVersion: croft/v1\nkind: Job\nname: shots\nshow: {show}\npriority: {priority}\npolicy:\n  retries: \
             {retries}\n  timeout: {{total: 120s, no_progress: {patience}}}\naxes:\n  seed: {{from: 0, count: {tasks}}}\nlayers:\n"
        );
        let layers = if self.after { self.layers } else { 1 };
        for layer in 0..layers {
            let after = if layer == 0 { String::new() } else { format!("    after: l{}\n", layer - 1) };
            text += &format!(
                "  - name: l{layer}\n{after}    model: {model}\n    prompt: layer {layer}\n    resources: {resources}\n    \
                 output: \"{{job}}/l{layer}/s{{seed}}\"\n"
            );
        }
        text
    }
}

/// The plan of a spec, with the cards of its models.
///
/// # Panics
/// When the spec is not good: the catalogue's are.
#[must_use]
pub(crate) fn plan(text: &str) -> Plan {
    let files = BTreeMap::new();
    let source = Source { name: "simulation.yaml", text, files: &files, set: &[] };
    let spec = spec::parse(&source).expect("a good spec");
    let cards = spec.models().into_iter().map(|name| (name.clone(), card(&name))).collect();
    Plan::new(spec, &cards).expect("a good plan")
}

fn card(name: &str) -> ModelCard {
    let steps = ParamRule {
        kind: ParamKind::Whole { min: 1, max: 1000, multiple: 1, remainder: 0 },
        default: Some(ParamValue::Number(10.0)),
    };
    ModelCard {
        name: name.to_owned(),
        family: "test".to_owned(),
        digest: format!("digest-of-{name}"),
        parameters: 1,
        weights_bytes: 1,
        makes: if name == "nothing" { Makes::Nothing } else { Makes::Clip },
        params: BTreeMap::from([("steps".to_owned(), steps)]),
        prompt_bytes_max: 10_000,
        ranks_max: RANKS_MAX,
        shape: None,
    }
}
