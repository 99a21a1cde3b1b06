//! The spans of one rank's part in an attempt, from what the rank says of itself.
//!
//! The worker makes them, not the rank: a rank has no network of its own, and one that is killed cannot tell how far
//! it had come. What it says travels over a socket of the same machine, so the times are its own to within
//! microseconds.

use std::{
    sync::{Mutex, PoisonError},
    time::{Instant, SystemTime},
};

use croft_proto::{
    trace::{Kind, Place, Span, Traces},
    v1::{Assignment, RankProgress, Stage},
};

use crate::{attempt::Ending, clock};

/// Steps that a span names: more would tell no more.
const STEPS_MAX: usize = 64;

#[derive(Debug)]
pub(crate) struct Tale {
    traces: Traces,
    /// The attempt, and this rank within it; `None` where nobody follows it.
    places: Option<(Place, Place)>,
    began: SystemTime,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    stages: Vec<(Stage, SystemTime)>,
    /// When files began to go to the store.
    storing: Option<SystemTime>,
    steps: Vec<(SystemTime, String)>,
    /// The denoise step that ended last.
    last: Option<(u32, Instant)>,
}

impl Tale {
    pub(crate) fn begin(traces: &Traces, assignment: &Assignment) -> Self {
        let place = assignment.traceparent.parse::<Place>().ok();
        let followed = place.filter(|place| place.sampled && traces.is_on());
        Self {
            traces: traces.clone(),
            places: followed.map(|attempt| (attempt, attempt.child())),
            began: clock::moment(),
            inner: Mutex::default(),
        }
    }

    /// The rank said where it is; gives what a denoise step took that follows another, microseconds, else 0.
    pub(crate) fn heard(&self, progress: &RankProgress) -> u64 {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let stage = progress.stage();
        if self.places.is_some() {
            let now = clock::moment();
            if inner.stages.last().is_none_or(|(last, _)| *last != stage) {
                inner.stages.push((stage, now));
            }
            if progress.step > 0 && inner.steps.len() < STEPS_MAX {
                inner.steps.push((now, format!("step {} of {}", progress.step, progress.steps)));
            }
        }
        if stage != Stage::Denoise || progress.step == 0 {
            return 0;
        }
        let now = Instant::now();
        match inner.last.replace((progress.step, now)) {
            Some((step, at)) if step + 1 == progress.step => {
                u64::try_from(now.duration_since(at).as_micros()).unwrap_or(u64::MAX)
            }
            Some(_) | None => 0,
        }
    }

    /// The rank is done; its files go to the store.
    pub(crate) fn storing(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.storing = Some(clock::moment());
    }

    /// The attempt ended for this rank, on `device` of `worker`.
    pub(crate) fn end(self, assignment: &Assignment, worker: &str, device: u32, ending: &Ending) {
        let Some((attempt, rank)) = self.places else { return };
        let Inner { stages, storing, mut steps, .. } =
            self.inner.into_inner().unwrap_or_else(PoisonError::into_inner);
        let now = clock::moment();
        let rendered = storing.unwrap_or(now);
        let ends = stages.iter().skip(1).map(|(_, at)| *at).chain([rendered]);
        for ((stage, start), end) in stages.iter().zip(ends) {
            let mut span = Span::part(name(*stage), &rank, *start, end);
            if *stage == Stage::Denoise {
                span.events = std::mem::take(&mut steps);
            }
            self.traces.record(span);
        }
        if let Some(storing) = storing {
            let span = Span::part("store", &attempt, storing, now);
            let span = match ending {
                Ok(made) => span
                    .with("croft.files", made.artifacts.len() as u64)
                    .with("croft.bytes", made.artifacts.iter().map(|file| file.size_bytes).sum::<u64>()),
                Err(failure) => Span { error: Some(failure.message.clone()), ..span },
            };
            self.traces.record(Span { kind: Kind::Client, ..span });
        }
        let named = assignment.attempt.clone().unwrap_or_default();
        let model = assignment.recipe.as_ref().map_or("", |recipe| recipe.model.as_str());
        let span = Span::new("rank", rank, self.began, rendered)
            .with("croft.job", named.job)
            .with("croft.task", format!("{}/{}", named.layer, named.task))
            .with("croft.attempt", named.attempt)
            .with("croft.rank", named.rank)
            .with("croft.worker", worker)
            .with("croft.device", device)
            .with("croft.model", model);
        let error = ending.as_ref().err().map(|failure| failure.message.clone());
        self.traces.record(Span { parent: Some(attempt.span), error, ..span });
    }
}

fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::Load => "load",
        Stage::Encode => "encode",
        Stage::Denoise => "denoise",
        Stage::Decode => "decode",
        Stage::Save => "save",
        Stage::Unspecified => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use croft_proto::{
        trace::Sink,
        v1::{ExitCause, Failure},
    };

    use super::*;
    use crate::attempt::Made;

    struct Kept(mpsc::SyncSender<Span>);

    impl Sink for Kept {
        fn take(&self, span: Span) {
            self.0.try_send(span).expect("room");
        }
    }

    const PLACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0";

    fn told(flags: &str, ending: &Ending) -> Vec<Span> {
        let (sink, kept) = mpsc::sync_channel(32);
        let traces = Traces::new(Arc::new(Kept(sink)), 1.0);
        let assignment = Assignment { traceparent: format!("{PLACE}{flags}"), ..Assignment::default() };
        let tale = Tale::begin(&traces, &assignment);
        let progress = |stage: Stage, step| RankProgress { id: 1, stage: stage.into(), step, steps: 2 };
        assert_eq!(tale.heard(&progress(Stage::Load, 0)), 0);
        assert_eq!(tale.heard(&progress(Stage::Denoise, 1)), 0, "the first waited for other things");
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(tale.heard(&progress(Stage::Denoise, 2)) >= 2_000);
        if ending.is_ok() {
            tale.storing();
        }
        tale.end(&assignment, "ws-1", 3, ending);
        drop(traces);
        kept.iter().collect()
    }

    #[test]
    fn a_ranks_stages_are_its_children_and_it_is_its_attempts() {
        let spans = told("1", &Ok(Made::default()));
        let names: Vec<_> = spans.iter().map(|span| span.name).collect();
        assert_eq!(names, ["load", "denoise", "store", "rank"]);
        let attempt: Place = format!("{PLACE}1").parse().expect("a place");
        let rank = &spans[3];
        assert_eq!((rank.parent, spans[2].parent), (Some(attempt.span), Some(attempt.span)));
        assert!(spans[..2].iter().all(|span| span.parent == Some(rank.place.span)));
        assert!(spans.iter().all(|span| span.place.trace == attempt.trace));
        assert_eq!((spans[0].end, spans[1].events.len()), (spans[1].start, 2));
    }

    #[test]
    fn a_rank_that_failed_says_so_and_one_that_nobody_follows_says_nothing() {
        let failure =
            Failure { cause: ExitCause::Crashed.into(), message: "killed".into(), ..Failure::default() };
        let spans = told("1", &Err(failure.clone()));
        let names: Vec<_> = spans.iter().map(|span| (span.name, span.error.as_deref())).collect();
        assert_eq!(names, [("load", None), ("denoise", None), ("rank", Some("killed"))]);
        assert!(told("0", &Err(failure)).is_empty());
    }
}
