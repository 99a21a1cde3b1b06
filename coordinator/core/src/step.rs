//! What goes into the mind and what comes out: events in; writes, commands and updates out.

use serde::{Deserialize, Serialize};

use crate::{
    audit::Entry,
    failure::Failure,
    ids::{AttemptId, DeviceId, JobId, SessionId, TaskId, WorkerId},
    model_card::{Makes, Params},
    plan::Plan,
    show::ShowSettings,
    split::{Link, Mode, Residency},
    time::Time,
    usage::Usage,
    worker::LockKind,
};

/// Something that happened. The shell makes these from requests, messages and its clock.
#[derive(Debug, Clone)]
pub enum Event {
    /// A checked and planned job. A known `request_id` changes nothing: the update names the job it made then.
    JobSubmitted {
        request_id: String,
        plan: Box<Plan>,
        /// Where its spans belong, for the shell to read; empty for nowhere.
        trace: String,
    },
    /// `now` kills running attempts; otherwise they stop after their denoise step.
    JobCancelled {
        job: JobId,
        now: bool,
    },
    /// Failed or cancelled tasks get a fresh retry budget and are queued again.
    TasksRetried {
        job: JobId,
        tasks: Vec<TaskId>,
    },
    /// Tasks that will not be rendered; those that wait for them go on as if they had been. Running ones are stopped.
    TasksSkipped {
        job: JobId,
        tasks: Vec<TaskId>,
    },
    /// A paused job starts nothing new; what runs, runs on.
    JobPaused {
        job: JobId,
        paused: bool,
    },
    JobUpdated {
        job: JobId,
        /// 0 to 100.
        priority: u32,
    },
    ShowSet {
        show: String,
        settings: ShowSettings,
    },
    /// How many of a counted thing there are; `None` takes it away.
    LimitSet {
        limit: String,
        max: Option<u32>,
    },
    /// Somebody locks a worker or unlocks it. `give_back` takes what runs there to other workers, at no cost in tries.
    WorkerSet {
        worker: WorkerId,
        lock: LockKind,
        on: bool,
        reason: String,
        give_back: bool,
    },
    WorkerJoined(Box<Joined>),
    /// Any message of a session is a sign of life; this one is nothing else.
    WorkerHeard {
        session: SessionId,
    },
    /// The stream ended. `goodbye` when the worker said so itself.
    WorkerLeft {
        session: SessionId,
        goodbye: bool,
    },
    DeviceReported {
        session: SessionId,
        index: u32,
        resident_models: Vec<String>,
    },
    AttemptProgressed {
        session: SessionId,
        attempt: AttemptId,
        rank: u32,
        stage: Stage,
        step: u32,
        steps: u32,
    },
    /// A rank is done. Rank 0 has saved the files under the attempt's prefix; they are not published yet.
    AttemptSaved {
        session: SessionId,
        attempt: AttemptId,
        rank: u32,
        artifacts: Vec<Artifact>,
        times: Times,
        /// Memory that it held at most; 0 where nobody says.
        peak_bytes: u64,
    },
    AttemptFailed {
        session: SessionId,
        attempt: AttemptId,
        rank: u32,
        failure: Failure,
    },
    /// The answer to [`Command::Publish`].
    Published {
        attempt: AttemptId,
        outcome: Result<Published, Failure>,
    },
    /// Somebody may become known by the name that certificates write so, once, until `expires`.
    Invited {
        hash: String,
        name: String,
        expires: Time,
    },
    /// Somebody shows the secret of this hash; what came of it is told by [`crate::farm::Farm::admitted`].
    InvitationShown {
        hash: String,
        request: String,
    },
    /// For the book of who did what.
    Noted(Box<Entry>),
    /// Time passed: leases and deadlines are checked, and free devices are given work. The shell sends one at the
    /// end of each batch of events and at least every [`TICK_MS`].
    Tick,
}

/// The shell's longest silence between two [`Event::Tick`]s.
pub const TICK_MS: u64 = 200;

/// A worker's hello.
#[derive(Debug, Clone)]
pub struct Joined {
    pub session: SessionId,
    pub worker: WorkerId,
    pub incarnation: String,
    pub host: String,
    pub version: String,
    pub tags: Vec<String>,
    pub devices: Vec<DeviceInfo>,
    /// Between its devices, where it says.
    pub link: Option<Link>,
    /// What it still runs from an earlier session, by rank: adopted or revoked.
    pub running: Vec<(AttemptId, u32)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceInfo {
    pub index: u32,
    pub kind: String,
    pub model: String,
    pub memory_bytes: u64,
    pub threads: u32,
    pub resident_models: Vec<String>,
    /// What it delivers, billions of floating-point operations a second; 0 where nobody says.
    #[serde(default)]
    pub gflops: u64,
}

/// What an attempt is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stage {
    Load,
    Encode,
    Denoise,
    Decode,
    Save,
}

