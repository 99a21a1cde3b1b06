//! What the coordinator counts, and a page of it for Prometheus.
//!
//! What happens is counted as it happens. How things stand is a picture that the farm's thread takes now and then; a
//! scrape reads the newest one, so no scrape ever makes the farm wait. Nothing is labelled by task or attempt, and jobs
//! are not named: the series are as many as there are shows, models, devices and causes.

mod picture;
mod serve;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use croft_core::{
    ids::WorkerId,
    step::{Assignment, Ending, Event},
    time::Time,
};
use croft_proto::v1::DeviceFigures;
use prometheus_client::{
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use self::picture::Picture;
pub(crate) use self::serve::serve;
use crate::run::Desk;

type Labels = Vec<(&'static str, String)>;

/// A picture is as old as this at most while anything happens.
const PICTURE_MS: u64 = 2_000;

/// Counts everything, where somebody may ask. Cheap to share.
pub(crate) struct Metrics {
    /// Nothing is counted where nobody can ask.
    is_on: bool,
    registry: Registry,
    picture: Arc<Mutex<Picture>>,
    attempts: Family<Labels, Counter>,
    retries: Family<Labels, Counter>,
    placements: Family<Labels, Counter>,
    device_seconds: Family<Labels, Counter<f64, AtomicU64>>,
    wasted_seconds: Family<Labels, Counter<f64, AtomicU64>>,
    published_bytes: Family<Labels, Counter>,
    steps: Family<Labels, Histogram, fn() -> Histogram>,
    publications: Family<Labels, Histogram, fn() -> Histogram>,
    commits: Histogram,
    turns: Histogram,
    events: Counter,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("is_on", &self.is_on).finish_non_exhaustive()
    }
}

/// From a millisecond to half a minute.
fn waits() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 16))
}

/// From ten milliseconds to five minutes: a denoise step of a thumbnail, and one of a long clip.
fn steps() -> Histogram {
    Histogram::new(exponential_buckets(0.01, 2.0, 16))
}

/// From a tenth of a millisecond to some seconds.
fn moments() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 16))
}

