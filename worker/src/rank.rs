//! A rank's process: started with one end of a socket pair, watched, and ended. Several renders may be under way in it, each
//! of which hears what is said of it alone. How the process ended is told in words; whether another one is started is for
//! its device to say.

mod log;
mod render;

use std::{
    io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    path::Path,
    process::{ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use command_fds::{CommandFdExt, FdMapping};
use croft_proto::{
    frame,
    v1::{FromRank, ToRank, from_rank, to_rank},
};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::{
    net::{UnixStream, unix::OwnedWriteHalf},
    process::{Child, Command},
    sync::{Mutex, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use self::{log::Log, render::Routes};
use crate::{inventory::Place, logs::Logs, scratch::Scratch};
pub(crate) use render::Render;

/// The descriptor that a rank finds its socket on.
const FD: i32 = 3;
/// What a rank has asked the system for and does not use: stacks of its threads, arenas of the allocator.
const UNUSED_BYTES: u64 = 256 << 20;
/// What a fresh process gets to say that it is ready.
const READY: Duration = Duration::from_secs(30);
/// What an ended process gets to be gone.
const GONE: Duration = Duration::from_secs(5);
/// What its log gets to be read to the end after that.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a rank's process is started from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Program<'a> {
    pub(crate) program: &'a Path,
    pub(crate) args: &'a [String],
    /// On top of the worker's own.
    pub(crate) environment: &'a [(String, String)],
    /// What it computes on.
    pub(crate) place: &'a Place,
}

/// A running rank. Dropping the last hold on it kills the process.
#[derive(Debug)]
pub(crate) struct Rank {
    to: Mutex<OwnedWriteHalf>,
    routes: Arc<Routes>,
    renders: AtomicU64,
    engine_version: String,
    process: Option<u32>,
    is_for_gangs: bool,
    log: Arc<Log>,
    /// No other render is to begin in it.
    is_spent: AtomicBool,
    /// Somebody has taken its end upon him.
    is_answered_for: AtomicBool,
    kill: CancellationToken,
    life: watch::Receiver<Life>,
    /// The readers of its socket and of its log, and the warden of the process.
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
enum Life {
    Runs,
    /// How it ended.
    Ended(String),
    /// And its log was read to the end.
    Silent(String),
}

impl Rank {
    /// Starts it with `--fd 3 --threads N --scratch DIR`, `--device` for another than the processor, and `--gang` where it is
    /// to reach others, and waits until it is ready. What it says goes to `logs`.
    pub(crate) async fn start(
        program: Program<'_>,
        threads: u32,
        device: u32,
        scratch: &Scratch,
        logs: &Arc<Logs>,
        is_for_gangs: bool,
    ) -> io::Result<Arc<Self>> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (mut from, to) = UnixStream::from_std(ours)?.into_split();
        let mut command = Command::new(program.program);
        command
            .args(program.args)
            // One heap for all threads: what one has let go of is another's to use, and a render's peak is what it needs.
            .env("MALLOC_ARENA_MAX", "1")
            .envs(program.environment.iter().map(|(name, value)| (name, value)))
            .envs(program.place.environment())
            .args(["--fd", &FD.to_string(), "--threads", &threads.to_string(), "--scratch"])
            .arg(scratch.attempts())
            .args(is_for_gangs.then_some("--gang"))
            .args(program.place.arguments())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C on a terminal is for the worker, which ends its ranks in order.
            .process_group(0)
            .kill_on_drop(true);
        let mapping = FdMapping { parent_fd: OwnedFd::from(theirs), child_fd: FD };
        command.as_std_mut().fd_mappings(vec![mapping]).map_err(io::Error::other)?;
        let mut child = command.spawn()?;
        // The command holds the rank's end of the socket open; the rank alone must.
        drop(command);
        let process = child.id();
        let log = Arc::new(Log::open(logs, device));
        let mut readers = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            let log = Arc::clone(&log);
            readers.spawn(async move { log.read(stdout).await });
        }
        if let Some(stderr) = child.stderr.take() {
            let log = Arc::clone(&log);
            readers.spawn(async move { log.read(stderr).await });
        }
        let kill = CancellationToken::new();
        let (ends, life) = watch::channel(Life::Runs);
        let mut tasks = JoinSet::new();
        tasks.spawn(guard(child, readers, kill.clone(), ends));
        let mut rank = Self {
            to: Mutex::new(to),
            routes: Arc::default(),
            renders: AtomicU64::new(0),
            engine_version: String::new(),
            process,
            is_for_gangs,
            log,
            is_spent: AtomicBool::new(false),
            is_answered_for: AtomicBool::new(false),
            kill,
            life,
            _tasks: tasks,
        };
        match timeout(READY, frame::receive(&mut from)).await {
            Ok(Ok(Some(FromRank { what: Some(from_rank::What::Ready(ready)) }))) => {
                rank.engine_version = ready.engine_version;
            }
            Ok(_) => return Err(io::Error::other(rank.how_it_ended().await)),
            Err(_) => return Err(io::Error::other(format!("it was not ready after {} s", READY.as_secs()))),
        }
        let routes = Arc::clone(&rank.routes);
        rank._tasks.spawn(async move { routes.listen(from).await });
        Ok(Arc::new(rank))
    }

    /// Whether it reaches the ranks of other workers; one that does not can be made to by starting another.
    pub(crate) fn is_for_gangs(&self) -> bool {
        self.is_for_gangs
    }

    /// Lets it hold no more than `bytes`, and what its threads and libraries have asked for without using it: past that it
    /// ends by itself, before the machine is out of memory.
    pub(crate) fn bound(&self, bytes: u64) -> io::Result<()> {
        let pid = self.process.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let Some(pid) = pid else { return Ok(()) };
        let most = Some(bytes.saturating_add(UNUSED_BYTES));
        prlimit(Some(pid), Resource::Data, Rlimit { current: most, maximum: most })?;
        Ok(())
    }

    pub(crate) fn engine_version(&self) -> &str {
        &self.engine_version
    }

    /// The number of its process, which may have ended.
    pub(crate) fn process(&self) -> Option<u32> {
        self.process
    }

    /// The model that it has loaded, as recipes name it; empty for none.
    pub(crate) fn resident(&self) -> String {
        self.routes.resident()
    }

    /// Nothing more is to begin in it: its engine panicked, or may have.
    pub(crate) fn retire(&self) {
        self.is_spent.store(true, Ordering::Relaxed);
        self.answer_for();
    }

    /// Whether nothing more is to begin in it.
    pub(crate) fn is_spent(&self) -> bool {
        self.is_spent.load(Ordering::Relaxed) || !matches!(*self.life.borrow(), Life::Runs)
    }

    /// Whether the caller is the first to account for the end of the process: it is one end, however many renders it
    /// takes with it, and costs one of them a try.
    pub(crate) fn answer_for(&self) -> bool {
        !self.is_answered_for.swap(true, Ordering::Relaxed)
    }

    /// Ends the process at once, and what renders in it.
    pub(crate) async fn kill(&self) {
        self.retire();
        self.kill.cancel();
        // One that is gone already is what was wanted.
        let _ = timeout(GONE, self.life.clone().wait_for(|life| !matches!(life, Life::Runs))).await;
    }

    /// Returns when its process has ended.
    pub(crate) async fn ended(&self) {
        let _ = self.life.clone().wait_for(|life| !matches!(life, Life::Runs)).await;
    }

    /// Of a rank that went silent: how its process ended, with the last it said.
    pub(crate) async fn how_it_ended(&self) -> String {
        let mut life = self.life.clone();
        let silent = life.wait_for(|life| matches!(life, Life::Silent(_)));
        let how = match timeout(GONE + LAST_WORDS, silent).await {
            Ok(Ok(life)) => match &*life {
                Life::Ended(how) | Life::Silent(how) => how.clone(),
                Life::Runs => unreachable!("it was waited for"),
            },
            Ok(Err(_)) | Err(_) => "it closed its socket and stayed".to_owned(),
        };
        let last = self.log.last();
        if last.is_empty() { how } else { format!("{how}; it said: {last}") }
    }

    async fn say(&self, what: to_rank::What) -> Result<(), frame::Error> {
        frame::send(&mut *self.to.lock().await, &ToRank { what: Some(what) }).await
    }
}

/// Waits for the end of the process, or brings it about.
async fn guard(
    mut child: Child,
    mut readers: JoinSet<()>,
    kill: CancellationToken,
    ends: watch::Sender<Life>,
) {
    let ended = tokio::select! {
        ended = child.wait() => ended,
        () = kill.cancelled() => {
            // One that is gone already is what was wanted.
            let _ = child.start_kill();
            child.wait().await
        }
    };
    let how = ended.map_or_else(|error| error.to_string(), words);
    ends.send_replace(Life::Ended(how.clone()));
    // Its last words may still be in the pipe.
    let read = async { while readers.join_next().await.is_some() {} };
    let _ = timeout(LAST_WORDS, read).await;
    ends.send_replace(Life::Silent(how));
}

fn words(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => match name(signal) {
            Some(name) => format!("killed by {name}"),
            None => format!("killed by signal {signal}"),
        },
        (None, Some(code)) => format!("it ended with code {code}"),
        (None, None) => "it ended".to_owned(),
    }
}

/// The signals that end a process that did not ask for them.
fn name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGHUP => "SIGHUP",
        libc::SIGILL => "SIGILL",
        libc::SIGINT => "SIGINT",
        libc::SIGKILL => "SIGKILL",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGSYS => "SIGSYS",
        libc::SIGTERM => "SIGTERM",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        _ => return None,
    })
}
