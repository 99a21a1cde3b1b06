//! The files of a rendered clip into the store, under the attempt's prefix: the pictures first, the sidecar last.

use std::{path::Path, time::Duration};

use croft_proto::v1::{Artifact, Assignment, AttemptRef, ExitCause, Failure, RankDone};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::{Instant, sleep};

use super::{Bench, Ending};
use crate::{
    sidecar::{self, Circumstances},
    target::{Error, Target},
};

/// Files on their way at once.
const AT_ONCE: usize = 4;
/// Tries of one file, and the pause after the first; it grows fourfold.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(250);

impl Bench<'_> {
    pub(super) async fn save(
        &self,
        assignment: &Assignment,
        attempt: &AttemptRef,
        folder: &Path,
        rendered: &RankDone,
        circumstances: &Circumstances<'_>,
    ) -> Ending {
        let mut times = rendered.times.unwrap_or_default();
        if rendered.files.is_empty() {
            return Ok((Vec::new(), times));
        }
        let began = Instant::now();
        let prefix = assignment.prefix.as_str();
        let saves: Vec<_> =
            rendered.files.iter().map(|name| save(self.target, attempt, prefix, name, folder)).collect();
        let mut saved: Vec<Artifact> = stream::iter(saves)
            .buffered(AT_ONCE)
            .try_collect()
            .await
            .map_err(|error| self.unsaved(&error))?;
        let document = sidecar::write(assignment, circumstances, &saved);
        tokio::fs::write(folder.join(sidecar::NAME), document)
            .await
            .map_err(|source| self.unsaved(&Error::Read { path: sidecar::NAME.to_owned(), source }))?;
        let last = save(self.target, attempt, prefix, sidecar::NAME, folder).await;
        saved.push(last.map_err(|error| self.unsaved(&error))?);
        times.save_ms += u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok((saved, times))
    }

    fn unsaved(&self, error: &Error) -> Failure {
        let (cause, remedy) = if error.is_full() {
            (ExitCause::DiskFull, "make room on the artifact store or on this worker's disk")
        } else if error.is_unwanted() {
            (ExitCause::Cancelled, "")
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
            Err(error) if left == 0 || error.is_full() || error.is_unwanted() => return Err(error),
            Err(error) => {
                tracing::info!(%error, left, "saving is tried again");
                sleep(pause).await;
                pause *= 4;
            }
        }
    }
}
