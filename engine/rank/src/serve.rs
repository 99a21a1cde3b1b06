//! The conversation with the worker: renders may be asked for while others are under way, a cancel at any time.

use std::{
    collections::BTreeMap,
    io,
    os::unix::net::UnixStream,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use croft_engine::{
    device::Device,
    progress::{Observer, Stage},
};
use croft_proto::{
    PROTOCOL, frame,
    v1::{
        self, ExitCause, FromRank, RankCheckpoint, RankFailed, RankJoin, RankListens, RankProgress,
        RankReady, RankRender, ToRank, from_rank, to_rank,
    },
};

use crate::{convert, engine::Engine, halfway::Tells};

/// Renders under way; a worker asks for as many as ranks share a model, at most.
const RENDERS_MAX: usize = 64;
/// Words that wait for the one who starts and ends renders.
const WAITING_MAX: usize = 4;
/// A rank that waits for others looks this often whether it still should.
const LOOK: Duration = Duration::from_millis(50);

/// Why a rank ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("its socket cannot be used: {0}")]
    Socket(io::Error),
    #[error("this program was built without the feature `cuda`, and so not for {0}")]
    Device(Device),
    #[error("its threads cannot be started: {0}")]
    Threads(String),
    #[error("{0}")]
    Frame(#[from] frame::Error),
    #[error("the engine panicked: {0}")]
    Panicked(String),
}

/// As `serve_on` the cores of this machine.
///
/// # Errors
/// As there.
pub fn serve(
    stream: UnixStream,
    closed: impl FnOnce(&Result<(), Error>) + Send + 'static,
) -> Result<(), Error> {
    serve_on(Device::Cpu, stream, closed)
}

/// Serves on `stream`, computing on `device`, until the worker closes it or says so; `closed` is told how as soon as it has,
/// even in the middle of a render.
///
/// # Errors
/// When the stream breaks, or the engine panicked: what it left behind is not trusted with another clip.
pub fn serve_on(
    device: Device,
    stream: UnixStream,
    closed: impl FnOnce(&Result<(), Error>) + Send + 'static,
) -> Result<(), Error> {
    let reader = stream.try_clone().map_err(Error::Socket)?;
    let worker = Arc::new(Worker { stream: Mutex::new(stream), renders: Mutex::default() });
    worker.say(from_rank::What::Ready(RankReady {
        protocol: PROTOCOL,
        engine_version: env!("CARGO_PKG_VERSION").to_owned(),
    }))?;
    let (say, told) = mpsc::sync_channel(WAITING_MAX);
    let (listener, asks) = (Arc::clone(&worker), say.clone());
    let listening = thread::spawn(move || {
        let ended = listen(reader, &listener, &asks);
        // Whatever renders now renders for nobody.
        listener.cancel_all();
        let _ = asks.send(Word::Closed);
        closed(&ended);
        ended
    });
    let engine = Arc::new(Engine::on(device));
    let mut renders = BTreeMap::new();
    let mut is_open = true;
    while is_open || !renders.is_empty() {
        match told.recv().expect("it holds a sender itself") {
            Word::Asked(render, _) if renders.len() == RENDERS_MAX => {
                worker.close(render.id);
                worker.say(from_rank::What::Failed(too_many(render.id)))?;
            }
            Word::Asked(render, desk) => {
                let (engine, worker, ends) = (Arc::clone(&engine), Arc::clone(&worker), say.clone());
                let id = render.id;
                let under_way = thread::Builder::new().name(format!("render-{id}")).spawn(move || {
                    let ended = answer(&engine, &worker, &desk, &render);
                    worker.close(id);
                    // Nobody listens any more after another one's panic.
                    let _ = ends.send(Word::Ended(id, ended));
                });
                renders.insert(id, under_way.map_err(|error| Error::Threads(error.to_string()))?);
            }
            Word::Ended(id, ended) => {
                // What a panic left behind is not trusted with the others either: the process ends, and they with it.
                ended?;
                if let Some(render) = renders.remove(&id) {
                    render.join().map_err(|panic| Error::Panicked(convert::words(&*panic)))?;
                }
            }
            Word::Closed => is_open = false,
        }
    }
    listening.join().map_err(|_| Error::Panicked("while listening".to_owned()))?
}

/// What the one who starts and ends renders is told.
enum Word {
    Asked(Box<RankRender>, Arc<Desk>),
    Ended(u64, Result<(), Error>),
    /// The worker says nothing more.
    Closed,
}

fn too_many(id: u64) -> RankFailed {
    RankFailed {
        id,
        cause: ExitCause::Internal.into(),
        message: format!("it was asked for more than {RENDERS_MAX} renders at once"),
        remedy: "update the worker".to_owned(),
        ..RankFailed::default()
    }
}

/// Reads until the worker has nothing more to say.
fn listen(mut stream: UnixStream, worker: &Worker, asks: &mpsc::SyncSender<Word>) -> Result<(), Error> {
    while let Some(message) = frame::read::<ToRank>(&mut stream)? {
        match message.what {
            Some(to_rank::What::Render(render)) => {
                let desk = worker.open(render.id);
                // Where nobody takes it an engine panicked, and the process is on its way out.
                if asks.send(Word::Asked(Box::new(render), desk)).is_err() {
                    return Ok(());
                }
            }
            Some(to_rank::What::Cancel(cancel)) => worker.at(cancel.id, Desk::cancel),
            Some(to_rank::What::Join(join)) => worker.at(join.id, |desk| {
                // More than it can read are repetitions.
                let _ = desk.tell.try_send(join.clone());
            }),
            Some(to_rank::What::Shutdown(_)) => return Ok(()),
            // A newer worker's message: nothing this rank can do.
            None => {}
        }
    }
    Ok(())
}

fn answer(engine: &Engine, worker: &Arc<Worker>, desk: &Desk, render: &RankRender) -> Result<(), Error> {
    let span = tracing::info_span!(
        "render",
        job = render.job,
        task = render.task,
        attempt = render.attempt,
        rank = render.gang.as_ref().map_or(0, |gang| gang.rank),
        traceparent = render.traceparent
    );
    let _entered = span.enter();
    let mut watched = Watched { worker, desk, at: Arc::default(), id: render.id };
    // The engine is dropped with the process after a panic, so nothing half-made in it is seen again.
    match catch_unwind(AssertUnwindSafe(|| engine.render(render, &mut watched))) {
        Ok(Ok(done)) => worker.say(from_rank::What::Done(done)),
        Ok(Err(failed)) => {
            tracing::warn!(cause = failed.cause().as_str_name(), "{}", failed.message);
            worker.say(from_rank::What::Failed(failed))
        }
        Err(panic) => {
            let words = convert::words(&*panic);
            worker.say(from_rank::What::Failed(RankFailed {
                id: render.id,
                cause: ExitCause::Internal.into(),
                message: format!("the engine panicked: {words}"),
                remedy: "this is a defect: please report it with the rank's log".to_owned(),
                ..RankFailed::default()
            }))?;
            Err(Error::Panicked(words))
        }
    }
}

/// The other end, and what it has said of each render that is not over.
struct Worker {
    stream: Mutex<UnixStream>,
    renders: Mutex<BTreeMap<u64, Arc<Desk>>>,
}

/// Where a render finds what is said to it.
struct Desk {
    cancelled: AtomicBool,
    tell: mpsc::SyncSender<RankJoin>,
    joins: Mutex<mpsc::Receiver<RankJoin>>,
}

impl Desk {
    fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

impl Worker {
    fn say(&self, what: from_rank::What) -> Result<(), Error> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(frame::write(&mut *stream, &FromRank { what: Some(what) })?)
    }

    fn open(&self, id: u64) -> Arc<Desk> {
        let (tell, joins) = mpsc::sync_channel(1);
        let desk = Arc::new(Desk { cancelled: AtomicBool::new(false), tell, joins: Mutex::new(joins) });
        self.desks().insert(id, Arc::clone(&desk));
        desk
    }

    fn close(&self, id: u64) {
        self.desks().remove(&id);
    }

    /// Nothing for a render that is over.
    fn at(&self, id: u64, act: impl FnOnce(&Desk)) {
        if let Some(desk) = self.desks().get(&id) {
            act(desk);
        }
    }

    fn cancel_all(&self) {
        self.desks().values().for_each(|desk| desk.cancel());
    }

    fn desks(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Arc<Desk>>> {
        self.renders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the worker where a render is.
struct Watched<'a> {
    worker: &'a Arc<Worker>,
    desk: &'a Desk,
    /// What was told last.
    at: Arc<Mutex<RankProgress>>,
    id: u64,
}

impl Watched<'_> {
    fn tell(&self, stage: Stage, step: u32, steps: u32) {
        let progress = RankProgress { id: self.id, stage: convert::stage(stage).into(), step, steps };
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = progress;
        // A worker that is gone shows at the next read; progress is nobody's loss.
        let _ = self.worker.say(from_rank::What::Progress(progress));
    }
}

impl Tells for Watched<'_> {
    fn kept(&mut self, step: u32, file: &str) {
        let kept = RankCheckpoint { id: self.id, step, file: file.to_owned() };
        // As with progress.
        let _ = self.worker.say(from_rank::What::Checkpoint(kept));
    }

    fn listens(&mut self, address: &str) {
        let listens = RankListens { id: self.id, address: address.to_owned() };
        // A worker that is gone ends this process.
        let _ = self.worker.say(from_rank::What::Listens(listens));
    }

    fn waits(&self) -> Box<dyn FnMut() + Send> {
        let (worker, at) = (Arc::clone(self.worker), Arc::clone(&self.at));
        // It has its part of the model by now, and the prompt comes next.
        let next = RankProgress { id: self.id, stage: v1::Stage::Encode.into(), ..RankProgress::default() };
        *at.lock().unwrap_or_else(PoisonError::into_inner) = next;
        // It is where it was, and not stuck there.
        Box::new(move || {
            let at = *at.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = worker.say(from_rank::What::Progress(at));
        })
    }

    fn joined(&mut self, wait: Duration) -> Option<Vec<String>> {
        let joins = self.desk.joins.lock().unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + wait;
        while Instant::now() < until && !self.cancelled() {
            match joins.recv_timeout(LOOK) {
                Ok(join) => return Some(join.addresses),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
            }
        }
        None
    }
}

impl Observer for Watched<'_> {
    fn stage(&mut self, stage: Stage) {
        tracing::info!("{stage}");
        self.tell(stage, 0, 0);
    }

    fn step(&mut self, step: u32, steps: u32) {
        tracing::debug!("step {step} of {steps}");
        self.tell(Stage::Denoise, step, steps);
    }

    fn cancelled(&self) -> bool {
        self.desk.cancelled.load(Ordering::Relaxed)
    }
}
