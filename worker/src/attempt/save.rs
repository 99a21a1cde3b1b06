//! The files of a rendered clip into the store, under the attempt's prefix: the pictures first, the sidecar last.

use std::{path::Path, time::Duration};

use croft_proto::v1::{Artifact, Assignment, AttemptRef, ExitCause, Failure, RankDone, RankProgress, Stage};
use futures::{StreamExt, stream};
use tokio::time::{Instant, sleep, timeout};

use super::{Bench, Deadline, Ending, Made};
use crate::{
    convert,
    sidecar::{self, Circumstances},
    target::{Error, Target},
};

/// Files on their way at once.
const AT_ONCE: usize = 4;
/// Tries of one file, and the pause after the first; it grows fourfold.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(250);
const REPORT: &str = "this is a defect: please report it with the coordinator's log";

impl Bench<'_> {
    pub(super) async fn save(
        &self,
        assignment: &Assignment,
        attempt: &AttemptRef,
        folder: &Path,
        rendered: &RankDone,
        circumstances: &Circumstances<'_>,
        deadline: &Deadline,
    ) -> Ending {
        let mut times = rendered.times.unwrap_or_default();
        let peak_memory_bytes = rendered.peak_memory_bytes;
        if rendered.files.is_empty() {
            return Ok(Made { artifacts: Vec::new(), times, peak_memory_bytes });
        }
        let began = Instant::now();
        let prefix = assignment.prefix.as_str();
        let saves: Vec<_> =
            rendered.files.iter().map(|name| save(self.target, attempt, prefix, name, folder)).collect();
        let mut saves = stream::iter(saves).buffered(AT_ONCE);
        let mut saved: Vec<Artifact> = Vec::with_capacity(rendered.files.len() + 1);
        while let Some(file) = self.in_time(deadline, saves.next()).await? {
            saved.push(file.map_err(|error| self.unsaved(&error))?);
            // A large clip on a slow line is no stuck one.
            self.moved(attempt, saved.len(), rendered.files.len());
        }
        let document = sidecar::write(assignment, circumstances, &saved)
            .map_err(|error| self.failure(ExitCause::Internal, format!("its sidecar: {error}"), REPORT))?;
        tokio::fs::write(folder.join(sidecar::NAME), document)
            .await
            .map_err(|source| self.unsaved(&Error::Read { path: sidecar::NAME.to_owned(), source }))?;
        let last = save(self.target, attempt, prefix, sidecar::NAME, folder);
        saved.push(self.in_time(deadline, last).await?.map_err(|error| self.unsaved(&error))?);
        times.save_ms += u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Made { artifacts: saved, times, peak_memory_bytes })
    }

    /// Waits no longer than a job waits for progress.
    async fn in_time<T>(&self, deadline: &Deadline, saving: impl Future<Output = T>) -> Result<T, Failure> {
        timeout(deadline.no_progress, saving)
            .await
            .map_err(|_| self.stuck("no file was saved", deadline.no_progress))
    }

    fn moved(&self, attempt: &AttemptRef, saved: usize, files: usize) {
        let count = |files: usize| u32::try_from(files).unwrap_or(u32::MAX);
        let at = RankProgress { stage: Stage::Save.into(), step: count(saved), steps: count(files), id: 0 };
        // As with steps: the next one makes good for a lost one.
        let _ = self.said.try_send(convert::progress(attempt, &at, 0));
    }

    fn unsaved(&self, error: &Error) -> Failure {
        let (cause, remedy) = if error.is_full() {
            (ExitCause::DiskFull, "make room on the artifact store or on this worker's disk")
        } else if error.is_unwanted() {
            (ExitCause::Cancelled, "")
        } else if error.is_here() {
            (ExitCause::Internal, "see whether something else works in this worker's --data-dir")
        } else {
            (ExitCause::StoreUnavailable, "check the artifact store with `croft doctor --artifacts URL`")
        };
        self.failure(cause, error.to_string(), remedy)
    }
}

async fn save(
    target: &Target,
    attempt: &AttemptRef,
    prefix: &str,
    name: &str,
    folder: &Path,
) -> Result<Artifact, Error> {
    let mut pause = PAUSE;
    let mut left = TRIES;
    loop {
        left -= 1;
        match target.save(attempt, prefix, name, &folder.join(name)).await {
            Ok(saved) => return Ok(saved),
            Err(error) if left == 0 || error.is_full() || error.is_unwanted() || error.is_here() => {
                return Err(error);
            }
            Err(error) => {
                tracing::info!(%error, left, "saving is tried again");
                sleep(pause).await;
                pause *= 4;
            }
        }
    }
}