/// Wall times of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Times {
    pub load_ms: u64,
    pub encode_ms: u64,
    pub denoise_ms: u64,
    pub decode_ms: u64,
    pub save_ms: u64,
}

/// A file of an attempt (path under its prefix) or of a published task (path in the store).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    pub path: String,
    pub size_bytes: u64,
    /// sha256, hex.
    pub digest: String,
    pub media_type: String,
}

/// What a published task left: its sidecar, which lists all its files with their digests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    pub sidecar: Artifact,
    /// Without the sidecar.
    pub files: u32,
    pub bytes: u64,
}

/// What one call of [`crate::farm::Farm::apply`] asks of the shell. The shell applies a batch of events, ends it
/// with [`Event::Tick`], with which the batch's writes come, makes them durable, and only then performs the batch's
/// commands and shows its updates.
#[derive(Debug, Default)]
pub struct Step {
    pub writes: Vec<Write>,
    pub commands: Vec<Command>,
    pub updates: Vec<Update>,
}

/// One key of the state store; `None` removes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub key: String,
    pub value: Option<Vec<u8>>,
}

#[derive(Debug)]
pub enum Command {
    Welcome {
        session: SessionId,
    },
    /// The session ends, and why; the worker is told.
    Refuse {
        session: SessionId,
        reason: String,
    },
    /// The stream ends; the worker may dial again. For one that was silent past its lease.
    HangUp {
        session: SessionId,
    },
    Start(Box<Assignment>),
    Revoke {
        session: SessionId,
        attempt: AttemptId,
        now: bool,
    },
    /// Put the attempt's files where they belong, each by a conditional put, the sidecar last; answered by
    /// [`Event::Published`]. The list of files is in `{prefix}/{sidecar.path}`, whose digest the store of states holds:
    /// so a coordinator that takes over can publish what the one before it decided.
    Publish {
        attempt: AttemptId,
        prefix: String,
        sidecar: Artifact,
        output: Output,
    },
    /// Remove what a failed, lost or beaten attempt left under its prefix. No answer; best effort.
    Collect {
        prefix: String,
    },
}

/// One rank of an attempt, for one device.
#[derive(Debug, Clone)]
pub struct Assignment {
    pub session: SessionId,
    pub device: DeviceId,
    pub attempt: AttemptId,
    pub rank: u32,
    /// Of the whole attempt.
    pub ranks: u32,
    pub mode: Mode,
    /// How long the parts of the model stay in memory: the same for all ranks.
    pub residency: Residency,
    /// How much of the model each rank takes; all alike unless their devices are too different for that.
    pub shares: Vec<u32>,
    pub recipe: Recipe,
    /// Where the attempt saves: `.attempts/{job}/{layer}/{task}/{number}-{fence}`.
    pub prefix: String,
    /// The sidecar's fixed part as a JSON object: spec digest, job, show, layer, task, axes.
    pub sidecar: String,
    pub timeout_total_ms: u64,
    pub timeout_no_progress_ms: u64,
}

/// One task, resolved: all that a rank needs, nothing of the farm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    pub model: String,
    pub model_digest: String,
    pub prompt: String,
    pub negative_prompt: String,
    pub seed: u64,
    pub params: Params,
    pub dtype: String,
    pub output: Output,
}

/// Where one task's files go, relative to the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    pub makes: Makes,
    /// For a clip: the folder of its frames, `{folder}/0001.png` ….
    pub frames_dir: String,
    /// For a still: its file.
    pub still: String,
    pub preview: String,
    pub sidecar: String,
    pub png_bits: u8,
}

/// An attempt that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    pub attempt: AttemptId,
    pub show: String,
    /// By rank.
    pub devices: Vec<DeviceId>,
    /// Of its job.
    pub submitted: Time,
    pub started: Time,
    pub ended: Time,
    /// `None` when it succeeded.
    pub failure: Option<Failure>,
    /// Whether its task goes back in line.
    pub again: bool,
    pub usage: Usage,
    pub times: Times,
}

/// Something a watcher may want to hear of. The shell reads the details from the farm's views when it tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// The answer to a submission: the job of that request, new or known.
    Accepted {
        request_id: String,
        job: JobId,
    },
    Job {
        job: JobId,
    },
    Task {
        task: TaskId,
    },
    /// For those who keep an eye on the farm: once an attempt, whatever ended it.
    Ended(Box<Ending>),
    Progress {
        task: TaskId,
        attempt: u32,
        device: DeviceId,
        stage: Stage,
        step: u32,
        steps: u32,
    },
}
