//! Publication: an attempt's files get their final names, each only if that name is free, the sidecar last. Its
//! presence says that the task is whole.
//!
//! Which attempt is published, and the digest of the sidecar that lists its files, was decided in the state store
//! before: so whoever leads can do this, and a store without conditional puts can at worst be given the same bytes
//! twice.
//!
//! Doing it again changes nothing: a name that holds the same bytes counts as done, one that holds others ends the
//! publication and is named. Nothing published is ever overwritten.

mod sidecar;

pub(crate) use sidecar::Sidecar;

use std::{sync::Arc, time::Duration};

use croft_core::{
    failure::{Cause, Failure},
    ids::AttemptId,
    step::{Artifact, Event, Output, Published},
};
use futures::TryStreamExt;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutPayload, path::Path};
use sha2::{Digest, Sha256};
use tokio::{sync::Semaphore, time};

/// What the attempt calls its sidecar.
#[cfg(test)]
const SIDECAR: &str = "sidecar.json";

/// Tries of one publication when the store fails, and the first wait; it grows fourfold.
const TRIES: u32 = 4;
const WAIT: Duration = Duration::from_millis(100);
/// A store that has not answered for this long will not.
const PATIENCE: Duration = Duration::from_secs(300);
/// Prefixes removed at once.
const COLLECTIONS: usize = 4;

/// Publishes attempts and removes what they leave. Cheap to clone; the bounds are shared.
#[derive(Debug, Clone)]
pub(crate) struct Publisher {
    store: Arc<dyn ObjectStore>,
    publications: Arc<Semaphore>,
    collections: Arc<Semaphore>,
    /// Before the second try.
    wait: Duration,
}

