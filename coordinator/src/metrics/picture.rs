//! How the farm stands at one moment, and that in Prometheus' words.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use croft_core::{
    farm::Survey,
    ids::WorkerId,
    time::Time,
    view::{ShowView, WorkerState, WorkerView},
};
use croft_proto::v1::DeviceFigures;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use super::{Labels, SpanCounts};
use crate::{run::Desk, state::Standing};

/// Its name, what it says, and its values.
type Gauge = (&'static str, &'static str, Vec<(Labels, f64)>);

#[derive(Debug, Default)]
pub(super) struct Picture {
    pub(super) taken: Time,
    leads: bool,
    is_stalled: bool,
    watchers: u64,
    survey: Survey,
    shows: Vec<ShowView>,
    workers: Vec<WorkerView>,
    /// As workers said last.
    pub(super) figures: BTreeMap<WorkerId, Vec<DeviceFigures>>,
}

impl Picture {
    /// A follower tells only that it is one: its farm is the leader's, some time ago.
    pub(super) fn take(desk: &Desk, now: Time) -> Self {
        let leads = matches!(desk.standing, Standing::Leader { .. });
        let picture = Self { taken: now, leads, is_stalled: desk.trouble.is_some(), ..Self::default() };
        if !leads {
            return picture;
        }
        Self {
            watchers: desk.updates.watchers(),
            survey: desk.farm.survey(now),
            shows: desk.farm.shows(),
            workers: desk.farm.workers(),
            ..picture
        }
    }

    /// A newer one takes its place; what workers said stays.
    pub(super) fn renew(&mut self, fresh: Self) {
        let figures = std::mem::take(&mut self.figures);
        *self = Self { figures, ..fresh };
    }

    fn gauges(&self) -> Vec<Gauge> {
        let one = |value: f64| vec![(Labels::new(), value)];
        let number = |is: bool| if is { 1.0 } else { 0.0 };
        let build = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        let tasks = self.survey.tasks.iter().map(|((show, state), tasks)| {
            (vec![("show", show.clone()), ("state", lower(state))], *tasks as f64)
        });
        let waits =
            self.survey.waits.iter().map(|(reason, tasks)| (vec![("reason", lower(reason))], *tasks as f64));
        let shows =
            self.shows.iter().map(|show| (vec![("show", show.name.clone())], f64::from(show.devices)));
        let mut workers: BTreeMap<String, f64> = BTreeMap::new();
        for worker in &self.workers {
            *workers.entry(lower(&worker.state)).or_default() += 1.0;
        }
        let workers = workers.into_iter().map(|(state, count)| (vec![("state", state)], count));
        let (mut busy, mut memory, mut resident) = (Vec::new(), Vec::new(), Vec::new());
        let (mut used, mut peak) = (Vec::new(), Vec::new());
        for worker in self.workers.iter().filter(|worker| worker.state == WorkerState::Ready) {
            let figures = self.figures.get(&worker.id).map_or(&[][..], Vec::as_slice);
            for device in &worker.devices {
                let labels = vec![
                    ("worker", worker.id.to_string()),
                    ("device", device.info.index.to_string()),
                    ("device_kind", device.info.kind.clone()),
                ];
                busy.push((labels.clone(), number(!device.running.is_empty())));
                memory.push((labels.clone(), device.info.memory_bytes as f64));
                let models: BTreeSet<&String> = device.info.resident_models.iter().collect();
                for model in models {
                    let mut labels = labels.clone();
                    labels.push(("model", model.clone()));
                    resident.push((labels, 1.0));
                }
                let said = figures.iter().find(|said| said.index == device.info.index);
                used.push((labels.clone(), said.map_or(0.0, |said| said.memory_used_bytes as f64)));
                peak.push((labels, said.map_or(0.0, |said| said.memory_peak_bytes as f64)));
            }
        }
        vec![
            ("build_info", "The version of this coordinator", vec![(build, 1.0)]),
            ("leader", "Whether this coordinator leads", one(number(self.leads))),
            (
                "state_stalled",
                "Whether nothing can be written to the state store",
                one(number(self.is_stalled)),
            ),
            ("watchers", "Streams that watch a job", one(self.watchers as f64)),
            ("jobs_active", "Jobs that are not settled", one(self.survey.jobs_active as f64)),
            ("tasks", "Tasks of jobs that are not settled, by show and state", tasks.collect()),
            (
                "tasks_waiting",
                "Tasks that have not started, by reason as `croft why` has it",
                waits.collect(),
            ),
            ("show_devices", "Devices that a show holds", shows.collect()),
            ("workers", "Workers, by state", workers.collect()),
            ("device_busy", "Whether a device runs something", busy),
            ("device_memory_bytes", "Memory of a device", memory),
            ("device_memory_used_bytes", "Memory that the rank of a device holds", used),
            ("device_memory_peak_bytes", "The most that the rank of a device has held", peak),
            ("model_resident", "Models that a device has loaded", resident),
        ]
    }
}

/// Tells the newest picture to whoever scrapes.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) picture: Arc<Mutex<Picture>>,
    pub(super) spans: Option<Arc<dyn SpanCounts>>,
}

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let gauges = self.picture.lock().unwrap_or_else(PoisonError::into_inner).gauges();
        for (name, help, values) in gauges {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            if let [(labels, value)] = &values[..]
                && labels.is_empty()
            {
                ConstGauge::new(*value).encode(metric)?;
                continue;
            }
            for (labels, value) in values {
                ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
            }
        }
        if let Some(spans) = &self.spans {
            let help = "Spans handed to the exporter, by what became of them";
            let mut metric = encoder.encode_descriptor("trace_spans", help, None, MetricType::Counter)?;
            for (outcome, count) in spans.counts() {
                let labels = vec![("outcome", outcome.to_owned())];
                ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// A word of an enum, as labels have it: `NoFit` is `no_fit`.
fn lower(word: &impl fmt::Debug) -> String {
    let mut lower = String::new();
    for c in format!("{word:?}").chars() {
        if c.is_ascii_uppercase() && !lower.is_empty() {
            lower.push('_');
        }
        lower.push(c.to_ascii_lowercase());
    }
    lower
}

#[cfg(test)]
mod tests {
    use croft_core::view::WaitReason;

    use super::*;

    #[test]
    fn reasons_are_spelled_as_labels_are() {
        assert_eq!((lower(&WaitReason::NoFit), lower(&WaitReason::Turn)), ("no_fit".into(), "turn".into()));
    }
}
