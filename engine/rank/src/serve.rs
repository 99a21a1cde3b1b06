//! The conversation with the worker: renders are taken one after the other, a cancel at any time.

use std::{
    io,
    os::unix::net::UnixStream,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use croft_engine::progress::{Observer, Stage};
use croft_proto::{
    PROTOCOL, frame,
    v1::{
        ExitCause, FromRank, RankCheckpoint, RankFailed, RankJoin, RankListens, RankProgress, RankReady,
        RankRender, ToRank, from_rank, to_rank,
    },
};

use crate::{convert, engine::Engine, halfway::Tells};

/// Renders that may wait; a worker sends the next one when the last was answered.
const WAITING_MAX: usize = 4;
/// A rank that waits for others looks this often whether it still should.
const LOOK: Duration = Duration::from_millis(50);

/// Why a rank ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("its socket cannot be used: {0}")]
    Socket(io::Error),
    #[error("its threads cannot be started: {0}")]
    Threads(String),
    #[error("{0}")]
    Frame(#[from] frame::Error),
    #[error("the engine panicked: {0}")]
    Panicked(String),
}

/// Serves on `stream` until the worker closes it or says so; `closed` is told how as soon as it has, even in the middle
/// of a render.
///
/// # Errors
/// When the stream breaks, or the engine panicked: what it left behind is not trusted with another clip.
pub fn serve(
    stream: UnixStream,
    closed: impl FnOnce(&Result<(), Error>) + Send + 'static,
) -> Result<(), Error> {
    let reader = stream.try_clone().map_err(Error::Socket)?;
    let worker = Worker { stream: Arc::new(Mutex::new(stream)), cancelled: Arc::new(AtomicU64::new(0)) };
    worker.say(from_rank::What::Ready(RankReady {
        protocol: PROTOCOL,
        engine_version: env!("CARGO_PKG_VERSION").to_owned(),
    }))?;
    let (renders, waiting) = mpsc::sync_channel(WAITING_MAX);
    let (joins, joined) = mpsc::sync_channel(WAITING_MAX);
    let cancelled = Arc::clone(&worker.cancelled);
    let listening = thread::spawn(move || {
        let ended = listen(reader, &renders, &joins, &cancelled);
        // Whatever renders now renders for nobody.
        cancelled.store(u64::MAX, Ordering::Relaxed);
        drop(renders);
        closed(&ended);
        ended
    });
    let mut engine = Engine::default();
    for render in waiting {
        answer(&mut engine, &worker, &joined, &render)?;
    }
    listening.join().map_err(|_| Error::Panicked("while listening".to_owned()))?
}

/// Reads until the worker has nothing more to say.
fn listen(
    mut stream: UnixStream,
    renders: &mpsc::SyncSender<RankRender>,
    joins: &mpsc::SyncSender<RankJoin>,
    cancelled: &AtomicU64,
) -> Result<(), Error> {
    while let Some(message) = frame::read::<ToRank>(&mut stream)? {
        match message.what {
            Some(to_rank::What::Render(render)) => match renders.send(render) {
                Ok(()) => {}
                // The engine panicked, and the process is on its way out.
                Err(_) => return Ok(()),
            },
            Some(to_rank::What::Cancel(cancel)) => {
                cancelled.fetch_max(cancel.id, Ordering::Relaxed);
            }
            // More than it can read are repetitions.
            Some(to_rank::What::Join(join)) => drop(joins.try_send(join)),
            Some(to_rank::What::Shutdown(_)) => return Ok(()),
            // A newer worker's message: nothing this rank can do.
            None => {}
        }
    }
    Ok(())
}

fn answer(
    engine: &mut Engine,
    worker: &Worker,
    joins: &mpsc::Receiver<RankJoin>,
    render: &RankRender,
) -> Result<(), Error> {
    let span = tracing::info_span!(
        "render",
        job = render.job,
        task = render.task,
        attempt = render.attempt,
        rank = render.gang.as_ref().map_or(0, |gang| gang.rank),
        traceparent = render.traceparent
    );
    let _entered = span.enter();
    let mut watched = Watched { worker, joins, id: render.id };
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

/// The other end.
struct Worker {
    stream: Arc<Mutex<UnixStream>>,
    /// The newest render that was cancelled; render ids rise.
    cancelled: Arc<AtomicU64>,
}

impl Worker {
    fn say(&self, what: from_rank::What) -> Result<(), Error> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(frame::write(&mut *stream, &FromRank { what: Some(what) })?)
    }
}

/// Tells the worker where a render is.
struct Watched<'a> {
    worker: &'a Worker,
    joins: &'a mpsc::Receiver<RankJoin>,
    id: u64,
}

impl Watched<'_> {
    fn tell(&self, stage: Stage, step: u32, steps: u32) {
        let progress = RankProgress { id: self.id, stage: convert::stage(stage).into(), step, steps };
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

    fn joined(&mut self, wait: Duration) -> Option<Vec<String>> {
        let until = Instant::now() + wait;
        while Instant::now() < until && !self.cancelled() {
            match self.joins.recv_timeout(LOOK) {
                Ok(join) if join.id == self.id => return Some(join.addresses),
                // Of an earlier render.
                Ok(_) | Err(mpsc::RecvTimeoutError::Timeout) => {}
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
        self.worker.cancelled.load(Ordering::Relaxed) >= self.id
    }
}
