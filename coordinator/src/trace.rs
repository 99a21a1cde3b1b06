//! The coordinator's part of each trace: the submission, its plan, and every attempt from its place in the schedule to
//! its publication.
//!
//! An attempt's span is named by its fence, so that its worker knows the parent of its own spans from the start,
//! and whoever leads when the attempt ends can tell the span whole, even where another began it. The attempts of a small
//! job lie in the trace of its submission; those of a large one are traces of their own that link to it.

use std::time::SystemTime;

use croft_core::{
    farm::Farm,
    ids::{AttemptId, DeviceId},
    step::{Artifact, Assignment, Ending, Event},
    time::Time,
    view::Traced,
};
use croft_proto::trace::{Kind, Place, Span, Traces, at_ms};
use sha2::{Digest, Sha256};

use crate::{clock::Clock, log};

/// Makes the coordinator's spans. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Tracer {
    traces: Traces,
    clock: Clock,
}

/// Where an attempt's span is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) place: Place,
    parent: Option<[u8; 8]>,
    link: Option<Place>,
}

/// A request that makes a job, while it is looked at.
#[derive(Debug)]
pub(crate) struct Submission {
    /// `None` where nobody follows it.
    place: Option<Place>,
    parent: Option<[u8; 8]>,
    began: SystemTime,
}

/// Attempts that a batch has started, until they are on their way.
#[derive(Debug, Default)]
pub(crate) struct Started {
    decided: Time,
    spots: Vec<Place>,
}

impl Tracer {
    pub(crate) fn new(traces: Traces, clock: Clock) -> Self {
        Self { traces, clock }
    }

    /// A request came, with the `traceparent` that its client gave.
    pub(crate) fn submission(&self, given: Option<&str>) -> Submission {
        let parent = given.and_then(|text| text.parse::<Place>().ok());
        let place = parent.map(|parent| parent.child()).or_else(|| self.traces.root());
        Submission { place, parent: parent.map(|parent| parent.span), began: self.now() }
    }

    /// The spec became a plan.
    pub(crate) fn planned(&self, submission: &Submission, tasks: u64) {
        if let Some(place) = &submission.place {
            self.traces
                .record(Span::part("plan", place, submission.began, self.now()).with("croft.tasks", tasks));
        }
    }

    /// The job is durable.
    pub(crate) fn submitted(&self, submission: Submission, job: &str) {
        let Submission { place: Some(place), parent, began } = submission else { return };
        let span = Span::new("CreateJob", place, began, self.now()).with("croft.job", job);
        self.traces.record(Span { kind: Kind::Server, parent, ..span });
    }

    /// Where the spans of an attempt belong, if anywhere.
    pub(crate) fn spot(&self, farm: &Farm, attempt: &AttemptId) -> Option<Spot> {
        let traced = farm.traced(&attempt.task.job)?;
        spot(&traced, attempt, |trace| self.traces.keeps(trace))
    }

    /// Rank 0 of an attempt goes to its worker with this batch; gives what its worker is told.
    pub(crate) fn starts(&self, farm: &Farm, assignment: &Assignment, started: &mut Started) -> String {
        let Some(spot) = self.spot(farm, &assignment.attempt) else { return String::new() };
        if assignment.rank == 0 && spot.place.sampled && self.traces.is_on() {
            started.spots.push(spot.place);
        }
        spot.place.to_string()
    }

    /// A batch is decided on.
    pub(crate) fn decided(&self, started: &mut Started) {
        started.decided = self.clock.now();
        started.spots.clear();
    }

    /// What the batch started was durable at `durable`, and is with the workers' streams now.
    pub(crate) fn sent(&self, started: &mut Started, durable: Time) {
        let now = self.now();
        let (decided, durable) = (at_ms(started.decided.0), at_ms(durable.0));
        for place in started.spots.drain(..) {
            self.traces.record(Span::part("schedule", &place, decided, durable));
            self.traces.record(Span::part("dispatch", &place, durable, now));
        }
    }