impl Metrics {
    pub(crate) fn new(is_on: bool, spans: Option<Arc<dyn SpanCounts>>) -> Self {
        let mut registry = Registry::with_prefix("croft");
        let picture = Arc::new(Mutex::new(Picture::default()));
        registry.register_collector(Box::new(picture::Collected { picture: Arc::clone(&picture), spans }));
        let metrics = Self {
            is_on,
            registry: Registry::default(),
            picture,
            attempts: Family::default(),
            retries: Family::default(),
            placements: Family::default(),
            device_seconds: Family::default(),
            wasted_seconds: Family::default(),
            published_bytes: Family::default(),
            steps: Family::new_with_constructor(steps as fn() -> Histogram),
            publications: Family::new_with_constructor(waits as fn() -> Histogram),
            commits: moments(),
            turns: moments(),
            events: Counter::default(),
        };
        let m = &metrics;
        registry.register("attempts", "Attempts that ended, by show and cause", m.attempts.clone());
        registry.register(
            "retries",
            "Attempts after which the task was tried again, by cause",
            m.retries.clone(),
        );
        registry.register(
            "placements",
            "Tasks given to a device, by its kind; a gang counts once a rank",
            m.placements.clone(),
        );
        registry.register_with_unit(
            "device",
            "Device time of ended attempts, by show",
            Unit::Seconds,
            m.device_seconds.clone(),
        );
        registry.register_with_unit(
            "device_wasted",
            "Device time of attempts that ended badly, by show",
            Unit::Seconds,
            m.wasted_seconds.clone(),
        );
        registry.register_with_unit(
            "published",
            "Published files, by show",
            Unit::Bytes,
            m.published_bytes.clone(),
        );
        registry.register_with_unit(
            "denoise_step",
            "One denoise step, by model and kind of device",
            Unit::Seconds,
            m.steps.clone(),
        );
        registry.register_with_unit(
            "publication",
            "From the decision to publish to the last file in its place, by outcome",
            Unit::Seconds,
            m.publications.clone(),
        );
        registry.register_with_unit(
            "state_commit",
            "One commit of the state store",
            Unit::Seconds,
            m.commits.clone(),
        );
        registry.register_with_unit(
            "loop_turn",
            "One turn of the farm's thread: events decided, committed, let out",
            Unit::Seconds,
            m.turns.clone(),
        );
        registry.register("events", "Events that the farm's thread took", m.events.clone());
        Self { registry, ..metrics }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    pub(crate) fn placed(&self, desk: &Desk, assignment: &Assignment) {
        if self.is_on {
            let kind = desk.farm.device_kind(&assignment.device).unwrap_or_default().to_owned();
            self.placements.get_or_create(&vec![("device_kind", kind)]).inc();
        }
    }

    pub(crate) fn ended(&self, ending: &Ending) {
        if !self.is_on {
            return;
        }
        let show = || vec![("show", ending.show.clone())];
        let cause = ending.failure.as_ref().map_or("OK", |failure| failure.cause.name()).to_owned();
        if ending.again {
            self.retries.get_or_create(&vec![("cause", cause.clone())]).inc();
        }
        self.attempts.get_or_create(&vec![("show", ending.show.clone()), ("cause", cause)]).inc();
        self.device_seconds.get_or_create(&show()).inc_by(ending.usage.device_ms as f64 / 1e3);
        if ending.failure.is_some() {
            self.wasted_seconds.get_or_create(&show()).inc_by(ending.usage.wasted_ms as f64 / 1e3);
        }
        self.published_bytes.get_or_create(&show()).inc_by(ending.usage.bytes);
    }

    pub(crate) fn stepped(&self, model: &str, kind: &str, step_us: u64) {
        if self.is_on {
            let labels = vec![("model", model.to_owned()), ("device_kind", kind.to_owned())];
            self.steps.get_or_create(&labels).observe(step_us as f64 / 1e6);
        }
    }

    pub(crate) fn published(&self, began: Time, now: Time, event: &Event) {
        let Event::Published { outcome, .. } = event else { return };
        if self.is_on {
            let outcome = outcome.as_ref().map_or_else(|failure| failure.cause.name(), |_| "OK").to_owned();
            let took = now.since(began) as f64 / 1e3;
            self.publications.get_or_create(&vec![("outcome", outcome)]).observe(took);
        }
    }

    pub(crate) fn committed(&self, took: Duration) {
        if self.is_on {
            self.commits.observe(took.as_secs_f64());
        }
    }

    pub(crate) fn turned(&self, events: usize, took: Duration) {
        if self.is_on && events > 0 {
            self.events.inc_by(events as u64);
            self.turns.observe(took.as_secs_f64());
        }
    }

    /// What a worker says its ranks take.
    pub(crate) fn figures(&self, worker: &WorkerId, figures: Vec<DeviceFigures>) {
        if self.is_on {
            let mut picture = self.picture.lock().unwrap_or_else(PoisonError::into_inner);
            picture.figures.insert(worker.clone(), figures);
        }
    }

    /// A worker's stream ended: what it said of itself is true no more.
    pub(crate) fn left(&self, worker: &WorkerId) {
        self.picture.lock().unwrap_or_else(PoisonError::into_inner).figures.remove(worker);
    }

    /// How things stand, when it is time to look again.
    pub(crate) fn look(&self, desk: &Desk) {
        if !self.is_on {
            return;
        }
        let now = desk.clock.now();
        let taken = self.picture.lock().unwrap_or_else(PoisonError::into_inner).taken;
        if now.since(taken) < PICTURE_MS {
            return;
        }
        // Taken outside the lock: a scrape waits for nothing.
        let fresh = Picture::take(desk, now);
        let mut picture = self.picture.lock().unwrap_or_else(PoisonError::into_inner);
        picture.renew(fresh);
    }
}

/// What became of the spans that were handed to whoever exports them.
pub trait SpanCounts: Send + Sync + fmt::Debug {
    /// By outcome.
    fn counts(&self) -> Vec<(&'static str, u64)>;
}
