//! What ranks say, on its way to those who want to read it: live from workers to whoever follows, and the last part of
//! a failed attempt's into the artifact store, where it is found when the worker is long gone.
//!
//! Neither passes the farm's thread. A reader that is slow loses pieces, which the next piece's offset shows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use croft_core::{
    farm::Farm,
    ids::{AttemptId, Fence, JobId, SessionId, TaskId},
};
use croft_proto::v1;
use futures::TryStreamExt;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, path::Path};
use tokio::{
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_util::task::TaskTracker;

/// Pieces that wait for one reader.
pub(crate) const QUEUE: usize = 256;
/// Where logs lie in the store, by job, layer and task.
const ROOT: &str = ".logs";
/// A log is the last part of one; what is longer is cut.
const BYTES_MAX: usize = 64 << 10;
/// Logs on their way to the store; more are not kept.
const KEEPING: usize = 64;
/// A store that has not taken a log by then will not.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who listens to which attempt.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    ears: Mutex<BTreeMap<Fence, Ears>>,
}

#[derive(Debug, Default)]
struct Ears {
    /// By rank, the streams that may speak for it.
    sessions: Vec<Option<SessionId>>,
    outs: Vec<mpsc::Sender<v1::RankLog>>,
}

impl Listeners {
    /// `out` hears the attempt with `fence` from now on, until its receiver is dropped or the attempt ends.
    pub(crate) fn listen(
        &self,
        fence: Fence,
        sessions: Vec<Option<SessionId>>,
        out: &mpsc::Sender<v1::RankLog>,
    ) {
        let mut all = self.ears.lock().unwrap_or_else(PoisonError::into_inner);
        let ears = all.entry(fence).or_default();
        ears.sessions = sessions;
        ears.outs.retain(|known| !known.is_closed());
        if !ears.outs.iter().any(|known| known.same_channel(out)) {
            ears.outs.push(out.clone());
        }
    }

    /// A worker handed on what a rank said; whether anybody listens. What is of another stream's attempt is not heard.
    pub(crate) fn heard(&self, session: SessionId, piece: &v1::RankLog) -> bool {
        let Some(named) = &piece.attempt else { return true };
        let mut all = self.ears.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(ears) = all.get_mut(&Fence(named.fence)) else { return false };
        if ears.sessions.get(named.rank as usize) != Some(&Some(session)) {
            return true;
        }
        ears.outs.retain(|out| !out.is_closed());
        for out in &ears.outs {
            // A full one is a reader that is slow.
            let _ = out.try_send(piece.clone());
        }
        let is_wanted = !ears.outs.is_empty();
        if !is_wanted {
            all.remove(&Fence(named.fence));
        }
        is_wanted
    }

    /// Nothing more comes of an attempt.
    pub(crate) fn ended(&self, fence: Fence) {
        self.ears.lock().unwrap_or_else(PoisonError::into_inner).remove(&fence);
    }
}

/// Keeps logs of failed attempts. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Keeper {
    store: Arc<dyn ObjectStore>,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    runtime: tokio::runtime::Handle,
}

impl Keeper {
    /// Its writes end with `tasks`.
    pub(crate) fn new(store: Arc<dyn ObjectStore>, tasks: TaskTracker) -> Self {
        let places = Arc::new(Semaphore::new(KEEPING));
        Self { store, places, tasks, runtime: tokio::runtime::Handle::current() }
    }

    /// Keeps what a rank of an attempt said last, where that attempt still counts: what a beaten one says is of no
    /// interest. Never waits.
    pub(crate) fn keep(&self, farm: &Farm, attempt: &AttemptId, rank: u32, log: &Bytes) {
        let Some(path) = path(farm, &attempt.task, attempt.number, rank).filter(|_| farm.current(attempt))
        else {
            return;
        };
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            tracing::warn!(path = %path, "the log of a failed attempt is not kept: {KEEPING} are on their way");
            return;
        };
        let log = log.slice(log.len().saturating_sub(BYTES_MAX)..);
        let store = Arc::clone(&self.store);
        let keep = async move {
            let _place = place;
            match timeout(PATIENCE, store.put(&path, log.into())).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::warn!(%path, %error, "the log of a failed attempt is not kept"),
                Err(_) => {
                    tracing::warn!(%path, "the log of a failed attempt is not kept: no answer of the store")
                }
            }
        };
        self.tasks.spawn_on(keep, &self.runtime);
    }
}

/// Where the log of one rank of an attempt lies; `None` for a task that is not there.
pub(crate) fn path(farm: &Farm, task: &TaskId, number: u32, rank: u32) -> Option<Path> {
    Path::parse(format!("{ROOT}/{}/{number}-{rank}.log", farm.name(task)?)).ok()
}

/// What was kept, or `None` where nothing was.
pub(crate) async fn kept(store: &dyn ObjectStore, path: &Path) -> Result<Option<Bytes>, StoreError> {
    match store.get(path).await {
        Ok(found) => Ok(Some(found.bytes().await?)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Prefixes of the jobs that have logs in the store.
pub(crate) async fn jobs(store: &dyn ObjectStore) -> Result<BTreeSet<String>, StoreError> {
    let files = store.list(Some(&Path::from(ROOT)));
    files
        .try_fold(BTreeSet::new(), async |mut all, file| {
            all.extend(file.location.parts().nth(1).map(|job| job.as_ref().to_owned()));
            Ok(all)
        })
        .await
}

/// The folder of a job that the farm has forgotten, given its name.
pub(crate) fn forgotten(farm: &Farm, job: &str) -> Option<String> {
    let id = JobId::new(job).ok()?;
    farm.plan(&id).is_none().then(|| format!("{ROOT}/{job}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(fence: u64, rank: u32, text: &'static str) -> v1::RankLog {
        let attempt = Some(v1::AttemptRef { fence, rank, ..v1::AttemptRef::default() });
        v1::RankLog { attempt, data: Bytes::from_static(text.as_bytes()), ..v1::RankLog::default() }
    }

    #[test]
    fn only_the_stream_that_runs_a_rank_speaks_for_it() {
        let listeners = Listeners::default();
        let (out, mut heard) = mpsc::channel(4);
        assert!(!listeners.heard(SessionId(1), &piece(7, 0, "nobody listens")));
        listeners.listen(Fence(7), vec![Some(SessionId(1)), Some(SessionId(2))], &out);
        listeners.listen(Fence(7), vec![Some(SessionId(1)), Some(SessionId(2))], &out);
        assert!(listeners.heard(SessionId(1), &piece(7, 0, "mine")));
        assert!(listeners.heard(SessionId(1), &piece(7, 1, "another's")));
        assert_eq!(&heard.try_recv().expect("heard").data[..], b"mine");
        assert!(heard.try_recv().is_err(), "once, and nothing of another's");
    }

    #[test]
    fn a_reader_that_is_slow_or_gone_holds_nobody_up() {
        let listeners = Listeners::default();
        let (out, heard) = mpsc::channel(1);
        listeners.listen(Fence(7), vec![Some(SessionId(1))], &out);
        assert!(listeners.heard(SessionId(1), &piece(7, 0, "one")));
        assert!(listeners.heard(SessionId(1), &piece(7, 0, "two")), "lost to the slow reader");
        drop(heard);
        assert!(!listeners.heard(SessionId(1), &piece(7, 0, "three")), "the worker is told to be quiet");
    }
}