    /// An attempt is over.
    pub(crate) fn ended(&self, farm: &Farm, ending: &Ending) {
        if !self.traces.is_on() {
            return;
        }
        let Some(Spot { place, parent, link }) = self.spot(farm, &ending.attempt) else { return };
        if !place.sampled {
            return;
        }
        let AttemptId { task, number, .. } = &ending.attempt;
        let wait_ms = ending.started.since(ending.submitted);
        let span = Span::new("attempt", place, at_ms(ending.started.0), at_ms(ending.ended.0))
            .with("croft.job", task.job.as_str())
            .with("croft.task", log::name(farm, &ending.attempt))
            .with("croft.attempt", *number)
            .with("croft.show", ending.show.as_str())
            .with("croft.devices", ending.devices.iter().map(device).collect::<Vec<_>>().join(" "))
            .with("croft.cause", ending.failure.as_ref().map_or("OK", |failure| failure.cause.name()))
            .with("croft.since_submission_ms", wait_ms)
            .with("croft.device_ms", ending.usage.device_ms)
            .with("croft.tried_again", if ending.again { "yes" } else { "no" });
        let error = ending.failure.as_ref().map(|failure| failure.message.clone());
        self.traces.record(Span { parent, link, error, ..span });
    }

    /// A publication that began at `began` came to its end.
    pub(crate) fn published(&self, spot: Option<&Spot>, began: Time, sidecar: &Artifact, event: &Event) {
        let (Some(spot), Event::Published { outcome, .. }) = (spot, event) else { return };
        let span = Span::part("publish", &spot.place, at_ms(began.0), self.now())
            .with("croft.sidecar_digest", sidecar.digest.as_str());
        self.traces.record(match outcome {
            Ok(published) => span.with("croft.files", published.files).with("croft.bytes", published.bytes),
            Err(failure) => Span {
                error: Some(failure.message.clone()),
                ..span.with("croft.cause", failure.cause.name())
            },
        });
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    fn now(&self) -> SystemTime {
        at_ms(self.clock.now().0)
    }
}

impl Submission {
    /// What is stored with the job.
    pub(crate) fn trace(&self) -> String {
        self.place.map(|place| place.to_string()).unwrap_or_default()
    }
}

fn spot(traced: &Traced, attempt: &AttemptId, keeps: impl Fn([u8; 16]) -> bool) -> Option<Spot> {
    let job: Place = traced.parent.parse().ok()?;
    let mut hash = Sha256::new();
    hash.update(job.trace);
    hash.update(attempt.fence.0.to_be_bytes());
    let digest = hash.finalize();
    let span = digest[16..24].try_into().expect("a digest has 32 bytes");
    if !traced.apart {
        return Some(Spot { place: Place { span, ..job }, parent: Some(job.span), link: None });
    }
    let trace = digest[..16].try_into().expect("a digest has 32 bytes");
    let place = Place { trace, span, sampled: keeps(trace) };
    Some(Spot { place, parent: None, link: Some(job) })
}

fn device(device: &DeviceId) -> String {
    format!("{}:{}", device.worker, device.index)
}

#[cfg(test)]
mod tests {
    use croft_core::ids::{Fence, JobId, TaskId};

    use super::*;

    const JOB: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn attempt(fence: u64) -> AttemptId {
        let task = TaskId { job: JobId::new("shots").expect("a name"), layer: 0, task: 0 };
        AttemptId { task, number: 1, fence: Fence(fence) }
    }

    #[test]
    fn an_attempt_of_a_small_job_is_a_child_of_the_submission_and_every_leader_knows_its_name() {
        let traced = Traced { parent: JOB.to_owned(), apart: false };
        let job: Place = JOB.parse().expect("a place");
        let one = spot(&traced, &attempt(7), |_| false).expect("it is followed");
        assert_eq!((one.place.trace, one.parent, one.link), (job.trace, Some(job.span), None));
        assert!(one.place.sampled, "as its submission");
        assert_eq!(spot(&traced, &attempt(7), |_| true).expect("the same"), one);
        assert_ne!(spot(&traced, &attempt(8), |_| true).expect("another").place.span, one.place.span);
    }

    #[test]
    fn an_attempt_of_a_large_job_is_a_trace_of_its_own_that_names_the_submission() {
        let traced = Traced { parent: JOB.to_owned(), apart: true };
        let job: Place = JOB.parse().expect("a place");
        let one = spot(&traced, &attempt(7), |_| true).expect("it is followed");
        assert_ne!(one.place.trace, job.trace);
        assert_eq!((one.parent, one.link, one.place.sampled), (None, Some(job), true));
        assert!(!spot(&traced, &attempt(7), |_| false).expect("followed").place.sampled);
    }
}
