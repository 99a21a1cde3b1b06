//! What watchers of jobs are told, kept as positions rather than as messages: a watcher asks for what is new when it
//! can take more, and then sees the present state of each task that changed. So no queue grows for a slow reader; it
//! misses steps of progress and states that were passed through, never the state that a task is in.
//!
//! A position is a number that rises with every change on the farm. A watcher that comes back with a position that
//! the job's ring no longer holds gets the whole job, and then every task that has begun.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use croft_core::{
    farm::Farm,
    ids::{DeviceId, JobId, TaskId},
    step::{Stage, Update},
    time::Time,
    view::{JobState, JobView, Selector, TaskView},
};
use tokio::sync::watch;

/// Changes that a job remembers.
const RING: usize = 16_384;
/// Jobs that remember their changes while nobody watches.
const FEEDS: usize = 256;
/// Changes looked at for one answer.
const PULL: usize = 512;

/// Changes of all watched and lately changed jobs.
#[derive(Debug)]
pub(crate) struct Updates {
    feeds: BTreeMap<JobId, Feed>,
    /// The newest change.
    position: u64,
    /// Jobs changed since the last wake.
    stirred: BTreeSet<JobId>,
}

#[derive(Debug)]
struct Feed {
    /// Changes at or before it are forgotten.
    floor: u64,
    ring: VecDeque<Change>,
    /// Where each running attempt is.
    progress: BTreeMap<(u32, u32), Progress>,
    wake: watch::Sender<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Change {
    position: u64,
    at: Time,
    /// Layer and index, or the job itself.
    task: Option<(u32, u32)>,
}

/// Where a running attempt is.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    position: u64,
    at: Time,
    pub(crate) task: TaskId,
    pub(crate) attempt: u32,
    pub(crate) device: DeviceId,
    pub(crate) stage: Stage,
    pub(crate) step: u32,
    pub(crate) steps: u32,
}

/// How far a watcher has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) job: JobId,
    pub(crate) place: Place,
    /// Progress up to here was told.
    progress: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nothing was told yet: the job comes first, then what happens from now on.
    Start,
    /// What was told before is lost: the job, then every task that has begun.
    Again,
    /// Among those tasks; when they end, it goes on at `then`.
    Walk { after: Option<TaskId>, then: u64 },
    /// All changes up to here were told.
    At(u64),
}

impl Cursor {
    pub(crate) fn new(job: JobId, place: Place) -> Self {
        Self { job, place, progress: 0 }
    }
}

/// One thing to tell.
#[derive(Debug)]
pub(crate) enum Told {
    Job(Box<JobView>),
    Task(Box<TaskView>),
    /// With the task's axis values in short.
    Progress(Progress, String),
}

/// What is new for a watcher.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) told: Vec<(Time, Told)>,
    pub(crate) cursor: Cursor,
    /// The job has settled and the watcher has heard everything.
    pub(crate) done: bool,
    /// More is waiting already.
    pub(crate) more: bool,
    /// Changes when there is more to hear.
    pub(crate) wake: watch::Receiver<u64>,
}

impl Updates {
    /// `start` rises from one life of the coordinator to the next, so that positions of an earlier one are known
    /// as forgotten.
    pub(crate) fn new(start: u64) -> Self {
        Self { feeds: BTreeMap::new(), position: start, stirred: BTreeSet::new() }
    }

    pub(crate) fn note(&mut self, now: Time, update: Update) {
        self.position += 1;
        let position = self.position;
        let (job, task) = match &update {
            // What the end of an attempt means for its task is told of the task.
            Update::Ended(_) => return,
            Update::Accepted { job, .. } | Update::Job { job } => (job, None),
            Update::Task { task } | Update::Progress { task, .. } => {
                (&task.job, Some((task.layer, task.task)))
            }
        };
        if !self.stirred.contains(job) {
            self.stirred.insert(job.clone());
        }
        let feed = feed(&mut self.feeds, job, position - 1);
        match (update, task) {
            (Update::Progress { task, attempt, device, stage, step, steps }, Some(key)) => {
                let progress = Progress { position, at: now, task, attempt, device, stage, step, steps };
                feed.progress.insert(key, progress);
            }
            (_, task) => {
                if let Some(key) = task {
                    feed.progress.remove(&key);
                }
                if feed.ring.len() == RING
                    && let Some(forgotten) = feed.ring.pop_front()
                {
                    feed.floor = forgotten.position;
                }
                feed.ring.push_back(Change { position, at: now, task });
            }
        }
    }

    /// Wakes the watchers of everything noted since the last time.
    pub(crate) fn wake(&mut self) {
        while let Some(job) = self.stirred.pop_first() {
            if let Some(feed) = self.feeds.get(&job) {
                feed.wake.send_replace(self.position);
            }
        }
        while self.feeds.len() > FEEDS {
            let idle = self.feeds.iter().filter(|(_, feed)| feed.wake.receiver_count() == 0);
            let Some((job, _)) = idle.min_by_key(|(_, feed)| feed.newest()) else { return };
            let job = job.clone();
            self.feeds.remove(&job);
        }
    }

