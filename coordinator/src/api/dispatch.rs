//! The workers' streams: each is read by a task of its own, and spoken to through its bounded queue.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use croft_core::{
    access::Denied,
    audit::Entry,
    farm::Farm,
    ids::{SessionId, WorkerId},
    step::Event,
};
use croft_proto::v1::{self, CoordinatorMessage, WorkerMessage, coordinator_message, worker_message::What};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Code, Request, Response, Status, Streaming};
use tracing::Instrument;

use super::{
    auth::{Book, Call},
    convert,
    status::{denied, exhausted},
};
use crate::{
    handle::{Handle, Make, Refusal},
    logs::{Keeper, Listeners},
    metrics::Metrics,
    run::Desk,
    sessions::{QUEUE, Session},
};

/// A stream that has not said hello by then is closed.
const HELLO: Duration = Duration::from_secs(10);
/// Streams at once.
const STREAMS: usize = 4_096;

#[derive(Debug)]
pub(crate) struct Dispatch {
    handle: Handle,
    tasks: TaskTracker,
    end: CancellationToken,
    next: AtomicU64,
    places: Arc<Semaphore>,
    hears: Hears,
}

/// Who hears what workers say beside the farm.
#[derive(Debug, Clone)]
pub(crate) struct Hears {
    pub(crate) listeners: Arc<Listeners>,
    pub(crate) keeper: Keeper,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) book: Book,
}

/// One stream's reader.
struct Reader {
    id: SessionId,
    handle: Handle,
    said: Streaming<WorkerMessage>,
    out: mpsc::Sender<Result<CoordinatorMessage, Status>>,
    end: CancellationToken,
    call: Call,
    hears: Hears,
    _place: OwnedSemaphorePermit,
}

impl Dispatch {
    /// `first` is the first session's number; it rises from one life of the coordinator to the next.
    pub(crate) fn new(
        handle: Handle,
        tasks: TaskTracker,
        end: CancellationToken,
        first: u64,
        hears: Hears,
    ) -> Self {
        let places = Arc::new(Semaphore::new(STREAMS));
        Self { handle, tasks, end, next: AtomicU64::new(first), places, hears }
    }
}

#[tonic::async_trait]
impl v1::dispatch_server::Dispatch for Dispatch {
    type SessionStream = ReceiverStream<Result<CoordinatorMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let place = self.places.clone().try_acquire_owned();
        let place = place.map_err(|_| exhausted("workers", format!("{STREAMS} workers are here already")))?;
        let (out, told) = mpsc::channel(QUEUE);
        let id = SessionId(self.next.fetch_add(1, Ordering::Relaxed));
        let reader = Reader {
            id,
            handle: self.handle.clone(),
            call: Call::of(&request),
            said: request.into_inner(),
            out,
            end: self.end.child_token(),
            hears: self.hears.clone(),
            _place: place,
        };
        let span = tracing::info_span!("session", session = id.0, worker = tracing::field::Empty);
        // A coordinator that has ended needs no word of its workers.
        let read = async move {
            if let Err(ended) = reader.run().await {
                tracing::debug!(%ended, "session");
            }
        };
        self.tasks.spawn(read.instrument(span));
        Ok(Response::new(ReceiverStream::new(told)))
    }
}

impl Reader {
    async fn run(self) -> Result<(), Refusal> {
        let Self { id, handle, mut said, out, end, call, hears, _place } = self;
        let Some(hello) = hello(&mut said, &out, &end).await else { return Ok(()) };
        let (mut joined, running) = match convert::hello(id, hello) {
            Ok(hello) => hello,
            Err(reason) => {
                tracing::warn!(reason, "worker refused");
                let refused = coordinator_message::What::Refused(v1::Refused { reason });
                // A worker that is gone need not hear it.
                let _ = out.try_send(Ok(CoordinatorMessage { what: Some(refused) }));
                return Ok(());
            }
        };
        call.about(&format!("workers/{}", joined.worker));
        if let Err(why) = call.may_act_as(&joined.worker) {
            let status = denied(&why);
            hears.book.refused(call.entry(status.code(), why.reason())).await;
            // A worker that is gone need not hear it.
            let _ = out.try_send(Err(status));
            return Ok(());
        }
        tracing::Span::current().record("worker", joined.worker.as_str());
        // `out` goes to the farm's thread, which alone decides from here on when the stream ends.
        let closed = end.clone();
        let told = out.clone();
        let enter = move |desk: &mut Desk| {
            // A follower has no work to give: the worker is told where the leader is.
            desk.leads()?;
            let mut strangers = Vec::new();
            for attempt in running {
                let rank = attempt.rank;
                match convert::attempt(attempt.clone()).and_then(|named| named.find(&desk.farm)) {
                    Some(known) => joined.running.push((known, rank)),
                    None => strangers.push(attempt),
                }
            }
            desk.sessions.enter(id, Session { out, closed, strangers });
            Ok::<_, Refusal>(joined)
        };
        let joined = match handle.ask(enter).await? {
            Ok(joined) => joined,
            Err(refusal) => {
                // A worker that is gone need not hear it.
                let _ = told.try_send(Err(refusal.into()));
                return Ok(());
            }
        };
        tracing::info!(
            devices = joined.devices.len(),
            host = joined.host,
            version = joined.version,
            "worker joined"
        );
        let worker = joined.worker.clone();
        handle.tell_made(Box::new(move |_| Some(Event::WorkerJoined(Box::new(joined))))).await?;
        let book = &hears.book;
        book.done(Entry { who: format!("worker/{worker}"), ..call.entry(Code::Ok, "") }).await;
        let (foreign, seen) = (CancellationToken::new(), end.clone());
        let goodbye = read((id, &worker), &handle, &mut said, &end, &foreign, &hears).await?;
        hears.metrics.left(&worker);
        if foreign.is_cancelled() && !seen.is_cancelled() {
            let why = Denied::OtherWorker { name: worker.to_string(), worker: "another".to_owned() };
            let status = denied(&why);
            book.refused(call.entry(status.code(), why.reason())).await;
            // A worker that is gone need not hear it.
            let _ = told.try_send(Err(status));
        }
        let left = move |_: &Farm| Some(Event::WorkerLeft { session: id, goodbye });
        handle.tell(left, move |desk| desk.sessions.leave(id)).await?;
        tracing::info!(goodbye, "worker left");
        Ok(())
    }
}

