//! A rank's process: started with one end of a socket pair, watched, and ended. How it ended is told in words; whether
//! another one is started is for its device to say.

mod log;

use std::{
    io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    path::Path,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use command_fds::{CommandFdExt, FdMapping};
use croft_proto::{
    frame,
    v1::{FromRank, RankCancel, RankJoin, RankRender, Stage, ToRank, from_rank, to_rank},
};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::{
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    process::{Child, Command},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};

use self::log::Log;

/// The descriptor that a rank finds its socket on.
const FD: i32 = 3;
/// What a rank has asked the system for and does not use: stacks of its threads, arenas of the allocator.
const UNUSED_BYTES: u64 = 256 << 20;
/// Messages of a rank that wait to be read.
const WAITING: usize = 64;
/// What a fresh process gets to say that it is ready.
const READY: Duration = Duration::from_secs(30);
/// What an ended process gets to be gone.
const GONE: Duration = Duration::from_secs(5);
/// What its log gets to be read to the end after that.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A running rank. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Rank {
    child: Child,
    to: OwnedWriteHalf,
    from: mpsc::Receiver<from_rank::What>,
    log: Arc<Log>,
    engine_version: String,
    renders: u64,
    /// The model of the newest render, and the one that is loaded; empty for none.
    asked: String,
    resident: String,
    /// The reader of its socket.
    _reader: JoinSet<()>,
    /// The readers of its standard streams.
    log_readers: JoinSet<()>,
}

impl Rank {
    /// Starts `program args… --fd 3 --threads N` and waits until it is ready. Its log goes into the folder `logs`.
    pub(crate) async fn start(
        program: &Path,
        args: &[String],
        threads: u32,
        device: u32,
        logs: &Path,
    ) -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (from_rank, to) = UnixStream::from_std(ours)?.into_split();
        let mut command = Command::new(program);
        command
            .args(args)
            .args(["--fd", &FD.to_string(), "--threads", &threads.to_string()])
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
        let log = Arc::new(Log::open(logs, device));
        let mut log_readers = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            let log = Arc::clone(&log);
            log_readers.spawn(async move { log.read(stdout).await });
        }
        if let Some(stderr) = child.stderr.take() {
            let log = Arc::clone(&log);
            log_readers.spawn(async move { log.read(stderr).await });
        }
        let (said, from) = mpsc::channel(WAITING);
        let mut reader = JoinSet::new();
        reader.spawn(listen(from_rank, said));
        let mut rank = Self {
            child,
            to,
            from,
            log,
            engine_version: String::new(),
            renders: 0,
            asked: String::new(),
            resident: String::new(),
            _reader: reader,
            log_readers,
        };
        match timeout(READY, rank.from.recv()).await {
            Ok(Some(from_rank::What::Ready(ready))) => {
                rank.engine_version = ready.engine_version;
                Ok(rank)
            }
            Ok(_) => Err(io::Error::other(rank.how_it_ended().await)),
            Err(_) => Err(io::Error::other(format!("it was not ready after {} s", READY.as_secs()))),
        }
    }

    /// Lets it hold no more than `bytes`, and what its threads and libraries have asked for without using it: past that it
    /// ends by itself, before the machine is out of memory.
    pub(crate) fn bound(&self, bytes: u64) -> io::Result<()> {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let Some(pid) = pid else { return Ok(()) };
        let most = Some(bytes.saturating_add(UNUSED_BYTES));
        prlimit(Some(pid), Resource::Data, Rlimit { current: most, maximum: most })?;
        Ok(())
    }

    pub(crate) fn engine_version(&self) -> &str {
        &self.engine_version
    }

    /// Asks for a render; gives its number.
    pub(crate) async fn render(&mut self, mut render: RankRender) -> Result<u64, frame::Error> {
        self.renders += 1;
        render.id = self.renders;
        self.asked = render.recipe.as_ref().map_or_else(String::new, |recipe| recipe.model.clone());
        let message = ToRank { what: Some(to_rank::What::Render(render)) };
        frame::send(&mut self.to, &message).await?;
        Ok(self.renders)
    }

    /// Tells a rank of a gang where all its ranks are.
    pub(crate) async fn join(&mut self, id: u64, addresses: Vec<String>) -> Result<(), frame::Error> {
        let message = ToRank { what: Some(to_rank::What::Join(RankJoin { id, addresses })) };
        frame::send(&mut self.to, &message).await
    }

    /// Asks a render to end after its step.
    pub(crate) async fn cancel(&mut self, id: u64) -> Result<(), frame::Error> {
        let message = ToRank { what: Some(to_rank::What::Cancel(RankCancel { id })) };
        frame::send(&mut self.to, &message).await
    }

    /// What it says next; `None` when it has ended. Dropped half-way it loses nothing.
    pub(crate) async fn next(&mut self) -> Option<from_rank::What> {
        let said = self.from.recv().await;
        if let Some(from_rank::What::Progress(progress)) = &said {
            match progress.stage() {
                // The old weights go before the new ones come.
                Stage::Load => self.resident.clear(),
                Stage::Encode | Stage::Denoise | Stage::Decode => self.resident.clone_from(&self.asked),
                Stage::Save | Stage::Unspecified => {}
            }
        }
        said
    }

    /// The model that it has loaded, as recipes name it; empty for none.
    pub(crate) fn resident(&self) -> &str {
        &self.resident
    }

    /// Ends the process at once.
    pub(crate) async fn kill(mut self) {
        // One that is gone already is what was wanted.
        let _ = self.child.start_kill();
        let _ = timeout(GONE, self.child.wait()).await;
    }

    /// Of a rank that went silent: how its process ended, with the last it said.
    pub(crate) async fn how_it_ended(&mut self) -> String {
        let how = match timeout(GONE, self.child.wait()).await {
            Ok(Ok(status)) => words(status),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it closed its socket and stayed".to_owned(),
        };
        // Its last words may still be in the pipe.
        let read = async { while self.log_readers.join_next().await.is_some() {} };
        let _ = timeout(LAST_WORDS, read).await;
        let last = self.log.last();
        if last.is_empty() { how } else { format!("{how}; it said: {last}") }
    }
}

async fn listen(mut stream: OwnedReadHalf, said: mpsc::Sender<from_rank::What>) {
    loop {
        match frame::receive(&mut stream).await {
            Ok(Some(FromRank { what: Some(what) })) => {
                if said.send(what).await.is_err() {
                    return;
                }
            }
            // Of a newer rank.
            Ok(Some(FromRank { what: None })) => {}
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "a rank is not understood");
                return;
            }
        }
    }
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
