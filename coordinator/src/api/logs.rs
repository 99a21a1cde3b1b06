//! A reader's stream of logs: it looks which attempts there are, reads those that failed from the store, and listens to
//! those that run.

mod look;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use croft_core::ids::{AttemptId, Fence, SessionId, TaskId};
use croft_proto::v1;
use futures::{Stream, stream};
use object_store::ObjectStore;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use self::look::{Found, Wanted, look, wanted};
use super::{
    auth::Call,
    status::{exhausted, not_found},
};
use crate::{
    handle::{Handle, Refusal},
    logs::{self, Listeners},
};

/// Readers at once.
const READERS: usize = 256;
/// Between two looks; a job may change far more often.
const PAUSE: Duration = Duration::from_millis(250);
/// A worker that was asked for its log and says nothing is asked again, and given up by a reader that does not follow.
const ANSWER: Duration = Duration::from_secs(3);
/// After its end a failed attempt's log may still be on its way to the store.
const KEEPING_MS: u64 = 5_000;

pub(crate) type Logs = Pin<Box<dyn Stream<Item = Result<v1::LogChunk, Status>> + Send>>;

/// Begins streams of logs. They end when the coordinator does.
#[derive(Debug)]
pub(crate) struct Reading {
    handle: Handle,
    listeners: Arc<Listeners>,
    store: Arc<dyn ObjectStore>,
    places: Arc<Semaphore>,
    end: CancellationToken,
}

/// One that runs and is listened to.
struct Live {
    chunk: v1::LogChunk,
    sessions: Vec<Option<SessionId>>,
    asked: Instant,
    /// By rank, the bytes that were told.
    told: BTreeMap<u32, u64>,
    caught_up: BTreeSet<u32>,
    ranks: u32,
}

struct State {
    handle: Handle,
    listeners: Arc<Listeners>,
    store: Arc<dyn ObjectStore>,
    end: CancellationToken,
    wanted: Wanted,
    out: mpsc::Sender<v1::RankLog>,
    heard: mpsc::Receiver<v1::RankLog>,
    live: BTreeMap<Fence, Live>,
    told: BTreeSet<(TaskId, u32)>,
    ready: VecDeque<v1::LogChunk>,
    wake: Option<watch::Receiver<u64>>,
    began: Instant,
    looked: Instant,
    done: bool,
    _place: OwnedSemaphorePermit,
}

impl Reading {
    pub(crate) fn new(
        handle: Handle,
        listeners: Arc<Listeners>,
        store: Arc<dyn ObjectStore>,
        end: CancellationToken,
    ) -> Self {
        Self { handle, listeners, store, places: Arc::new(Semaphore::new(READERS)), end }
    }

    pub(super) async fn begin(&self, request: Request<v1::StreamLogsRequest>) -> Result<Logs, Status> {
        let call = Call::of(&request);
        let wanted = wanted(request.into_inner())?;
        call.is_about(&self.handle, &wanted.job, &wanted.name).await?;
        let place = self.places.clone().try_acquire_owned();
        let place = place.map_err(|_| exhausted("readers", format!("{READERS} readers are here already")))?;
        let (out, heard) = mpsc::channel(logs::QUEUE);
        let mut state = State {
            handle: self.handle.clone(),
            listeners: Arc::clone(&self.listeners),
            store: Arc::clone(&self.store),
            end: self.end.clone(),
            wanted,
            out,
            heard,
            live: BTreeMap::new(),
            told: BTreeSet::new(),
            ready: VecDeque::new(),
            wake: None,
            began: Instant::now(),
            looked: Instant::now(),
            done: false,
            _place: place,
        };
        // Here already, so that an unknown task is refused before the stream begins.
        state.look().await?;
        Ok(Box::pin(stream::try_unfold(state, State::next)))
    }
}

