//! Files of the store, for clients and workers that do not see it themselves.

mod checkpoints;
mod shown;
mod upload;

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use croft_core::{
    step::Artifact,
    view::{Selector, TaskState, TaskView},
};
use croft_proto::v1;
use futures::{Stream, StreamExt, stream};
use object_store::{Error as StoreError, GetResult, ObjectStore, ObjectStoreExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Response, Status, Streaming};

use super::{
    auth::Call,
    convert, page, paths,
    status::{exhausted, invalid, not_found},
};
use crate::{handle::Handle, publish::Sidecar};

/// Bytes of one message of a file, at most.
const CHUNK: usize = 1 << 20;
/// Files that are sent or received at once.
const TRANSFERS: usize = 256;
/// Tasks looked at between two pauses of the farm's thread.
const TASKS: usize = 500;

#[derive(Debug)]
pub(crate) struct Artifacts {
    handle: Handle,
    store: Arc<dyn ObjectStore>,
    transfers: Arc<Semaphore>,
}

impl Artifacts {
    pub(crate) fn new(handle: Handle, store: Arc<dyn ObjectStore>) -> Self {
        Self { handle, store, transfers: Arc::new(Semaphore::new(TRANSFERS)) }
    }
}

type Chunks = Pin<Box<dyn Stream<Item = Result<v1::GetArtifactResponse, Status>> + Send>>;

#[tonic::async_trait]
impl v1::artifacts_server::Artifacts for Artifacts {
    async fn list_artifacts(
        &self,
        request: Request<v1::ListArtifactsRequest>,
    ) -> Result<Response<v1::ListArtifactsResponse>, Status> {
        let call = Call::of(&request);
        let v1::ListArtifactsRequest { parent, page_size, page_token } = request.into_inner();
        let job = convert::parse_job("parent", &parent)?;
        call.is_about(&self.handle, &job, &parent).await?;
        let size = page::size(page_size);
        // The last task that was told of, and how many of its files: pages are in the order of the tasks.
        let mut at = page::read::<3>(&page_token)?;
        let mut artifacts = Vec::with_capacity(size);
        loop {
            let (id, from) = (job.clone(), at);
            let tasks = self.handle.ask(move |desk| published(&desk.farm, &id, from)).await?;
            let tasks = tasks.ok_or_else(|| not_found("job", &parent))?;
            let last_page = tasks.len() < TASKS;
            for task in tasks {
                let (layer, n) = (u64::from(task.id.layer), u64::from(task.id.task));
                let [_, _, mut told] = at.filter(|at| at[..2] == [layer, n]).unwrap_or_default();
                for artifact in self.files(task).await?.into_iter().skip(told as usize) {
                    if artifacts.len() == size {
                        let next_page_token = page::write([layer, n, told]);
                        return Ok(Response::new(v1::ListArtifactsResponse { artifacts, next_page_token }));
                    }
                    artifacts.push(convert::artifact(artifact));
                    told += 1;
                }
                at = Some([layer, n, told]);
            }
            if last_page {
                return Ok(Response::new(v1::ListArtifactsResponse {
                    artifacts,
                    next_page_token: String::new(),
                }));
            }
        }
    }

    type GetArtifactStream = Chunks;

    async fn get_artifact(
        &self,
        request: Request<v1::GetArtifactRequest>,
    ) -> Result<Response<Chunks>, Status> {
        let call = Call::of(&request);
        let path = request.into_inner().path;
        call.about(&path);
        let place = self.place()?;
        let location = paths::public(&path).ok_or_else(|| {
            invalid("path", format!("'{path}' is no published file: give a path as ListArtifacts does"))
        })?;
        if !call.caller().sees_all() {
            shown::to(&call, &*self.store, &location).await?;
        }
        let found = self.store.get(&location).await.map_err(|error| refusal(&path, error))?;
        Ok(Response::new(chunks(found, path, place)))
    }

    type GetCheckpointStream = Chunks;

