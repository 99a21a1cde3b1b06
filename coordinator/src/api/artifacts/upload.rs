//! A worker's upload of one file of its attempt: only while that attempt may report, only under its own prefix.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use croft_core::step::Artifact;
use croft_proto::v1::{self, put_artifact_request::Part};
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, WriteMultipart, path::Path};
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

use super::super::{
    convert::{self, Named},
    paths,
    status::{exhausted, invalid},
};
use crate::handle::Handle;

/// Parts of one file that are on their way to the store.
const PARTS: usize = 4;
/// A file may have this many bytes: hours of preview, far more than a frame.
const BYTES_MAX: u64 = 8 << 30;
/// A worker that sends nothing for this long has gone.
const SILENCE: Duration = Duration::from_secs(60);

/// Writes the file and says what it is. Nothing stays of one that did not arrive whole.
pub(super) async fn receive(
    handle: &Handle,
    store: &Arc<dyn ObjectStore>,
    mut parts: Streaming<v1::PutArtifactRequest>,
) -> Result<Artifact, Status> {
    let first = next(&mut parts).await?.and_then(|message| message.part);
    let Some(Part::Header(header)) = first else {
        return Err(invalid("header", "the first message must carry the header"));
    };
    let named = header.attempt.and_then(convert::attempt);
    let named = named.ok_or_else(|| invalid("header.attempt", "is no attempt"))?;
    let prefix = current(handle, &named).await?;
    let place = paths::of_attempt(&prefix, &header.path)
        .ok_or_else(|| invalid("header.path", format!("'{}' is no file of an attempt", header.path)))?;
    let upload = store.put_multipart(&place).await.map_err(|error| failed(&place, &error))?;
    let mut writer = WriteMultipart::new(upload as Box<dyn MultipartUpload>);
    let (size, digest) = match copy(&mut parts, &mut writer, &place).await {
        Ok(copied) => copied,
        Err(status) => {
            // The status says more than what a failed clean-up would.
            let _ = writer.abort().await;
            return Err(status);
        }
    };
    // Whoever lost the attempt meanwhile leaves nothing behind.
    if let Err(status) = current(handle, &named).await {
        let _ = writer.abort().await;
        return Err(status);
    }
    writer.finish().await.map_err(|error| failed(&place, &error))?;
    Ok(Artifact { path: header.path, size_bytes: size, digest, media_type: String::new() })
}

/// The attempt's prefix, as long as its fence is the task's.
async fn current(handle: &Handle, named: &Named) -> Result<String, Status> {
    let asked = named.clone();
    let prefix = handle.ask(move |desk| {
        let attempt = asked.find(&desk.farm)?;
        desk.farm.current(&attempt).then(|| desk.farm.prefix(&attempt))
    });
    prefix.await?.ok_or_else(|| {
        let why = format!("this attempt of job '{}' counts no more: its fence is not the task's", named.job);
        let details =
            ErrorDetails::with_precondition_failure_violation("FENCE", named.job.as_str(), why.clone());
        Status::with_error_details(Code::FailedPrecondition, why, details)
    })
}

async fn copy(
    parts: &mut Streaming<v1::PutArtifactRequest>,
    writer: &mut WriteMultipart,
    place: &Path,
) -> Result<(u64, String), Status> {
    let (mut size, mut hash) = (0_u64, Sha256::new());
    while let Some(message) = next(parts).await? {
        let Some(Part::Data(data)) = message.part else {
            return Err(invalid("data", "only the first message carries a header"));
        };
        size += data.len() as u64;
        if size > BYTES_MAX {
            return Err(exhausted("data", format!("a file may have {} GiB", BYTES_MAX >> 30)));
        }
        hash.update(&data);
        writer.wait_for_capacity(PARTS).await.map_err(|error| failed(place, &error))?;
        writer.write(&data);
    }
    let digest = hash.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a String takes everything");
        hex
    });
    Ok((size, digest))
}

async fn next(
    parts: &mut Streaming<v1::PutArtifactRequest>,
) -> Result<Option<v1::PutArtifactRequest>, Status> {
    timeout(SILENCE, parts.message())
        .await
        .map_err(|_| Status::deadline_exceeded("the upload fell silent"))?
}

fn failed(place: &Path, error: &object_store::Error) -> Status {
    tracing::warn!(%place, %error, "upload failed");
    Status::unavailable(format!("the artifact store did not take '{place}'"))
}
