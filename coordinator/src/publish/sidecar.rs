//! The last file of a publication. Two attempts of one task write different sidecars (where and when), so one that
//! is there already is compared by what it says of the pictures, not by its bytes.

use croft_core::step::Artifact;
use object_store::{Error as StoreError, ObjectStoreExt, PutMode, PutPayload, path::Path};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Publisher, Stop, exists, hex, vanished};

/// No sidecar comes near it: the list of a clip's frames is tens of kilobytes.
const BYTES_MAX: u64 = 16 << 20;

impl Publisher {
    /// Publishes the sidecar and returns the one that counts: this one, or the one that an attempt with the very same
    /// pictures wrote before.
    pub(super) async fn put_sidecar(
        &self,
        from: &Path,
        to: &Path,
        artifact: &Artifact,
    ) -> Result<Artifact, Stop> {
        let ours = match self.small(from).await {
            Ok(ours) => ours,
            Err(StoreError::NotFound { .. }) => return self.published_before(from, to, artifact).await,
            Err(error) => return Err(error.into()),
        };
        match self.store.put_opts(to, PutPayload::from_bytes(ours.clone()), PutMode::Create.into()).await {
            Ok(_) => Ok(named(to, artifact, &ours)),
            Err(StoreError::AlreadyExists { .. }) => {
                let theirs = self.small(to).await?;
                if theirs == ours || same_pictures(&theirs, &ours) {
                    Ok(named(to, artifact, &theirs))
                } else {
                    Err(Stop::Fail(exists(to)))
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The attempt's own copy is gone: fine when an earlier try published it.
    async fn published_before(&self, from: &Path, to: &Path, artifact: &Artifact) -> Result<Artifact, Stop> {
        match self.small(to).await {
            Ok(theirs) if hex(&Sha256::digest(&theirs)) == artifact.digest => {
                Ok(named(to, artifact, &theirs))
            }
            Ok(_) | Err(StoreError::NotFound { .. }) => Err(Stop::Fail(vanished(from))),
            Err(error) => Err(error.into()),
        }
    }

    async fn small(&self, path: &Path) -> Result<bytes::Bytes, StoreError> {
        let found = self.store.get(path).await?;
        if found.meta.size > BYTES_MAX {
            let source = format!("{path} has {} bytes, and no sidecar does", found.meta.size).into();
            return Err(StoreError::Generic { store: "sidecar", source });
        }
        found.bytes().await
    }
}

fn named(to: &Path, artifact: &Artifact, bytes: &[u8]) -> Artifact {
    Artifact {
        path: to.to_string(),
        size_bytes: bytes.len() as u64,
        digest: hex(&Sha256::digest(bytes)),
        media_type: artifact.media_type.clone(),
    }
}

/// Whether both list the same files with the same digests.
fn same_pictures(a: &[u8], b: &[u8]) -> bool {
    let list = |bytes: &[u8]| -> Option<Vec<(String, String)>> {
        let sidecar: Value = serde_json::from_slice(bytes).ok()?;
        let mut files = Vec::new();
        for file in sidecar.get("artifacts")?.as_array()? {
            files.push((file.get("path")?.as_str()?.to_owned(), file.get("digest")?.as_str()?.to_owned()));
        }
        files.sort_unstable();
        Some(files)
    };
    list(a).is_some_and(|a| !a.is_empty() && Some(a) == list(b))
}