impl State {
    async fn next(mut self) -> Result<Option<(v1::LogChunk, Self)>, Status> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Ok(Some((chunk, self)));
            }
            if self.done {
                return Ok(None);
            }
            self.wait().await?;
        }
    }

    /// Until there is something to tell, or it is time to look again.
    async fn wait(&mut self) -> Result<(), Status> {
        if !self.wanted.follow && (self.has_all() || self.began.elapsed() > ANSWER) {
            self.done = true;
            return Ok(());
        }
        let (wake, due) = (self.wake.clone(), self.looked + PAUSE);
        let changed = async move {
            sleep_until(due.into()).await;
            if let Some(mut wake) = wake {
                // Without a change it is looked at now and then all the same: a worker may have to be asked again.
                let _ = timeout(ANSWER, wake.changed()).await;
            }
        };
        tokio::select! {
            biased;
            // First, so that a rank that never stops talking cannot hide what happens beside it.
            () = changed => self.look().await?,
            Some(piece) = self.heard.recv() => self.piece(piece),
            () = self.end.cancelled() => {
                return Err(Status::unavailable("the coordinator is ending; ask again"));
            }
        }
        Ok(())
    }

    /// Whether all that runs has told what it has said so far.
    fn has_all(&self) -> bool {
        self.live.values().all(|live| {
            let ranks = self.wanted.rank.map_or(0..live.ranks, |rank| rank..rank.saturating_add(1));
            ranks.filter(|rank| *rank < live.ranks).all(|rank| live.caught_up.contains(&rank))
        })
    }

    async fn look(&mut self) -> Result<(), Status> {
        let (wanted, listeners, out) = (self.wanted.clone(), Arc::clone(&self.listeners), self.out.clone());
        let heard = |live: &Live| live.caught_up.len() as u32 >= live.ranks || live.asked.elapsed() < ANSWER;
        let known: BTreeMap<Fence, Vec<Option<SessionId>>> = self
            .live
            .iter()
            .filter(|(_, live)| heard(live))
            .map(|(fence, live)| (*fence, live.sessions.clone()))
            .collect();
        let looked = self.handle.ask(move |desk| {
            desk.leads()?;
            let Some(look) = look(desk, &wanted) else { return Ok(None) };
            for found in &look.found {
                let Some((fence, sessions)) = &found.live else { continue };
                // In place before the worker is asked, so that nothing it answers is missed.
                listeners.listen(*fence, sessions.clone(), &out);
                if known.get(fence) != Some(sessions) {
                    let attempt = AttemptId { task: found.id.clone(), number: found.number, fence: *fence };
                    let streams: BTreeSet<SessionId> = sessions.iter().flatten().copied().collect();
                    for session in streams {
                        desk.sessions.log_wish(&desk.farm, session, &attempt, true);
                    }
                }
            }
            Ok::<_, Refusal>(Some((look, known)))
        });
        let (look, known) = looked.await??.ok_or_else(|| not_found("log", &self.wanted.name))?;
        self.looked = Instant::now();
        for found in &look.found {
            let Some((fence, sessions)) = &found.live else { continue };
            self.told.insert((found.id.clone(), found.number));
            let live = self.live.entry(*fence).or_insert_with(|| Live {
                chunk: found.chunk.clone(),
                sessions: Vec::new(),
                asked: Instant::now(),
                told: BTreeMap::new(),
                caught_up: BTreeSet::new(),
                ranks: found.ranks,
            });
            if known.get(fence) != Some(sessions) {
                live.sessions.clone_from(sessions);
                live.asked = Instant::now();
            }
        }
        // The first words of an attempt that is new here may have come already; and what an attempt said before it ended
        // was heard before its end was.
        while let Ok(piece) = self.heard.try_recv() {
            self.piece(piece);
        }
        let running: BTreeSet<Fence> =
            look.found.iter().filter_map(|found| found.live.as_ref()).map(|(fence, _)| *fence).collect();
        self.live.retain(|fence, _| running.contains(fence));
        let mut pending = false;
        for found in look.found {
            if found.live.is_none() && !self.told.contains(&(found.id.clone(), found.number)) {
                let is_fresh = found.ended.is_none_or(|at| look.now.since(at) < KEEPING_MS);
                pending |= !self.tell_kept(found, is_fresh).await;
            }
        }
        self.done = self.wanted.follow && look.settled && self.live.is_empty() && !pending;
        if !self.wanted.follow && !pending && self.live.is_empty() {
            self.done = true;
        }
        self.wake = Some(look.wake);
        Ok(())
    }

    /// Tells what was kept of an attempt that failed; `false` when that may still come.
    async fn tell_kept(&mut self, found: Found, is_fresh: bool) -> bool {
        let mut chunks = Vec::new();
        for (rank, path) in (0..).zip(&found.paths) {
            if self.wanted.rank.is_some_and(|wanted| wanted != rank) {
                continue;
            }
            match logs::kept(&*self.store, path).await {
                Ok(Some(data)) => chunks.push(v1::LogChunk { rank, data, ..found.chunk.clone() }),
                Ok(None) => {}
                Err(error) => tracing::warn!(%path, %error, "a log cannot be read"),
            }
        }
        if chunks.is_empty() && is_fresh {
            return false;
        }
        self.told.insert((found.id, found.number));
        if chunks.is_empty() {
            // Told without words: its worker had none to leave, or died with them.
            chunks.push(found.chunk);
        }
        self.ready.extend(chunks);
        true
    }

    fn piece(&mut self, piece: v1::RankLog) {
        let named = piece.attempt.unwrap_or_default();
        let Some(live) = self.live.get_mut(&Fence(named.fence)) else { return };
        if self.wanted.rank.is_some_and(|wanted| wanted != named.rank) {
            return;
        }
        if piece.caught_up {
            live.caught_up.insert(named.rank);
        }
        let told = live.told.entry(named.rank).or_default();
        let (from, to) = (piece.offset, piece.offset.saturating_add(piece.data.len() as u64));
        if to <= *told {
            return; // said again, for another reader
        }
        let skip = usize::try_from(told.saturating_sub(from)).unwrap_or(usize::MAX).min(piece.data.len());
        self.ready.push_back(v1::LogChunk {
            rank: named.rank,
            data: piece.data.slice(skip..),
            dropped_bytes: from.saturating_sub(*told),
            ..live.chunk.clone()
        });
        *told = to;
    }
}