/// Nobody listens to an attempt any more.
fn quiet(desk: &mut Desk, id: SessionId, attempt: Option<v1::AttemptRef>) {
    let attempt = attempt.and_then(convert::attempt).and_then(|named| named.find(&desk.farm));
    if let Some(attempt) = attempt {
        desk.sessions.log_wish(&desk.farm, id, &attempt, false);
    }
}

impl Hears {
    /// What a worker said, for the farm; and what it says beside that, for those who watch.
    fn event(&self, id: SessionId, worker: &WorkerId, mut what: What) -> Make {
        match &mut what {
            What::Heartbeat(beat) => {
                self.metrics.figures(worker, mem::take(&mut beat.devices));
                convert::event(id, what)
            }
            What::Progress(progress) if progress.step_us > 0 && self.metrics.is_on() => {
                let (metrics, step_us) = (Arc::clone(&self.metrics), progress.step_us);
                let named = progress.attempt.clone().and_then(convert::attempt);
                let make = convert::event(id, what);
                Box::new(move |farm| {
                    if let Some((model, kind)) =
                        named.and_then(|named| named.find(farm)).and_then(|attempt| {
                            let layer =
                                farm.plan(&attempt.task.job)?.layers().get(attempt.task.layer as usize)?;
                            Some((layer.card.name.as_str(), farm.kind_of(&attempt)?))
                        })
                    {
                        metrics.stepped(model, kind, step_us);
                    }
                    make(farm)
                })
            }
            What::Failed(failed) if !failed.log.is_empty() => {
                let log = mem::take(&mut failed.log);
                let named = failed.attempt.clone().and_then(convert::attempt);
                let rank = convert::rank_of(failed.attempt.as_ref());
                let (keeper, make) = (self.keeper.clone(), convert::event(id, what));
                Box::new(move |farm| {
                    if let Some(attempt) = named.and_then(|named| named.find(farm)) {
                        keeper.keep(farm, &attempt, rank, &log);
                    }
                    make(farm)
                })
            }
            _ => convert::event(id, what),
        }
    }
}

/// The first message, when it comes in time and is a hello.
async fn hello(
    said: &mut Streaming<WorkerMessage>,
    out: &mpsc::Sender<Result<CoordinatorMessage, Status>>,
    end: &CancellationToken,
) -> Option<v1::Hello> {
    let first = tokio::select! {
        first = timeout(HELLO, said.message()) => first,
        () = end.cancelled() => return None,
    };
    let refusal = match first {
        Ok(Ok(Some(WorkerMessage { what: Some(What::Hello(hello)) }))) => return Some(hello),
        Ok(Ok(None) | Err(_)) => return None,
        Ok(Ok(Some(_))) => Status::invalid_argument("the first message must be a hello"),
        Err(_) => Status::deadline_exceeded(format!("no hello came within {} s", HELLO.as_secs())),
    };
    // Whoever is gone need not hear it.
    let _ = out.try_send(Err(refusal));
    None
}

/// Hands on what the worker says until its stream ends, or until it speaks for another, which cancels `foreign`;
/// whether it said goodbye.
async fn read(
    (id, worker): (SessionId, &WorkerId),
    handle: &Handle,
    said: &mut Streaming<WorkerMessage>,
    end: &CancellationToken,
    foreign: &CancellationToken,
    hears: &Hears,
) -> Result<bool, Refusal> {
    loop {
        let message = tokio::select! {
            message = said.message() => message,
            () = end.cancelled() => return Ok(false),
            () = foreign.cancelled() => return Ok(false),
        };
        match message {
            Ok(Some(WorkerMessage { what: Some(What::Goodbye(_)) })) => return Ok(true),
            Ok(Some(WorkerMessage { what: Some(What::Address(at)) })) => {
                let (named, rank) = convert::rank_address(&at);
                let heard = move |_: &Farm| Some(Event::WorkerHeard { session: id });
                let relay = move |desk: &mut Desk| {
                    if let Some(attempt) = named.and_then(|named| named.find(&desk.farm)) {
                        desk.sessions.rank_listens(&desk.farm, id, &attempt, rank, at.address);
                    }
                };
                handle.tell(heard, relay).await?;
            }
            Ok(Some(WorkerMessage { what: Some(What::Log(piece)) })) => {
                if !hears.listeners.heard(id, &piece) {
                    handle.ask(move |desk| quiet(desk, id, piece.attempt)).await?;
                }
            }
            Ok(Some(WorkerMessage { what: Some(what) })) => {
                let event = hears.event(id, worker, what);
                let foreign = foreign.clone();
                let watched = move |farm: &Farm| {
                    let event = event(farm)?;
                    if farm.is_anothers(&event) {
                        foreign.cancel();
                    }
                    Some(event)
                };
                handle.tell_made(Box::new(watched)).await?
            }
            // Of a newer worker; it was told which protocol is spoken here.
            Ok(Some(WorkerMessage { what: None })) => {}
            Ok(None) => return Ok(false),
            Err(status) => {
                tracing::info!(error = status.message(), "stream broke");
                return Ok(false);
            }
        }
    }
}
