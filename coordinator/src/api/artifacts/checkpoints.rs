//! Steps that a task's attempts leave to the next one, for workers that do not see the store.
//!
//! They belong to the task: an attempt that was ended still hands over its last step, and whoever reads one sees by its
//! header whether it is of the same render.

use croft_core::{farm::Farm, ids::AttemptId};
use croft_proto::v1;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use tonic::Status;

use super::{
    super::{
        auth::Call,
        convert,
        status::{invalid, not_found},
    },
    refusal, upload,
};
use crate::{handle::Handle, sweep::CHECKPOINTS};

const SUFFIX: &str = ".safetensors";
/// Digits of a step, so that their names are in their order.
const DIGITS: usize = 5;

/// Among the task's steps, as long as the task is not done.
pub(super) fn place(farm: &Farm, attempt: &AttemptId, path: &str) -> Result<Path, Status> {
    let step = path.strip_suffix(SUFFIX).unwrap_or_default();
    if step.len() != DIGITS || !step.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid("header.path", format!("'{path}' is no step: write it as 00040{SUFFIX}")));
    }
    let folder = folder(farm, attempt).ok_or_else(|| upload::counts_no_more(&attempt.task.job))?;
    Ok(folder.join(path))
}

/// The newest step of a task but `skip`.
pub(super) async fn find(
    handle: &Handle,
    call: &Call,
    store: &dyn ObjectStore,
    attempt: Option<v1::AttemptRef>,
    skip: u32,
) -> Result<Path, Status> {
    let named = attempt.and_then(convert::attempt).ok_or_else(|| invalid("attempt", "is no attempt"))?;
    let any = |farm: &Farm, attempt: &AttemptId, _: &str| {
        folder(farm, attempt).ok_or_else(|| upload::counts_no_more(&attempt.task.job))
    };
    let folder = upload::find(handle, call, &named, "", any).await?;
    let mut steps = steps(store, &folder).await.map_err(|error| refusal(folder.as_ref(), error))?;
    steps.sort_unstable();
    let newest = steps.into_iter().rev().nth(skip as usize);
    newest.ok_or_else(|| not_found("checkpoint", folder.as_ref()))
}

/// Steps before that at `newest` are of no use any more.
pub(super) async fn forget_older(store: &dyn ObjectStore, newest: &Path) {
    let folder: Path = newest.parts().take(newest.parts().count() - 1).collect();
    // What stays goes with its task.
    for step in steps(store, &folder).await.unwrap_or_default() {
        if step < *newest {
            let _ = store.delete(&step).await;
        }
    }
}

fn folder(farm: &Farm, attempt: &AttemptId) -> Option<Path> {
    farm.task(&attempt.task).filter(|task| !task.state.settled())?;
    let prefix = farm.prefix(attempt);
    let (task, _) = prefix.rsplit_once('/')?;
    Path::parse(format!("{task}/{CHECKPOINTS}")).ok()
}

async fn steps(store: &dyn ObjectStore, folder: &Path) -> Result<Vec<Path>, object_store::Error> {
    store.list(Some(folder)).map_ok(|file| file.location).try_collect().await
}