/// Why a publication stopped.
enum Stop {
    /// Another try may do better.
    Store(StoreError),
    Fail(Failure),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Publisher {
    /// At most `publications` run at once; the others wait their turn.
    pub(crate) fn new(store: Arc<dyn ObjectStore>, publications: usize) -> Self {
        Self {
            store,
            publications: Arc::new(Semaphore::new(publications.max(1))),
            collections: Arc::new(Semaphore::new(COLLECTIONS)),
            wait: WAIT,
        }
    }

    /// Gives the files of an attempt their final names; the answer is [`Event::Published`].
    pub(crate) async fn publish(
        &self,
        attempt: AttemptId,
        prefix: &str,
        sidecar: &Artifact,
        output: &Output,
    ) -> Event {
        let _turn = self.publications.acquire().await;
        let outcome = match time::timeout(PATIENCE, self.tries(prefix, sidecar, output)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(unavailable(&format!("no answer within {} s", PATIENCE.as_secs()))),
        };
        match &outcome {
            Ok(published) => tracing::debug!(files = published.files, "published"),
            Err(failure) => tracing::warn!(cause = failure.cause.name(), "{}", failure.message),
        }
        Event::Published { attempt, outcome }
    }

    /// Removes all that lies under an attempt's prefix. Best effort: what stays is only waste.
    pub(crate) async fn collect(&self, prefix: &str) {
        let _turn = self.collections.acquire().await;
        let Ok(root) = Path::parse(prefix) else {
            tracing::error!(prefix, "not a prefix");
            return;
        };
        let removed = async {
            let files: Vec<_> =
                self.store.list(Some(&root)).map_ok(|found| found.location).try_collect().await?;
            for file in files {
                match self.store.delete(&file).await {
                    Ok(()) | Err(StoreError::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        match time::timeout(PATIENCE, removed).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(prefix, %error, "an attempt's files stay"),
            Err(_) => tracing::warn!(prefix, "an attempt's files stay: the store does not answer"),
        }
    }

    async fn tries(&self, prefix: &str, sidecar: &Artifact, output: &Output) -> Result<Published, Failure> {
        let mut wait = self.wait;
        for left in (0..TRIES).rev() {
            match self.once(prefix, sidecar, output).await {
                Ok(published) => return Ok(published),
                Err(Stop::Fail(failure)) => return Err(failure),
                Err(Stop::Store(error)) if left == 0 => return Err(unavailable(&error.to_string())),
                Err(Stop::Store(error)) => {
                    tracing::info!(%error, left, "publication is tried again");
                    time::sleep(wait).await;
                    wait *= 4;
                }
            }
        }
        Err(unavailable("it was not tried"))
    }

    async fn once(&self, prefix: &str, decided: &Artifact, output: &Output) -> Result<Published, Stop> {
        let from = parse(&format!("{prefix}/{}", decided.path))?;
        let to = parse(&output.sidecar)?;
        let ours = match Sidecar::read(&*self.store, &from).await {
            Ok(ours) => ours,
            Err(StoreError::NotFound { .. }) => return self.published_before(&from, &to, decided).await,
            Err(error) => return Err(error.into()),
        };
        if ours.digest() != decided.digest {
            return Err(Stop::Fail(changed(&from)));
        }
        for file in &ours.files {
            let from = parse(&format!("{prefix}/{}", file.path))?;
            let to = place(&file.path, output)?;
            self.put(&from, &to, file).await?;
        }
        let counts = self.put_sidecar(&ours, &to).await?;
        Ok(published(&counts, &to, decided))
    }

    /// The attempt's own files are gone: fine when an earlier try published them.
    async fn published_before(&self, from: &Path, to: &Path, decided: &Artifact) -> Result<Published, Stop> {
        match Sidecar::read(&*self.store, to).await {
            Ok(theirs) if theirs.digest() == decided.digest => Ok(published(&theirs, to, decided)),
            Ok(_) | Err(StoreError::NotFound { .. }) => Err(Stop::Fail(vanished(from))),
            Err(error) => Err(error.into()),
        }
    }

    async fn put(&self, from: &Path, to: &Path, artifact: &Artifact) -> Result<(), Stop> {
        let copied = match self.store.copy_if_not_exists(from, to).await {
            // S3 has no such copy: the bytes come through here.
            Err(StoreError::NotSupported { .. } | StoreError::NotImplemented { .. }) => {
                self.carry(from, to).await
            }
            copied => copied,
        };
        match copied {
            Ok(()) => Ok(()),
            Err(StoreError::AlreadyExists { .. }) => self.must_be_same(to, artifact).await,
            // An earlier try may have published and removed it.
            Err(StoreError::NotFound { .. }) => match self.digest(to).await {
                Ok(digest) if digest == artifact.digest => Ok(()),
                Ok(_) | Err(StoreError::NotFound { .. }) => Err(Stop::Fail(vanished(from))),
                Err(error) => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    async fn carry(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        let bytes = self.store.get(from).await?.bytes().await?;
        self.store.put_opts(to, PutPayload::from_bytes(bytes), PutMode::Create.into()).await.map(drop)
    }

    async fn must_be_same(&self, to: &Path, artifact: &Artifact) -> Result<(), Stop> {
        if self.digest(to).await? == artifact.digest { Ok(()) } else { Err(Stop::Fail(exists(to))) }
    }

    /// sha256 of an object, hex, read as a stream.
    async fn digest(&self, path: &Path) -> Result<String, StoreError> {
        let mut chunks = self.store.get(path).await?.into_stream();
        let mut hash = Sha256::new();
        while let Some(chunk) = chunks.try_next().await? {
            hash.update(&chunk);
        }
        Ok(hex(&hash.finalize()))
    }
}

fn published(sidecar: &Sidecar, at: &Path, decided: &Artifact) -> Published {
    Published {
        sidecar: sidecar.artifact(at, &decided.media_type),
        files: u32::try_from(sidecar.files.len()).unwrap_or(u32::MAX),
        bytes: sidecar.files.iter().map(|file| file.size_bytes).sum(),
    }
}

/// Where an attempt's file goes: among what its recipe said it would make, and nowhere else.
fn place(path: &str, output: &Output) -> Result<Path, Stop> {
    let frame = path.strip_prefix(output.frames_dir.as_str()).and_then(|rest| rest.strip_prefix('/'));
    let is_frame = !output.frames_dir.is_empty() && frame.is_some_and(|f| !f.is_empty() && !f.contains('/'));
    let is_named = !path.is_empty() && (path == output.still || path == output.preview);
    if is_frame || is_named {
        return parse(path);
    }
    Err(Stop::Fail(Failure::new(
        Cause::Internal,
        format!("the worker reports a file that its task does not make: '{path}'"),
        "the worker's version may differ from the coordinator's: run `croft workers`",
    )))
}

fn parse(path: &str) -> Result<Path, Stop> {
    let parsed = Path::parse(path).ok().filter(crate::api::paths::is_public_or_attempt);
    parsed.ok_or_else(|| {
        let message = format!("'{path}' is no path of a file in the store");
        Stop::Fail(Failure::new(Cause::Internal, message, "change the output template of the layer"))
    })
}

fn unavailable(what: &str) -> Failure {
    Failure::new(
        Cause::StoreUnavailable,
        format!("the artifact store cannot publish: {what}"),
        "check that the store is reachable and may be written by the coordinator",
    )
}

fn exists(path: &Path) -> Failure {
    Failure::new(
        Cause::OutputExists,
        format!("'{path}' exists with other contents"),
        "move the file away, or give the job another output template or store",
    )
}

/// To wait would not bring it back: the task is rendered again.
fn changed(path: &Path) -> Failure {
    Failure::new(
        Cause::Internal,
        format!("'{path}' is not what the worker saved there"),
        "keep everybody but croft away from '.attempts'",
    )
}

fn vanished(path: &Path) -> Failure {
    Failure::new(
        Cause::Internal,
        format!("the attempt's file '{path}' is gone from the store"),
        "keep lifecycle rules and clean-ups away from '.attempts'",
    )
}

fn hex(digest: &[u8]) -> String {
    use std::fmt::Write;
    digest.iter().fold(String::with_capacity(64), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a String takes everything");
        hex
    })
}

#[cfg(test)]
mod tests;
