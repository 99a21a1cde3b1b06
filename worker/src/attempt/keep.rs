//! Steps that a rank has kept, on their way to the store; and those of earlier attempts, on their way back.
//!
//! They lie beside the attempts of their task, in `.attempts/{job}/{layer}/{task}/checkpoints`, since the next attempt needs
//! what the last one leaves. Losing one costs some steps and nothing else, so nothing here fails an attempt.

mod place;

use std::{path::PathBuf, time::Duration};

use croft_proto::v1::{Assignment, RankCheckpoint};
use tokio::{task::JoinSet, time::timeout};

use self::place::Place;
use crate::target::Target;

/// The newest of a task that are tried; more than one, since one may be damaged.
const FETCHED: usize = 3;
/// A store that takes longer does without, or is done without.
const PATIENCE: Duration = Duration::from_secs(10);
/// At the end of an attempt that another goes on from; its device is held meanwhile.
const LAST: Duration = Duration::from_millis(1_500);

/// The kept steps of one attempt.
#[derive(Debug)]
pub(super) struct Keep {
    place: Option<Place>,
    folder: PathBuf,
    /// One at most; the newest of those that came meanwhile goes next.
    sending: JoinSet<Option<u32>>,
    waiting: Option<RankCheckpoint>,
    /// The last one there.
    sent: Option<u32>,
}

impl Keep {
    pub(super) fn new(target: &Target, assignment: &Assignment, folder: &std::path::Path) -> Self {
        Self {
            place: Place::new(target, assignment),
            folder: folder.to_owned(),
            sending: JoinSet::new(),
            waiting: None,
            sent: None,
        }
    }

    /// Brings what earlier attempts have kept into the attempt's folder: paths, the newest first.
    pub(super) async fn fetch(&self) -> Vec<String> {
        let Some(place) = &self.place else { return Vec::new() };
        let read = timeout(PATIENCE, place.newest(FETCHED)).await;
        let steps = read.unwrap_or_else(|_| Err("it takes too long".to_owned())).unwrap_or_else(|error| {
            tracing::warn!(error, "earlier steps cannot be read: it begins at the beginning");
            Vec::new()
        });
        let mut files = Vec::new();
        for (at, bytes) in steps.into_iter().enumerate() {
            let file = self.folder.join(format!("resume-{at}.safetensors"));
            match tokio::fs::write(&file, bytes).await {
                Ok(()) => files.push(file.display().to_string()),
                Err(error) => tracing::warn!(%error, "a kept step does not fit on this disk"),
            }
        }
        files
    }

    /// The rank has kept a step.
    pub(super) fn kept(&mut self, step: RankCheckpoint) {
        if let Some(older) = self.waiting.replace(step) {
            // Never sent, and of no use beside a newer one.
            let _ = std::fs::remove_file(self.folder.join(older.file));
        }
        self.send();
    }

    /// Whether something is on its way.
    pub(super) fn is_sending(&self) -> bool {
        !self.sending.is_empty()
    }

    /// Returns when what is on its way has arrived, or did not.
    pub(super) async fn arrived(&mut self) {
        if let Some(Ok(Some(step))) = self.sending.join_next().await {
            self.sent = Some(step);
        }
        self.send();
    }

    /// Nobody goes on from it any more. What is on its way is waited for: it must not arrive after its task was cleared up.
    pub(super) async fn give_up(&mut self) {
        self.waiting = None;
        self.finish().await;
    }

    /// The attempt ends and another may go on from it: the newest step gets there, if that is soon done.
    pub(super) async fn finish(&mut self) {
        let all = async {
            while self.is_sending() {
                self.arrived().await;
            }
        };
        if timeout(LAST, all).await.is_err() {
            tracing::warn!("the newest step did not reach the store in time");
        }
    }

    fn send(&mut self) {
        if self.is_sending() {
            return;
        }
        let (Some(place), Some(kept)) = (self.place.clone(), self.waiting.take()) else { return };
        let file = self.folder.join(&kept.file);
        let (step, before) = (kept.step, self.sent.take());
        self.sending.spawn(async move {
            let sent = async {
                let bytes = tokio::fs::read(&file).await.map_err(|error| error.to_string())?;
                place.put(step, bytes.into(), before).await
            };
            let sent = timeout(PATIENCE, sent).await.unwrap_or_else(|_| Err("it takes too long".to_owned()));
            // It is there, or the next one will be.
            let _ = tokio::fs::remove_file(&file).await;
            match sent {
                Ok(()) => Some(step),
                Err(error) => {
                    tracing::warn!(error, step, "a step was not kept");
                    before
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::{ObjectStore, memory::InMemory};

    use super::*;

    fn assignment() -> Assignment {
        Assignment { prefix: ".attempts/j/l/0001/2-7".to_owned(), ..Assignment::default() }
    }

    fn keep(store: &Arc<dyn ObjectStore>, dir: &tempfile::TempDir) -> Keep {
        Keep::new(&Target::Store(Arc::clone(store)), &assignment(), dir.path())
    }

    async fn kept(keep: &mut Keep, dir: &tempfile::TempDir, step: u32) {
        let file = format!("checkpoint-{step:05}.safetensors");
        std::fs::write(dir.path().join(&file), step.to_string()).expect("written");
        keep.kept(RankCheckpoint { id: 1, step, file });
    }

    #[tokio::test]
    async fn the_newest_step_of_an_attempt_is_found_by_the_next() {
        let (dir, store) = (tempfile::tempdir().expect("scratch"), Arc::new(InMemory::new()) as _);
        let mut first = keep(&store, &dir);
        assert!(first.fetch().await.is_empty());
        for step in [2, 4, 10] {
            kept(&mut first, &dir, step).await;
        }
        first.finish().await;
        let left: Vec<_> = std::fs::read_dir(dir.path()).expect("a folder").collect();
        assert!(left.is_empty(), "what was sent or overtaken takes no room here: {left:?}");
        let found = keep(&store, &dir).fetch().await;
        assert_eq!(found.len(), 1, "the newest alone is kept: {found:?}");
        assert_eq!(std::fs::read_to_string(&found[0]).expect("a file"), "10");
    }

    #[tokio::test]
    async fn a_step_that_is_kept_twice_stays() {
        let (dir, store) = (tempfile::tempdir().expect("scratch"), Arc::new(InMemory::new()) as _);
        let mut first = keep(&store, &dir);
        for _ in 0..2 {
            kept(&mut first, &dir, 7).await;
            first.finish().await;
        }
        assert_eq!(keep(&store, &dir).fetch().await.len(), 1);
    }

    #[tokio::test]
    async fn of_several_the_newest_comes_first() {
        let (dir, store) = (tempfile::tempdir().expect("scratch"), Arc::new(InMemory::new()) as _);
        for step in [9, 30, 100, 11] {
            let mut other = keep(&store, &dir);
            kept(&mut other, &dir, step).await;
            other.finish().await;
        }
        let found = keep(&store, &dir).fetch().await;
        let steps: Vec<String> =
            found.iter().map(|file| std::fs::read_to_string(file).expect("a file")).collect();
        assert_eq!(steps, ["100", "30", "11"]);
    }
}
