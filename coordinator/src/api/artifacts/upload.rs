//! A worker's upload of one file, to a place that its attempt may write to; of its outputs, only while it may report and
//! only under its own prefix.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use croft_core::{
    farm::Farm,
    ids::{AttemptId, JobId},
    step::Artifact,
};
use croft_proto::v1::{self, put_artifact_request::Part};
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, WriteMultipart, path::Path};
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

use super::super::{
    auth::Call,
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

/// Where a file of an attempt goes, given its path; an error says why it goes nowhere.
pub(super) type Where = fn(&Farm, &AttemptId, &str) -> Result<Path, Status>;

/// A file that has arrived.
pub(super) struct Arrived {
    pub(super) artifact: Artifact,
    pub(super) place: Path,
}

/// Writes the file and says what it is. Nothing stays of one that did not arrive whole.
pub(super) async fn receive(
    handle: &Handle,
    call: &Call,
    store: &Arc<dyn ObjectStore>,
    mut parts: Streaming<v1::PutArtifactRequest>,
    goes: Where,
) -> Result<Arrived, Status> {
    let first = next(&mut parts).await?.and_then(|message| message.part);
    let Some(Part::Header(header)) = first else {
        return Err(invalid("header", "the first message must carry the header"));
    };
    let named = header.attempt.and_then(convert::attempt);
    let named = named.ok_or_else(|| invalid("header.attempt", "is no attempt"))?;
    call.about(&format!("jobs/{}", named.job));
    let place = find(handle, call, &named, &header.path, goes).await?;
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
    if let Err(status) = find(handle, call, &named, &header.path, goes).await {
        let _ = writer.abort().await;
        return Err(status);
    }
    writer.finish().await.map_err(|error| failed(&place, &error))?;
    let artifact = Artifact { path: header.path, size_bytes: size, digest, media_type: String::new() };
    Ok(Arrived { artifact, place })
}

/// Under the attempt's prefix, as long as its fence is the task's.
pub(super) fn place(farm: &Farm, attempt: &AttemptId, path: &str) -> Result<Path, Status> {
    if !farm.current(attempt) {
        return Err(counts_no_more(&attempt.task.job));
    }
    paths::of_attempt(&farm.prefix(attempt), path)
        .ok_or_else(|| invalid("header.path", format!("'{path}' is no file of an attempt")))
}

pub(super) async fn find(
    handle: &Handle,
    call: &Call,
    named: &Named,
    path: &str,
    goes: Where,
) -> Result<Path, Status> {
    let (asked, path, call) = (named.clone(), path.to_owned(), call.clone());
    let found = handle.ask(move |desk| match asked.find(&desk.farm) {
        Some(attempt) => {
            call.works_on(&desk.farm, &attempt)?;
            goes(&desk.farm, &attempt, &path)
        }
        None => Err(counts_no_more(&asked.job)),
    });
    found.await?
}

pub(super) fn counts_no_more(job: &JobId) -> Status {
    let why = format!("this attempt of job '{job}' counts no more: its fence is not the task's");
    let details = ErrorDetails::with_precondition_failure_violation("FENCE", job.as_str(), why.clone());
    Status::with_error_details(Code::FailedPrecondition, why, details)
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
