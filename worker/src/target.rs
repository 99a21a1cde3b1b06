//! Where attempts are saved: the artifact store itself where this machine sees the same one, else through the
//! coordinator.

use std::{path::Path as FilePath, sync::Arc, time::Duration};

use croft_proto::{
    store::{self, Reach},
    v1::{
        Artifact, AttemptRef, PutArtifactHeader, PutArtifactRequest, Welcome,
        artifacts_client::ArtifactsClient, put_artifact_request::Part,
    },
};
use futures::stream;
use object_store::{ObjectStore, ObjectStoreExt, buffered::BufWriter, path::Path};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use tonic::{Code, Status, transport::Channel};

/// The object by which a store is recognised.
const STORE_ID: &str = ".croft/store-id";
/// A store that does not show its id within this is none that this machine can reach. No heartbeat goes out meanwhile,
/// so it is far less than a lease.
const KNOWN: Duration = Duration::from_secs(3);
/// Bytes read, digested and sent at once.
const CHUNK_BYTES: usize = 1 << 20;
/// What is larger than this goes up in parts.
const WHOLE_BYTES_MAX: usize = 8 << 20;

/// Where files go.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Store(Arc<dyn ObjectStore>),
    Coordinator(ArtifactsClient<Channel>),
}

/// Why a file was not saved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("{path}: {source}")]
    Store { path: String, source: object_store::Error },
    #[error("{path}: {source}")]
    Write { path: String, source: std::io::Error },
    #[error("{path}: the coordinator says: {}", status.message())]
    Coordinator { path: String, status: Box<Status> },
    #[error("{path}: what arrived differs from what was sent")]
    Differs { path: String },
}

impl Error {
    /// Whether the disk is full, here or at the store.
    pub(crate) fn is_full(&self) -> bool {
        let mut error: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(current) = error {
            if let Some(io) = current.downcast_ref::<std::io::Error>()
                && matches!(io.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
            {
                return true;
            }
            error = current.source();
        }
        false
    }

    /// Whether the fault is this machine's own: no other try would mend it.
    pub(crate) fn is_here(&self) -> bool {
        matches!(self, Self::Read { .. })
    }

    /// Whether the coordinator no longer wants this attempt's files.
    pub(crate) fn is_unwanted(&self) -> bool {
        match self {
            Self::Coordinator { status, .. } => {
                matches!(status.code(), Code::FailedPrecondition | Code::PermissionDenied)
            }
            Self::Read { .. } | Self::Store { .. } | Self::Write { .. } | Self::Differs { .. } => false,
        }
    }
}

impl Target {
    /// The store that the coordinator names, when this machine reads the same id there; else the coordinator.
    pub(crate) async fn choose(welcome: &Welcome, coordinator: Channel, reach: &Reach) -> Self {
        match same_store(welcome, reach).await {
            Some(store) => {
                tracing::info!(store = welcome.artifacts, "saving into the store itself");
                Self::Store(store)
            }
            None => {
                tracing::info!(store = welcome.artifacts, "saving through the coordinator");
                Self::Coordinator(ArtifactsClient::new(coordinator))
            }
        }
    }

    /// Saves the file at `from` under `prefix` as `name`.
    pub(crate) async fn save(
        &self,
        attempt: &AttemptRef,
        prefix: &str,
        name: &str,
        from: &FilePath,
    ) -> Result<Artifact, Error> {
        let place = format!("{prefix}/{name}");
        let (size_bytes, digest) = match self {
            Self::Store(store) => stored(store, &place, from).await?,
            Self::Coordinator(client) => sent(client.clone(), attempt, name, from).await?,
        };
        Ok(Artifact { path: name.to_owned(), size_bytes, digest, media_type: media_type(name).to_owned() })
    }
}

async fn same_store(welcome: &Welcome, reach: &Reach) -> Option<Arc<dyn ObjectStore>> {
    let store = match store::open(&welcome.artifacts.parse().ok()?, reach).await {
        Ok(store) => store,
        Err(error @ store::Error::Refused { .. }) => {
            tracing::warn!("{error}");
            return None;
        }
        // A folder of the coordinator's own machine, or a bucket that this worker has no key for.
        Err(error) => {
            tracing::debug!("{error}");
            return None;
        }
    };
    let read = async { store.get(&Path::from(STORE_ID)).await.ok()?.bytes().await.ok() };
    let id = timeout(KNOWN, read).await.ok()??;
    (!welcome.store_id.is_empty() && id.as_ref() == welcome.store_id.as_bytes()).then_some(store)
}

/// Streams a file into the store and digests it on the way.
async fn stored(store: &Arc<dyn ObjectStore>, place: &str, from: &FilePath) -> Result<(u64, String), Error> {
    let unreadable = |source| Error::Read { path: from.display().to_string(), source };
    let unwritable = |source| Error::Write { path: place.to_owned(), source };
    let path = Path::parse(place).map_err(|e| Error::Store { path: place.to_owned(), source: e.into() })?;
    let mut file = tokio::fs::File::open(from).await.map_err(unreadable)?;
    let mut writer = BufWriter::with_capacity(Arc::clone(store), path, WHOLE_BYTES_MAX);
    let mut hash = Sha256::new();
    let mut size = 0;
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let read = file.read(&mut buffer).await.map_err(unreadable)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        size += read as u64;
        writer.write_all(&buffer[..read]).await.map_err(unwritable)?;
    }
    writer.shutdown().await.map_err(unwritable)?;
    Ok((size, hex(&hash.finalize())))
}

