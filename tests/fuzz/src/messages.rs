//! Every message of the proto package by its number: bytes in, the message, the same bytes for ever after.

use croft_proto::v1;
use prost::Message;

macro_rules! messages {
    ($($name:ident),* $(,)?) => {
        /// All messages of `croft.v1`; a test compares them with the descriptors.
        pub const NAMES: &[&str] = &[$(stringify!($name)),*];

        const READERS: &[fn(&[u8])] = &[$(again::<v1::$name>),*];
    };
}

// New ones go to the end: a seed names its message by its number.
messages!(
    ParamValue,
    Recipe,
    OutputPlan,
    Artifact,
    Failure,
    AttemptTimes,
    ListArtifactsRequest,
    ListArtifactsResponse,
    GetArtifactRequest,
    GetArtifactResponse,
    GetCheckpointRequest,
    PutArtifactRequest,
    PutArtifactHeader,
    PutArtifactResponse,
    AttemptRef,
    StreamLogsRequest,
    LogChunk,
    LogWish,
    RankLog,
    CreateJobRequest,
    PlanJobRequest,
    JobPlan,
    LayerPlan,
    TaskCounts,
    Job,
    Layer,
    Task,
    Attempt,
    GetJobRequest,
    ListJobsRequest,
    ListJobsResponse,
    CancelJobRequest,
    TaskSelector,
    ListTasksRequest,
    ListTasksResponse,
    GetTaskRequest,
    RetryTasksRequest,
    RetryTasksResponse,
    WatchJobRequest,
    JobEvent,
    TaskProgress,
    SkipTasksRequest,
    SkipTasksResponse,
    PauseJobRequest,
    ResumeJobRequest,
    UpdateJobRequest,
    ExplainWaitRequest,
    ExplainWaitResponse,
    WaitExplanation,
    ListUsageRequest,
    ListUsageResponse,
    Usage,
    Worker,
    Device,
    ListWorkersRequest,
    ListWorkersResponse,
    GetWorkerRequest,
    GetFarmStatusRequest,
    FarmStatus,
    Lock,
    LockWorkerRequest,
    UnlockWorkerRequest,
    DrainWorkerRequest,
    Show,
    ListShowsRequest,
    ListShowsResponse,
    UpdateShowRequest,
    Limit,
    ListLimitsRequest,
    ListLimitsResponse,
    SetLimitRequest,
    DeleteLimitRequest,
    DeleteLimitResponse,
    AuditEvent,
    ListAuditEventsRequest,
    ListAuditEventsResponse,
    WorkerMessage,
    RankAddress,
    NimbyLock,
    Hello,
    DeviceInfo,
    Link,
    Heartbeat,
    DeviceFigures,
    Goodbye,
    AttemptProgress,
    AttemptDone,
    AttemptFailed,
    DeviceReport,
    CoordinatorMessage,
    GangJoin,
    Welcome,
    Assignments,
    Assignment,
    Revoke,
    Refused,
    CreateTokenRequest,
    User,
    Token,
    JoinRequest,
    JoinResponse,
    RenewRequest,
    RenewResponse,
    ToRank,
    RankJoin,
    RankGang,
    RankRender,
    RankCancel,
    RankShutdown,
    FromRank,
    RankListens,
    RankReady,
    RankProgress,
    RankCheckpoint,
    RankDone,
    RankResumed,
    RankFailed
);

/// Reads `bytes` as the message of that number, if there is one.
pub fn read(number: u8, bytes: &[u8]) {
    if let Some(reader) = READERS.get(usize::from(number)) {
        reader(bytes);
    }
}

/// What was read is written, and read again as the same. Bytes are compared, for some numbers are unequal to themselves.
fn again<M: Message + Default>(bytes: &[u8]) {
    let Ok(message) = M::decode(bytes) else { return };
    let written = message.encode_to_vec();
    assert_eq!(written.len(), message.encoded_len());
    let read = M::decode(&*written).expect("what was written is read");
    assert_eq!(read.encode_to_vec(), written);
}