    async fn get_checkpoint(
        &self,
        request: Request<v1::GetCheckpointRequest>,
    ) -> Result<Response<Chunks>, Status> {
        let call = Call::of(&request);
        let v1::GetCheckpointRequest { attempt, skip } = request.into_inner();
        let place = self.place()?;
        let location = checkpoints::find(&self.handle, &call, &*self.store, attempt, skip).await?;
        let path = location.to_string();
        let found = self.store.get(&location).await.map_err(|error| refusal(&path, error))?;
        Ok(Response::new(chunks(found, path, place)))
    }

    async fn put_checkpoint(
        &self,
        request: Request<Streaming<v1::PutArtifactRequest>>,
    ) -> Result<Response<v1::PutArtifactResponse>, Status> {
        let _place = self.place()?;
        let call = Call::of(&request);
        let kept =
            upload::receive(&self.handle, &call, &self.store, request.into_inner(), checkpoints::place)
                .await?;
        checkpoints::forget_older(&*self.store, &kept.place).await;
        Ok(Response::new(v1::PutArtifactResponse { artifact: Some(convert::artifact(kept.artifact)) }))
    }

    async fn put_artifact(
        &self,
        request: Request<Streaming<v1::PutArtifactRequest>>,
    ) -> Result<Response<v1::PutArtifactResponse>, Status> {
        let _place = self.place()?;
        let call = Call::of(&request);
        let kept =
            upload::receive(&self.handle, &call, &self.store, request.into_inner(), upload::place).await?;
        Ok(Response::new(v1::PutArtifactResponse { artifact: Some(convert::artifact(kept.artifact)) }))
    }
}

impl Artifacts {
    /// The published files of a task, as its sidecar lists them, the sidecar last.
    async fn files(&self, task: TaskView) -> Result<Vec<Artifact>, Status> {
        let Some(published) = task.published else { return Ok(Vec::new()) };
        let path = &published.sidecar.path;
        let location = paths::public(path).ok_or_else(|| not_found("artifact", path))?;
        let listed = Sidecar::read(&*self.store, &location).await.map_err(|error| refusal(path, error))?;
        let mut files = listed.files;
        files.push(published.sidecar);
        Ok(files)
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, Status> {
        let place = self.transfers.clone().try_acquire_owned();
        place.map_err(|_| {
            exhausted("transfers", format!("{TRANSFERS} files are on their way already; try again"))
        })
    }
}

/// The next succeeded tasks, that of `from` included.
fn published(
    farm: &croft_core::farm::Farm,
    job: &croft_core::ids::JobId,
    from: Option<[u64; 3]>,
) -> Option<Vec<TaskView>> {
    let selector = Selector { states: vec![TaskState::Succeeded], ..Selector::default() };
    let Some([layer, task, _]) = from else { return farm.tasks(job, &selector, None, TASKS) };
    let id = croft_core::ids::TaskId {
        job: job.clone(),
        layer: u32::try_from(layer).ok()?,
        task: u32::try_from(task).ok()?,
    };
    let mut tasks = farm.tasks(job, &selector, Some(&id), TASKS)?;
    if let Some(begun) = farm.task(&id).filter(|task| task.state == TaskState::Succeeded) {
        tasks.insert(0, begun);
    }
    Some(tasks)
}

/// A file of the store, in messages; `place` is held as long as they are read.
fn chunks(found: GetResult, path: String, place: OwnedSemaphorePermit) -> Chunks {
    Box::pin(found.into_stream().flat_map(move |read| {
        let _ = &place;
        match read {
            Ok(bytes) => stream::iter(cut(bytes)).left_stream(),
            Err(error) => stream::iter([Err(refusal(&path, error))]).right_stream(),
        }
    }))
}

fn cut(bytes: Bytes) -> impl Iterator<Item = Result<v1::GetArtifactResponse, Status>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        (!rest.is_empty()).then(|| {
            let data = rest.split_to(rest.len().min(CHUNK));
            Ok(v1::GetArtifactResponse { data })
        })
    })
}

/// What a client is told of a store's error: not its inner workings, those are in the log.
fn refusal(path: &str, error: StoreError) -> Status {
    match error {
        StoreError::NotFound { .. } => not_found("artifact", path),
        StoreError::InvalidPath { .. } => invalid("path", format!("'{path}' is no path")),
        error => {
            tracing::warn!(path, %error, "artifact store");
            Status::unavailable(format!("the artifact store did not deliver '{path}'; try again"))
        }
    }
}