/// Streams a file to the coordinator, which answers with what it has written.
async fn sent(
    mut client: ArtifactsClient<Channel>,
    attempt: &AttemptRef,
    name: &str,
    from: &FilePath,
) -> Result<(u64, String), Error> {
    let unreadable = |source| Error::Read { path: from.display().to_string(), source };
    let digested = digest(from).await.map_err(unreadable)?;
    let file = tokio::fs::File::open(from).await.map_err(unreadable)?;
    let header = PutArtifactHeader { attempt: Some(attempt.clone()), path: name.to_owned() };
    // A file that breaks while it is read ends the stream early, and the digests then differ.
    let parts = stream::unfold((Some(header), file), |(header, mut file)| async move {
        if let Some(header) = header {
            return Some((PutArtifactRequest { part: Some(Part::Header(header)) }, (None, file)));
        }
        let mut buffer = vec![0; CHUNK_BYTES];
        let read = file.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        buffer.truncate(read);
        Some((PutArtifactRequest { part: Some(Part::Data(buffer.into())) }, (None, file)))
    });
    let answer = client
        .put_artifact(parts)
        .await
        .map_err(|status| Error::Coordinator { path: name.to_owned(), status: Box::new(status) })?;
    let arrived = answer.into_inner().artifact.unwrap_or_default();
    if (arrived.size_bytes, &arrived.digest) == (digested.0, &digested.1) {
        Ok(digested)
    } else {
        Err(Error::Differs { path: name.to_owned() })
    }
}

async fn digest(path: &FilePath) -> std::io::Result<(u64, String)> {
    let mut file = tokio::fs::File::open(path).await?;
    let mut hash = Sha256::new();
    let mut size = 0;
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let read = file.read(&mut buffer).await?;
        if read == 0 {
            return Ok((size, hex(&hash.finalize())));
        }
        hash.update(&buffer[..read]);
        size += read as u64;
    }
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("png") => "image/png",
        Some("mp4") => "video/mp4",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

fn hex(digest: &[u8]) -> String {
    use std::fmt::Write;
    digest.iter().fold(String::with_capacity(64), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a String takes everything");
        hex
    })
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn a_file_is_saved_whole_with_its_digest() {
        let dir = tempfile::tempdir().expect("scratch");
        let from = dir.path().join("0001.png");
        std::fs::write(&from, b"abc").expect("written");
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let target = Target::Store(Arc::clone(&store));
        let saved = target.save(&AttemptRef::default(), ".attempts/j/l/0001/1-7", "c/0001.png", &from).await;
        let saved = saved.expect("it saves");
        assert_eq!(saved.digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(
            (saved.path.as_str(), saved.size_bytes, saved.media_type.as_str()),
            ("c/0001.png", 3, "image/png")
        );
        let place = Path::from(".attempts/j/l/0001/1-7/c/0001.png");
        let read = store.get(&place).await.expect("there").bytes().await.expect("whole");
        assert_eq!(read.as_ref(), b"abc");
    }

    #[test]
    fn a_full_disk_is_seen_through_every_wrapping() {
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        let wrapped = object_store::Error::Generic { store: "local", source: Box::new(full()) };
        assert!(Error::Write { path: "x".into(), source: full() }.is_full());
        assert!(Error::Store { path: "x".into(), source: wrapped }.is_full());
        assert!(!Error::Differs { path: "x".into() }.is_full());
    }
}
