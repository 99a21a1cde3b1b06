//! `croft plan`: what a spec becomes. Without a coordinator it plans for itself, with one it asks what the farm
//! would make of it.

use std::collections::BTreeMap;

use croft_core::{
    ids::JobId,
    plan::Plan,
    split::{Fleet, choose},
};
use croft_proto::v1::{JobPlan, LayerPlan, ParamValue, PlanJobRequest, param_value::Kind};

use crate::{
    args,
    args::Format,
    client::{self, Coordinator},
    exit::{Exit, Failed},
    fleet, json,
    output::{self, clean},
    spec_file::{Cards, SpecFile},
};

/// Names of outputs shown of each layer.
const SAMPLES: u32 = 3;

pub(super) async fn run(args: args::Plan) -> Result<Exit, Failed> {
    let file = SpecFile::read(&args.spec.file, &args.spec.set)?;
    let plan = if args.client.coordinator.is_some() {
        let coordinator = Coordinator::find(&args.client).await?;
        let request = PlanJobRequest {
            files: file.files.into_iter().collect(),
            spec: file.text,
            set: file.set,
            spec_name: file.name,
        };
        coordinator.jobs().plan_job(client::request(request)).await?.into_inner()
    } else {
        let spec = file.parse()?;
        let (job, show) = (spec.name().to_owned(), spec.show().to_owned());
        let cards = Cards::of(&spec, &file)?.all_here(&file)?;
        let fleet = args.fleet.as_deref().map(fleet::read).transpose()?;
        summary(&file.plan(spec, &cards)?, job, show, fleet.as_ref())?
    };
    match args.output.output {
        Format::Json => output::json("JobPlan", json::plan(&plan))?,
        Format::Table => print(&plan)?,
    }
    Ok(Exit::Ok)
}

/// The plan as the coordinator would answer it, without what only a fleet knows.
fn summary(plan: &Plan, job: String, show: String, fleet: Option<&Fleet>) -> Result<JobPlan, Failed> {
    let id = JobId::new(&job).map_err(|e| Failed::with(Exit::Spec, e.to_string()))?;
    let mut sample_outputs = Vec::new();
    let layers: Vec<LayerPlan> = plan
        .layers()
        .iter()
        .zip(0..)
        .map(|(layer, index)| {
            let samples = 0..layer.tasks.min(SAMPLES);
            sample_outputs.extend(samples.map(|task| {
                let output = plan.recipe(&id, index, task).output;
                if output.still.is_empty() { format!("{}/0001.png", output.frames_dir) } else { output.still }
            }));
            LayerPlan {
                name: layer.name.clone(),
                model: layer.card.name.clone(),
                parameters: layer.card.parameters,
                weights_bytes: layer.card.weights_bytes,
                tasks: layer.tasks.into(),
                params: layer.params.iter().map(|(name, value)| (name.clone(), wire(value))).collect(),
                split: fleet.map_or_else(Vec::new, |fleet| split(plan, index, fleet)),
                after: layer.after.map_or_else(String::new, |at| plan.layers()[at as usize].name.clone()),
                ..LayerPlan::default()
            }
        })
        .collect();
    Ok(JobPlan {
        job,
        show,
        tasks: plan.tasks(),
        arithmetic: plan.arithmetic().to_owned(),
        layers,
        sample_outputs,
        warnings: plan.warnings().to_vec(),
    })
}

/// How a layer would be split over `fleet`, in words: the choice comes last.
fn split(plan: &Plan, index: u32, fleet: &Fleet) -> Vec<String> {
    let layer = &plan.layers()[index as usize];
    let (Some(shape), Some(shot)) = (&layer.card.shape, &layer.shot) else {
        return vec!["its model is no transformer: nothing to reckon".to_owned()];
    };
    choose(shape, shot, fleet, layer.tasks.into(), plan.resources(index).wish()).words
}

fn wire(value: &croft_core::model_card::ParamValue) -> ParamValue {
    use croft_core::model_card::ParamValue as Core;
    let kind = match value {
        Core::Number(n) => Kind::Number(*n),
        Core::Text(t) => Kind::Text(t.clone()),
        Core::Flag(f) => Kind::Flag(*f),
    };
    ParamValue { kind: Some(kind) }
}

fn print(plan: &JobPlan) -> Result<(), Failed> {
    let show = if plan.show.is_empty() { String::new() } else { format!(" (show {})", plan.show) };
    output::line(&clean(&format!(
        "job {}{show}   {} tasks, {} layers",
        plan.job,
        plan.tasks,
        plan.layers.len()
    )))?;
    output::line(&clean(&format!("  {}", plan.arithmetic)))?;
    let width = plan.layers.iter().map(|l| l.name.chars().count()).max().unwrap_or(0);
    for layer in &plan.layers {
        output::line(&clean(&format!("  {:<width$}  {}", layer.name, layer_in_words(layer))))?;
        output::line(&clean(&format!("  {:<width$}  {}", "", params_in_words(&layer.params))))?;
        for line in layer.memory.iter().chain(&layer.split) {
            output::line(&clean(&format!("  {:<width$}    {line}", "")))?;
        }
    }
    let etas: Vec<_> = plan
        .layers
        .iter()
        .filter(|l| l.eta_ms > 0)
        .map(|l| format!("{} {}", l.name, output::duration(l.eta_ms)))
        .collect();
    if !etas.is_empty() {
        output::line(&format!("  ETA  {}", etas.join("   ")))?;
    }
    for sample in &plan.sample_outputs {
        output::line(&clean(&format!("  -> {sample}")))?;
    }
    for warning in &plan.warnings {
        output::line(&clean(&format!("  warning: {warning}")))?;
    }
    Ok(())
}

fn layer_in_words(layer: &LayerPlan) -> String {
    let mut parts = vec![
        layer.model.clone(),
        format!("{} parameters", output::count(layer.parameters)),
        format!("weights {}", output::bytes(layer.weights_bytes)),
        format!("{} tasks", layer.tasks),
    ];
    if !layer.after.is_empty() {
        parts.push(format!("after {}", layer.after));
    }
    if layer.devices_all > 0 {
        parts.push(format!("fits {} of {} devices", layer.devices_fit, layer.devices_all));
    }
    parts.join("  ")
}

fn params_in_words(params: &BTreeMap<String, ParamValue>) -> String {
    let words = params.iter().map(|(name, value)| match &value.kind {
        Some(Kind::Number(n)) => format!("{name}={n}"),
        Some(Kind::Text(t)) => format!("{name}={t}"),
        Some(Kind::Flag(f)) => format!("{name}={f}"),
        None => format!("{name}=off"),
    });
    words.collect::<Vec<_>>().join(" ")
}
