//! What is known of a job that is being followed, built from its events. No clock, no terminal.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use croft_proto::v1::{ExitCause, Job, JobEvent, JobState, Stage, Task, TaskProgress, TaskState, job_event};

use crate::{client, json};

/// One attempt that runs now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Running {
    pub(crate) label: String,
    /// `lx-07:0`
    pub(crate) place: String,
    pub(crate) stage: Stage,
    pub(crate) step: u32,
    pub(crate) steps: u32,
    attempt: u32,
    /// When its denoise loop was first heard of, and at which step.
    denoise_since: Option<(Instant, u32)>,
}

/// Something worth a line of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Happening {
    Finished {
        task: String,
        label: String,
    },
    /// An attempt ended badly and the task is tried again.
    Retried {
        task: String,
        attempt: u32,
        cause: &'static str,
        message: String,
    },
    Failed {
        task: String,
        cause: &'static str,
        message: String,
        remedy: String,
    },
    Settled(JobState),
}

#[derive(Debug)]
struct Told {
    attempts: u32,
    state: TaskState,
}

impl Default for Told {
    fn default() -> Self {
        Self { attempts: 0, state: TaskState::Unspecified }
    }
}

/// A task's axis values in short: `scene=alley seed=4103`.
pub(crate) fn label(task: &Task) -> String {
    // `product.id` and `product.text` are columns of the axis `product`; the axis alone says enough.
    let axes: Vec<_> =
        task.axes.iter().filter(|(k, _)| !k.contains('.')).map(|(k, v)| format!("{k}={v}")).collect();
    axes.join(" ")
}

/// The job, what runs, and what the steps so far say about time.
#[derive(Debug, Default)]
pub(crate) struct Board {
    job: Option<Job>,
    running: BTreeMap<String, Running>,
    /// What was told of each task: a repeated event tells nothing twice.
    told: BTreeMap<String, Told>,
    /// Decode and save of the last finished attempt: what comes after its last step.
    tail: Duration,
}

