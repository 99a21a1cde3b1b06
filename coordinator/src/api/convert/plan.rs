//! Plans, as PlanJob and a dry CreateJob show them.

use croft_core::{
    ids::JobId,
    model_card::Makes,
    plan::{LayerPlan, Plan},
    view::Forecast,
};
use croft_proto::v1;

use super::values;

/// `forecasts` are those of the layers, in their order.
pub(in crate::api) fn plan(plan: &Plan, forecasts: &[Forecast], samples: u64) -> v1::JobPlan {
    let layers =
        plan.layers().iter().zip(forecasts).map(|(layer, forecast)| layer_plan(plan, layer, forecast));
    v1::JobPlan {
        job: plan.name().to_owned(),
        show: plan.show().to_owned(),
        tasks: plan.tasks(),
        arithmetic: plan.arithmetic().to_owned(),
        layers: layers.collect(),
        sample_outputs: sample_outputs(plan, samples),
        warnings: plan
            .warnings()
            .iter()
            .chain(forecasts.iter().filter_map(|f| f.warning.as_ref()))
            .cloned()
            .collect(),
    }
}

fn layer_plan(plan: &Plan, layer: &LayerPlan, forecast: &Forecast) -> v1::LayerPlan {
    let after = layer.after.and_then(|at| plan.layers().get(at as usize));
    v1::LayerPlan {
        name: layer.name.clone(),
        model: layer.card.name.clone(),
        parameters: layer.card.parameters,
        weights_bytes: layer.card.weights_bytes,
        tasks: u64::from(layer.tasks),
        devices_fit: forecast.devices_fit,
        devices_all: forecast.devices,
        eta_ms: forecast.eta_ms.unwrap_or(0),
        params: values::params(&layer.params),
        after: after.map(|first| first.name.clone()).unwrap_or_default(),
        split: forecast.split.clone(),
        memory: forecast.memory.clone(),
    }
}

/// Some outputs of each layer, spread over its tasks, so that a wrong template shows.
fn sample_outputs(plan: &Plan, samples: u64) -> Vec<String> {
    // The job's own name may yet get a number; a spec's name is always one.
    let Ok(job) = JobId::new(plan.name()) else { return Vec::new() };
    let mut outputs = Vec::new();
    for (at, layer) in (0..).zip(plan.layers()) {
        let tasks = u64::from(layer.tasks);
        let step = (tasks / samples.max(1)).max(1);
        for task in (0..tasks).step_by(usize::try_from(step).unwrap_or(usize::MAX)).take(samples as usize) {
            let Ok(task) = u32::try_from(task) else { break };
            let output = plan.recipe(&job, at, task).output;
            match output.makes {
                Makes::Clip => outputs.push(output.frames_dir),
                Makes::Still => outputs.push(output.still),
                Makes::Nothing => {}
            }
        }
    }
    outputs
}

/// What a job of this plan would be, for a request that only asks.
pub(in crate::api) fn job_planned(plan: &Plan) -> v1::Job {
    let waiting = |tasks| v1::TaskCounts { queued: tasks, ..v1::TaskCounts::default() };
    let layer = |layer: &LayerPlan| v1::Layer {
        name: layer.name.clone(),
        model: layer.card.name.clone(),
        after: layer
            .after
            .and_then(|at| plan.layers().get(at as usize))
            .map(|l| l.name.clone())
            .unwrap_or_default(),
        counts: Some(waiting(u64::from(layer.tasks))),
        split: layer.seating().map_or_else(String::new, |seating| seating.words()),
    };
    v1::Job {
        name: format!("jobs/{}", plan.name()),
        show: plan.show().to_owned(),
        priority: plan.priority(),
        labels: plan.labels().clone(),
        counts: Some(waiting(plan.tasks())),
        layers: plan.layers().iter().map(layer).collect(),
        spec_digest: plan.spec_digest().to_owned(),
        ..v1::Job::default()
    }
}
