//! Where a task's steps are: in the store, or behind the coordinator where this machine does not see it.

use std::sync::Arc;

use bytes::Bytes;
use croft_proto::v1::{
    Assignment, AttemptRef, GetCheckpointRequest, PutArtifactHeader, PutArtifactRequest,
    artifacts_client::ArtifactsClient, put_artifact_request::Part,
};
use futures::{TryStreamExt, stream};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use tonic::{Code, transport::Channel};

use crate::target::Target;

const FOLDER: &str = "checkpoints";
/// Bytes of one message.
const CHUNK_BYTES: usize = 1 << 20;
/// Far more than the latents of a clip; a coordinator that sends more is not listened to.
const BYTES_MAX: usize = 1 << 30;

#[derive(Clone, Debug)]
pub(super) enum Place {
    Store { store: Arc<dyn ObjectStore>, root: Path },
    Coordinator(Box<Relay>),
}

/// The coordinator, for one attempt.
#[derive(Clone, Debug)]
pub(super) struct Relay {
    client: ArtifactsClient<Channel>,
    attempt: AttemptRef,
}

impl Place {
    /// `None` for an assignment without a prefix.
    pub(super) fn new(target: &Target, assignment: &Assignment) -> Option<Self> {
        Some(match target {
            Target::Store(store) => {
                let (task, _) = assignment.prefix.rsplit_once('/')?;
                let root = Path::parse(format!("{task}/{FOLDER}")).ok()?;
                Self::Store { store: Arc::clone(store), root }
            }
            Target::Coordinator(client) => {
                let attempt = assignment.attempt.clone()?;
                Self::Coordinator(Box::new(Relay { client: client.clone(), attempt }))
            }
        })
    }

    /// The newest steps, at most `count`, the newest first. Those that cannot be read are left out.
    pub(super) async fn newest(&self, count: usize) -> Result<Vec<Bytes>, String> {
        match self {
            Self::Store { store, root } => {
                let listed = store.list(Some(root)).map_ok(|file| file.location).try_collect();
                let mut found: Vec<Path> = listed.await.map_err(|error| error.to_string())?;
                found.sort_unstable_by(|a, b| b.cmp(a));
                let mut read = Vec::new();
                for place in found.iter().take(count) {
                    let whole = async { store.get(place).await?.bytes().await };
                    match whole.await {
                        Ok(bytes) => read.push(bytes),
                        // A newer one came meanwhile, or it is worth as little as the next.
                        Err(error) => tracing::info!(%error, "a kept step cannot be read"),
                    }
                }
                Ok(read)
            }
            Self::Coordinator(relay) => {
                let Relay { client, attempt } = &**relay;
                let mut read = Vec::new();
                for skip in 0..u32::try_from(count).unwrap_or(u32::MAX) {
                    let request = GetCheckpointRequest { attempt: Some(attempt.clone()), skip };
                    match received(client.clone(), request).await {
                        Ok(bytes) => read.push(bytes),
                        Err(status) if status.code() == Code::NotFound => break,
                        Err(status) => return Err(status.message().to_owned()),
                    }
                }
                Ok(read)
            }
        }
    }

    /// Puts a step there, and removes the one `before` it.
    pub(super) async fn put(&self, step: u32, bytes: Bytes, before: Option<u32>) -> Result<(), String> {
        match self {
            Self::Store { store, root } => {
                let put = store.put(&root.clone().join(name(step)), bytes.into()).await;
                put.map_err(|error| error.to_string())?;
                if let Some(before) = before.filter(|before| *before != step) {
                    // A stale one that stays costs some room until its task is done.
                    let _ = store.delete(&root.clone().join(name(before))).await;
                }
                Ok(())
            }
            Self::Coordinator(relay) => {
                let Relay { client, attempt } = &**relay;
                let header = PutArtifactHeader { attempt: Some(attempt.clone()), path: name(step) };
                let header = PutArtifactRequest { part: Some(Part::Header(header)) };
                let starts = (0..bytes.len()).step_by(CHUNK_BYTES);
                let chunk = |from: usize| bytes.slice(from..bytes.len().min(from + CHUNK_BYTES));
                let data = starts.map(|from| PutArtifactRequest { part: Some(Part::Data(chunk(from))) });
                let parts: Vec<PutArtifactRequest> = std::iter::once(header).chain(data).collect();
                let put = client.clone().put_checkpoint(stream::iter(parts)).await;
                put.map(drop).map_err(|status| status.message().to_owned())
            }
        }
    }
}

fn name(step: u32) -> String {
    format!("{step:05}.safetensors")
}

async fn received(
    mut client: ArtifactsClient<Channel>,
    request: GetCheckpointRequest,
) -> Result<Bytes, tonic::Status> {
    let mut chunks = client.get_checkpoint(request).await?.into_inner();
    let mut all = Vec::new();
    while let Some(chunk) = chunks.message().await? {
        if all.len() + chunk.data.len() > BYTES_MAX {
            return Err(tonic::Status::out_of_range("it is larger than any step"));
        }
        all.extend_from_slice(&chunk.data);
    }
    Ok(all.into())
}