impl Board {
    /// Takes one event in; says what of it is worth telling.
    pub(crate) fn apply(&mut self, event: JobEvent, now: Instant) -> Vec<Happening> {
        match event.what {
            Some(job_event::What::Job(job)) => self.take_job(job),
            Some(job_event::What::Task(task)) => self.take_task(&task),
            Some(job_event::What::Progress(progress)) => {
                self.take_progress(progress, now);
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    pub(crate) fn job(&self) -> Option<&Job> {
        self.job.as_ref()
    }

    /// The job, once it has settled.
    pub(crate) fn settled(&self) -> Option<&Job> {
        self.job.as_ref().filter(|j| !matches!(j.state(), JobState::Active | JobState::Unspecified))
    }

    /// What runs, by task name.
    pub(crate) fn running(&self) -> impl Iterator<Item = &Running> {
        self.running.values()
    }

    /// How long until `running` is done: by the pace of its own steps, and the tail of those before it.
    pub(crate) fn left(&self, running: &Running, now: Instant) -> Option<Duration> {
        let (since, first) = running.denoise_since?;
        if running.stage != Stage::Denoise {
            return None;
        }
        let done = running.step.checked_sub(first).filter(|&n| n > 0)?;
        let pace = now.saturating_duration_since(since) / done;
        Some(pace * running.steps.saturating_sub(running.step) + self.tail)
    }

    fn take_job(&mut self, job: Job) -> Vec<Happening> {
        let was_settled = self.settled().is_some();
        self.job = Some(job);
        match self.settled().map(Job::state) {
            Some(state) if !was_settled => {
                self.running.clear();
                vec![Happening::Settled(state)]
            }
            _ => Vec::new(),
        }
    }

    fn take_task(&mut self, task: &Task) -> Vec<Happening> {
        let name = client::short(&task.name);
        let state = task.state();
        let ended = task.attempts.iter().filter(|a| a.cause() != ExitCause::Unspecified);
        let told = self.told.entry(task.name.clone()).or_default();
        let mut happenings = Vec::new();
        let known = told.attempts;
        for attempt in ended.filter(|a| a.number > known) {
            told.attempts = attempt.number;
            let is_last = task.attempts.last().is_some_and(|last| last.number == attempt.number);
            match (attempt.cause(), attempt.times) {
                (ExitCause::Ok, Some(times)) => {
                    self.tail = Duration::from_millis(times.decode_ms + times.save_ms);
                }
                (ExitCause::Ok | ExitCause::Cancelled, _) => {}
                // The last attempt of a failed task is told as the task's failure.
                _ if is_last && state == TaskState::Failed => {}
                (cause, _) => happenings.push(Happening::Retried {
                    task: name.clone(),
                    attempt: attempt.number,
                    cause: json::cause(cause),
                    message: attempt.failure.as_ref().map(|f| f.message.clone()).unwrap_or_default(),
                }),
            }
        }
        let is_new = std::mem::replace(&mut told.state, state) != state;
        let ran = if matches!(state, TaskState::Running | TaskState::Publishing) {
            None
        } else {
            self.running.remove(&task.name)
        };
        match state {
            TaskState::Succeeded if is_new => {
                let label = ran.map(|r| r.label).filter(|l| !l.is_empty()).unwrap_or_else(|| label(task));
                happenings.push(Happening::Finished { task: name, label });
            }
            TaskState::Failed if is_new => {
                let failure = task.failure.clone().unwrap_or_default();
                happenings.push(Happening::Failed {
                    task: name,
                    cause: json::cause(failure.cause()),
                    message: failure.message,
                    remedy: failure.remedy,
                });
            }
            TaskState::Succeeded
            | TaskState::Failed
            | TaskState::Unspecified
            | TaskState::Waiting
            | TaskState::Queued
            | TaskState::Running
            | TaskState::Publishing
            | TaskState::Cancelled
            | TaskState::Skipped => {}
        }
        happenings
    }

    fn take_progress(&mut self, progress: TaskProgress, now: Instant) {
        let place = client::short(&progress.device);
        let stage = progress.stage();
        let running = self.running.entry(progress.task).or_insert_with(|| Running {
            label: String::new(),
            place: String::new(),
            stage,
            step: 0,
            steps: 0,
            attempt: progress.attempt,
            denoise_since: None,
        });
        if running.attempt != progress.attempt {
            running.denoise_since = None;
        }
        if stage == Stage::Denoise && running.denoise_since.is_none() {
            running.denoise_since = Some((now, progress.step));
        }
        running.attempt = progress.attempt;
        running.label = progress.label;
        running.place = place;
        (running.stage, running.step, running.steps) = (stage, progress.step, progress.steps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use croft_proto::v1::{Attempt, AttemptTimes, Failure};

    const TASK: &str = "jobs/j/layers/draft/tasks/0001";

    fn event(what: job_event::What) -> JobEvent {
        JobEvent { what: Some(what), ..JobEvent::default() }
    }

    fn task(state: TaskState, causes: &[ExitCause]) -> JobEvent {
        let attempts = causes.iter().zip(1..).map(|(&cause, number)| Attempt {
            number,
            cause: cause.into(),
            failure: Some(Failure { message: "killed".into(), ..Failure::default() }),
            times: Some(AttemptTimes { decode_ms: 300, save_ms: 100, ..AttemptTimes::default() }),
            ..Attempt::default()
        });
        event(job_event::What::Task(Task {
            name: TASK.into(),
            state: state.into(),
            attempts: attempts.collect(),
            axes: [("seed".to_owned(), "7".to_owned()), ("product.id".to_owned(), "x".to_owned())].into(),
            ..Task::default()
        }))
    }

    fn progress(stage: Stage, step: u32) -> JobEvent {
        event(job_event::What::Progress(TaskProgress {
            task: TASK.into(),
            attempt: 1,
            device: "workers/w/devices/0".into(),
            stage: stage.into(),
            step,
            steps: 10,
            label: "seed=7".into(),
            ..TaskProgress::default()
        }))
    }

    #[test]
    fn a_retry_and_then_the_success_are_each_told_once() {
        let now = Instant::now();
        let mut board = Board::default();
        let crashed = task(TaskState::Queued, &[ExitCause::Crashed]);
        let told = board.apply(crashed.clone(), now);
        assert!(matches!(&told[..], [Happening::Retried { attempt: 1, cause: "CRASHED", .. }]), "{told:?}");
        assert!(board.apply(crashed, now).is_empty());
        let done = task(TaskState::Succeeded, &[ExitCause::Crashed, ExitCause::Ok]);
        let told = board.apply(done.clone(), now);
        assert_eq!(told, [Happening::Finished { task: "j/draft/0001".into(), label: "seed=7".into() }]);
        assert!(board.apply(done, now).is_empty());
    }

    #[test]
    fn the_last_attempt_of_a_failed_task_is_the_tasks_failure() {
        let mut board = Board::default();
        let told =
            board.apply(task(TaskState::Failed, &[ExitCause::Crashed, ExitCause::NanOutput]), Instant::now());
        assert!(
            matches!(&told[..], [Happening::Retried { attempt: 1, .. }, Happening::Failed { .. }]),
            "{told:?}"
        );
    }

    #[test]
    fn what_is_left_follows_the_pace_of_the_steps_and_the_tail_seen_before() {
        let start = Instant::now();
        let mut board = Board::default();
        board.apply(task(TaskState::Succeeded, &[ExitCause::Ok]), start);
        board.apply(progress(Stage::Denoise, 0), start);
        board.apply(progress(Stage::Denoise, 4), start + Duration::from_secs(2));
        let running = board.running().next().expect("one runs");
        assert_eq!(running.place, "w:0");
        let left = board.left(running, start + Duration::from_secs(2)).expect("a pace");
        assert_eq!(left, Duration::from_millis(6 * 500 + 400));
    }

    #[test]
    fn a_job_settles_once() {
        let mut board = Board::default();
        let job =
            |state: JobState| event(job_event::What::Job(Job { state: state.into(), ..Job::default() }));
        assert!(board.apply(job(JobState::Active), Instant::now()).is_empty());
        assert_eq!(
            board.apply(job(JobState::Succeeded), Instant::now()),
            [Happening::Settled(JobState::Succeeded)]
        );
        assert!(board.apply(job(JobState::Succeeded), Instant::now()).is_empty());
        assert!(board.settled().is_some());
    }
}
