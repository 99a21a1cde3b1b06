//! A watcher's stream: it pulls what is new when the client has read what came before, so nothing piles up here.
//!
//! `sequence` counts the events of one watcher's chain, over reconnections: the token carries it. The token of an
//! event names the place where its pull began, that of a pull's last event the place where it ended; so a client that
//! comes back hears everything at least once.

use std::{collections::VecDeque, fmt, pin::Pin, sync::Arc};

use croft_core::{farm::Farm, ids::JobId, time::Time};
use croft_proto::v1::{self, job_event::What};
use futures::{Stream, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    convert,
    status::{exhausted, invalid, not_found},
};
use crate::{
    handle::{Handle, Refusal},
    updates::{Cursor, Place, Told},
};

/// Watchers at once.
const WATCHERS: usize = 1_024;

pub(crate) type Watch = Pin<Box<dyn Stream<Item = Result<v1::JobEvent, Status>> + Send>>;

/// Begins watches. They end when the coordinator does.
#[derive(Debug)]
pub(crate) struct Watching {
    handle: Handle,
    places: Arc<Semaphore>,
    end: CancellationToken,
}

struct State {
    handle: Handle,
    end: CancellationToken,
    name: String,
    cursor: Cursor,
    sequence: u64,
    wake: Option<watch::Receiver<u64>>,
    ready: VecDeque<v1::JobEvent>,
    done: bool,
    _place: OwnedSemaphorePermit,
}

impl Watching {
    pub(crate) fn new(handle: Handle, end: CancellationToken) -> Self {
        Self { handle, places: Arc::new(Semaphore::new(WATCHERS)), end }
    }

    pub(super) async fn begin(&self, job: JobId, name: &str, token: &str) -> Result<Watch, Status> {
        let place = self.places.clone().try_acquire_owned();
        let place =
            place.map_err(|_| exhausted("watchers", format!("{WATCHERS} watchers are here already")))?;
        let Token { sequence, place: from } = match token {
            "" => Token { sequence: 0, place: Place::Start },
            token => token.parse()?,
        };
        let mut state = State {
            handle: self.handle.clone(),
            end: self.end.clone(),
            name: name.to_owned(),
            cursor: Cursor::new(job, from),
            sequence,
            wake: None,
            ready: VecDeque::new(),
            done: false,
            _place: place,
        };
        // Here already, so that an unknown job is refused before the stream begins.
        state.pull().await?;
        Ok(Box::pin(stream::try_unfold(state, State::next)))
    }
}

impl State {
    async fn next(mut self) -> Result<Option<(v1::JobEvent, Self)>, Status> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some((event, self)));
            }
            if self.done {
                return Ok(None);
            }
            if let Some(mut wake) = self.wake.take() {
                tokio::select! {
                    // A closed one means that the job's changes were forgotten: the pull says so.
                    _ = wake.changed() => {}
                    () = self.end.cancelled() => {
                        return Err(Status::unavailable("the coordinator is ending; watch again with the last token"));
                    }
                }
            }
            self.pull().await?;
        }
    }

    /// Fetches what is new.
    async fn pull(&mut self) -> Result<(), Status> {
        let cursor = self.cursor.clone();
        let mut sequence = self.sequence;
        let before = token(sequence, &cursor.place);
        let pulled = self
            .handle
            .ask(move |desk| {
                // A follower sees states, not what happens: watchers go to the leader.
                desk.leads()?;
                let now = desk.clock.now();
                let Some(news) = desk.updates.pull(&desk.farm, now, cursor) else { return Ok(None) };
                let events: Vec<_> =
                    news.told.into_iter().filter_map(|(at, told)| event(&desk.farm, at, told)).collect();
                Ok::<_, Refusal>(Some((events, news.cursor, news.done, news.more, news.wake)))
            })
            .await??;
        let (mut events, cursor, done, more, wake) = pulled.ok_or_else(|| not_found("job", &self.name))?;
        for event in &mut events {
            sequence += 1;
            event.sequence = sequence;
            event.resume_token.clone_from(&before);
        }
        if let Some(last) = events.last_mut() {
            last.resume_token = token(sequence, &cursor.place);
        }
        (self.sequence, self.cursor, self.done) = (sequence, cursor, done);
        self.wake = (!more).then_some(wake);
        self.ready = events.into();
        Ok(())
    }
}

fn event(farm: &Farm, at: Time, told: Told) -> Option<v1::JobEvent> {
    let what = match told {
        Told::Job(job) => What::Job(convert::job(*job)),
        Told::Task(task) => What::Task(convert::task(*task)),
        Told::Progress(progress, label) => {
            let layers = farm.plan(&progress.task.job)?.layers();
            let layer = layers.get(progress.task.layer as usize)?.name.as_str();
            What::Progress(convert::progress(progress, layer, label))
        }
    };
    Some(v1::JobEvent {
        sequence: 0,
        resume_token: String::new(),
        time: Some(convert::timestamp(at)),
        what: Some(what),
    })
}

/// Where a watcher's chain is.
struct Token {
    sequence: u64,
    place: Place,
}

fn token(sequence: u64, place: &Place) -> String {
    Token { sequence, place: place.clone() }.to_string()
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::At(at) => write!(f, "{:x}.{at:x}", self.sequence),
            // A walk that was broken off begins again.
            Place::Start | Place::Again | Place::Walk { .. } => write!(f, "{:x}.w", self.sequence),
        }
    }
}

impl std::str::FromStr for Token {
    type Err = Status;

    fn from_str(text: &str) -> Result<Self, Status> {
        let bad = || invalid("resume_token", "is none that this server gave; begin with an empty one");
        let (sequence, place) = text.split_once('.').ok_or_else(bad)?;
        let sequence = u64::from_str_radix(sequence, 16).map_err(|_| bad())?;
        let place = match place {
            "w" => Place::Again,
            at => Place::At(u64::from_str_radix(at, 16).map_err(|_| bad())?),
        };
        Ok(Self { sequence, place })
    }
}