    /// Streams that wait for changes.
    pub(crate) fn watchers(&self) -> u64 {
        self.feeds.values().map(|feed| feed.wake.receiver_count() as u64).sum()
    }

    /// Changes with every change of a job.
    pub(crate) fn wake_of(&mut self, job: &JobId) -> watch::Receiver<u64> {
        let newest = self.position;
        feed(&mut self.feeds, job, newest).wake.subscribe()
    }

    /// What is new after `cursor`; `None` for a job that is not there.
    pub(crate) fn pull(&mut self, farm: &Farm, now: Time, mut cursor: Cursor) -> Option<News> {
        let job = farm.job(&cursor.job)?;
        let settled = job.state != JobState::Active;
        let newest = self.position;
        let feed = feed(&mut self.feeds, &cursor.job, newest);
        if matches!(cursor.place, Place::At(at) if at < feed.floor || at > newest) {
            cursor.place = Place::Again;
        }
        let mut told = Vec::new();
        let mut say_job = None;
        cursor.place = match cursor.place {
            Place::Start => {
                say_job = Some(now);
                Place::At(newest)
            }
            Place::Again => {
                told.push((now, Told::Job(Box::new(job.clone()))));
                Place::Walk { after: None, then: newest }
            }
            Place::Walk { after, then } => {
                let tasks = farm.tasks(&cursor.job, &Selector::default(), after.as_ref(), PULL)?;
                let last = tasks.last().filter(|_| tasks.len() == PULL).map(|task| task.id.clone());
                let begun = tasks.into_iter().filter(|t| t.state.settled() || !t.attempts.is_empty());
                told.extend(begun.map(|task| (now, Told::Task(Box::new(task)))));
                match last {
                    Some(last) => Place::Walk { after: Some(last), then },
                    None => Place::At(then),
                }
            }
            Place::At(at) => {
                let (tasks, job_changed, at) = feed.after(at);
                let tasks = tasks.into_iter().filter_map(|((layer, task), changed)| {
                    let id = TaskId { job: cursor.job.clone(), layer, task };
                    farm.task(&id).map(|task| (changed, Told::Task(Box::new(task))))
                });
                told.extend(tasks);
                say_job = job_changed;
                Place::At(at)
            }
        };
        let more = match cursor.place {
            Place::At(at) => feed.ring.back().is_some_and(|change| change.position > at),
            Place::Start | Place::Again | Place::Walk { .. } => true,
        };
        if !more {
            let fresh = feed.progress.values().filter(|p| p.position > cursor.progress);
            let label = |task: &TaskId| farm.plan(&task.job).map(|plan| plan.label(task.layer, task.task));
            let fresh = fresh.map(|p| (p.at, Told::Progress(p.clone(), label(&p.task).unwrap_or_default())));
            told.extend(fresh);
            cursor.progress = newest;
        }
        let done = settled && !more;
        if let Some(at) = say_job.or(done.then_some(now)) {
            told.push((at, Told::Job(Box::new(job))));
        }
        Some(News { told, cursor, done, more, wake: feed.wake.subscribe() })
    }
}

/// The feed of a job; a new one remembers nothing up to `floor`.
fn feed<'a>(feeds: &'a mut BTreeMap<JobId, Feed>, job: &JobId, floor: u64) -> &'a mut Feed {
    if !feeds.contains_key(job) {
        let feed =
            Feed { floor, ring: VecDeque::new(), progress: BTreeMap::new(), wake: watch::Sender::new(floor) };
        feeds.insert(job.clone(), feed);
    }
    feeds.get_mut(job).expect("it was there or was inserted just now")
}

type Tasks = Vec<((u32, u32), Time)>;

impl Feed {
    fn newest(&self) -> u64 {
        self.ring.back().map_or(self.floor, |change| change.position)
    }

    /// The tasks that changed after `at`, each once, in the order of their last change; when the job did; and the
    /// position up to which this tells.
    fn after(&self, at: u64) -> (Tasks, Option<Time>, u64) {
        let first = self.ring.partition_point(|change| change.position <= at);
        let end = self.ring.len().min(first + PULL);
        let (mut tasks, mut seen, mut job, mut last) = (Vec::new(), BTreeSet::new(), None, at);
        for change in self.ring.range(first..end).rev() {
            last = last.max(change.position);
            match change.task {
                Some(task) if seen.insert(task) => tasks.push((task, change.at)),
                Some(_) => {}
                None => job = job.or(Some(change.at)),
            }
        }
        tasks.reverse();
        (tasks, job, last)
    }
}
