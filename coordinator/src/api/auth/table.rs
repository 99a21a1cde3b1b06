//! What each method needs. A method without a row is refused to everybody; a test compares the rows with the protos.

use croft_core::access::{Need, Role};

/// One method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    /// As it is in the address of a request.
    pub(super) method: &'static str,
    pub(super) need: Need,
    /// Whether it changes the farm, so that what does not go through is worth a line in the book.
    pub(super) changes: bool,
}

const fn reads(method: &'static str, need: Need) -> Row {
    Row { method, need, changes: false }
}

const fn changes(method: &'static str, need: Need) -> Row {
    Row { method, need, changes: true }
}

const VIEWER: Need = Need::Person(Role::Viewer);
const ARTIST: Need = Need::Person(Role::Artist);
const WRANGLER: Need = Need::Person(Role::Wrangler);

/// What is not in it is no method of ours.
pub(super) const ROWS: &[Row] = &[
    changes("croft.v1.Jobs/CreateJob", ARTIST),
    reads("croft.v1.Jobs/PlanJob", VIEWER),
    reads("croft.v1.Jobs/GetJob", VIEWER),
    reads("croft.v1.Jobs/ListJobs", VIEWER),
    changes("croft.v1.Jobs/CancelJob", ARTIST),
    reads("croft.v1.Jobs/ListTasks", VIEWER),
    reads("croft.v1.Jobs/GetTask", VIEWER),
    changes("croft.v1.Jobs/RetryTasks", ARTIST),
    changes("croft.v1.Jobs/SkipTasks", ARTIST),
    changes("croft.v1.Jobs/PauseJob", ARTIST),
    changes("croft.v1.Jobs/ResumeJob", ARTIST),
    changes("croft.v1.Jobs/UpdateJob", ARTIST),
    reads("croft.v1.Jobs/ExplainWait", VIEWER),
    reads("croft.v1.Jobs/WatchJob", VIEWER),
    reads("croft.v1.Jobs/StreamLogs", VIEWER),
    reads("croft.v1.Artifacts/ListArtifacts", VIEWER),
    reads("croft.v1.Artifacts/GetArtifact", VIEWER),
    // A farm's pictures come by the thousand: the task's sidecar is their book.
    reads("croft.v1.Artifacts/PutArtifact", Need::Worker),
    reads("croft.v1.Artifacts/PutCheckpoint", Need::Worker),
    reads("croft.v1.Artifacts/GetCheckpoint", Need::Worker),
    reads("croft.v1.Farm/ListWorkers", VIEWER),
    reads("croft.v1.Farm/GetWorker", VIEWER),
    reads("croft.v1.Farm/GetFarmStatus", VIEWER),
    changes("croft.v1.Farm/LockWorker", WRANGLER),
    changes("croft.v1.Farm/UnlockWorker", WRANGLER),
    changes("croft.v1.Farm/DrainWorker", WRANGLER),
    reads("croft.v1.Farm/ListShows", VIEWER),
    changes("croft.v1.Farm/UpdateShow", WRANGLER),
    reads("croft.v1.Farm/ListLimits", VIEWER),
    changes("croft.v1.Farm/SetLimit", WRANGLER),
    changes("croft.v1.Farm/DeleteLimit", WRANGLER),
    reads("croft.v1.Farm/ListAuditEvents", WRANGLER),
    reads("croft.v1.Farm/ListUsage", VIEWER),
    changes("croft.v1.Dispatch/Session", Need::Worker),
    changes("croft.v1.Identity/CreateToken", WRANGLER),
    changes("croft.v1.Identity/Join", Need::Nothing),
    changes("croft.v1.Identity/Renew", Need::Worker),
    // Others' services. Health says that it answers, which a listening port says as well.
    reads("grpc.health.v1.Health/Check", Need::Nothing),
    reads("grpc.health.v1.Health/Watch", Need::Nothing),
    reads("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", VIEWER),
    reads("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", VIEWER),
];

/// The row of `/package.Service/Method`.
pub(super) fn row(path: &str) -> Option<&'static Row> {
    let method = path.strip_prefix('/')?;
    ROWS.iter().find(|row| row.method == method)
}
