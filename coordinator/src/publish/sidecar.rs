//! The sidecar: what lists an attempt's files, and the last file of their publication.
//!
//! Two attempts of one task write different sidecars (where and when), so one that is there already is compared by what
//! it says of the pictures, not by its bytes.

use croft_core::step::Artifact;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutPayload, path::Path};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{Publisher, Stop, exists, hex};

/// No sidecar comes near it: the list of a clip's frames is tens of kilobytes.
const BYTES_MAX: u64 = 16 << 20;

/// A sidecar as it lies in the store.
#[derive(Debug, Clone)]
pub(crate) struct Sidecar {
    pub(crate) bytes: bytes::Bytes,
    /// What it lists.
    pub(crate) files: Vec<Artifact>,
    pub(crate) show: String,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    show: String,
    #[serde(default)]
    artifacts: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    path: String,
    digest: String,
    #[serde(default)]
    size_bytes: u64,
    #[serde(default)]
    media_type: String,
}

impl Sidecar {
    /// Reads one, within a bound.
    pub(crate) async fn read(store: &dyn ObjectStore, path: &Path) -> Result<Self, StoreError> {
        let odd = |what: String| StoreError::Generic { store: "sidecar", source: what.into() };
        let found = store.get(path).await?;
        if found.meta.size > BYTES_MAX {
            return Err(odd(format!("{path} has {} bytes, and no sidecar does", found.meta.size)));
        }
        let bytes = found.bytes().await?;
        let listed: Listed =
            serde_json::from_slice(&bytes).map_err(|error| odd(format!("{path} is no sidecar: {error}")))?;
        let files = listed.artifacts.into_iter().map(|file| Artifact {
            path: file.path,
            size_bytes: file.size_bytes,
            digest: file.digest,
            media_type: file.media_type,
        });
        Ok(Self { files: files.collect(), show: listed.show, bytes })
    }

    pub(crate) fn digest(&self) -> String {
        hex(&Sha256::digest(&self.bytes))
    }

    /// Whether both list the same files with the same digests.
    pub(super) fn shows_the_same(&self, other: &Self) -> bool {
        let list = |sidecar: &Self| {
            let mut files: Vec<(String, String)> =
                sidecar.files.iter().map(|file| (file.path.clone(), file.digest.clone())).collect();
            files.sort_unstable();
            files
        };
        !self.files.is_empty() && list(self) == list(other)
    }

    /// As a published file.
    pub(super) fn artifact(&self, at: &Path, media_type: &str) -> Artifact {
        Artifact {
            path: at.to_string(),
            size_bytes: self.bytes.len() as u64,
            digest: self.digest(),
            media_type: media_type.to_owned(),
        }
    }
}

impl Publisher {
    /// Publishes the sidecar and gives the one that counts: this one, or the one that an attempt with the very same
    /// pictures wrote before.
    pub(super) async fn put_sidecar(&self, ours: &Sidecar, to: &Path) -> Result<Sidecar, Stop> {
        let put = PutPayload::from_bytes(ours.bytes.clone());
        match self.store.put_opts(to, put, PutMode::Create.into()).await {
            Ok(_) => Ok(ours.clone()),
            Err(StoreError::AlreadyExists { .. }) => {
                let theirs = Sidecar::read(&*self.store, to).await?;
                if theirs.bytes == ours.bytes || theirs.shows_the_same(ours) {
                    Ok(theirs)
                } else {
                    Err(Stop::Fail(exists(to)))
                }
            }
            Err(error) => Err(error.into()),
        }
    }
}
