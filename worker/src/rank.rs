//! A rank's process: started with one end of a socket pair, watched, and ended. What it says on its standard error goes
//! into the worker's log; the last lines are kept for the message of a crash.

use std::{
    collections::VecDeque,
    io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    path::Path,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use command_fds::{CommandFdExt, FdMapping};
use croft_proto::{
    frame,
    v1::{FromRank, RankCancel, RankRender, ToRank, from_rank, to_rank},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::{UnixStream, unix::OwnedWriteHalf},
    process::{Child, ChildStderr, Command},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};

/// The descriptor that a rank finds its socket on.
const FD: i32 = 3;
/// Messages of a rank that wait to be read.
const WAITING: usize = 64;
/// Lines of its log that a crash shows.
const LINES_KEPT: usize = 8;
/// A line longer than this is cut.
const LINE_CHARS_MAX: usize = 400;
/// What a fresh process gets to say that it is ready.
const READY: Duration = Duration::from_secs(30);
/// What an ended process gets to be gone.
const GONE: Duration = Duration::from_secs(5);

/// A running rank. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Rank {
    child: Child,
    to: OwnedWriteHalf,
    from: mpsc::Receiver<from_rank::What>,
    lines: Arc<Mutex<VecDeque<String>>>,
    engine_version: String,
    renders: u64,
    /// The reader of its socket and the reader of its log.
    _readers: JoinSet<()>,
}

impl Rank {
    /// Starts `program args… --fd 3 --threads N` and waits until it is ready.
    pub(crate) async fn start(
        program: &Path,
        args: &[String],
        threads: u32,
        device: u32,
    ) -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (from_rank, to) = UnixStream::from_std(ours)?.into_split();
        let mut command = Command::new(program);
        command
            .args(args)
            .args(["--fd", &FD.to_string(), "--threads", &threads.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mapping = FdMapping { parent_fd: OwnedFd::from(theirs), child_fd: FD };
        command.as_std_mut().fd_mappings(vec![mapping]).map_err(io::Error::other)?;
        let mut child = command.spawn()?;
        // The command holds the rank's end of the socket open; the rank alone must.
        drop(command);
        let log = child.stderr.take();
        let (said, from) = mpsc::channel(WAITING);
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let mut readers = JoinSet::new();
        readers.spawn(async move {
            let mut stream = from_rank;
            while let Ok(Some(FromRank { what })) = frame::receive(&mut stream).await {
                let Some(what) = what else { continue };
                if said.send(what).await.is_err() {
                    return;
                }
            }
        });
        if let Some(log) = log {
            readers.spawn(read_log(log, Arc::clone(&lines), device));
        }
        let mut rank =
            Self { child, to, from, lines, engine_version: String::new(), renders: 0, _readers: readers };
        match timeout(READY, rank.from.recv()).await {
            Ok(Some(from_rank::What::Ready(ready))) => {
                rank.engine_version = ready.engine_version;
                Ok(rank)
            }
            Ok(_) => Err(io::Error::other(rank.how_it_ended().await)),
            Err(_) => Err(io::Error::other(format!("it was not ready after {} s", READY.as_secs()))),
        }
    }

    pub(crate) fn engine_version(&self) -> &str {
        &self.engine_version
    }

    /// Asks for a render; gives its number.
    pub(crate) async fn render(&mut self, mut render: RankRender) -> Result<u64, frame::Error> {
        self.renders += 1;
        render.id = self.renders;
        let message = ToRank { what: Some(to_rank::What::Render(render)) };
        frame::send(&mut self.to, &message).await?;
        Ok(self.renders)
    }

    /// Asks a render to end after its step.
    pub(crate) async fn cancel(&mut self, id: u64) -> Result<(), frame::Error> {
        let message = ToRank { what: Some(to_rank::What::Cancel(RankCancel { id })) };
        frame::send(&mut self.to, &message).await
    }

    /// What it says next; `None` when it has ended.
    pub(crate) async fn next(&mut self) -> Option<from_rank::What> {
        self.from.recv().await
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
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.is_empty() {
            return how;
        }
        let last: Vec<&str> = lines.iter().map(String::as_str).collect();
        format!("{how}; it said: {}", last.join(" | "))
    }
}

async fn read_log(log: ChildStderr, kept: Arc<Mutex<VecDeque<String>>>, device: u32) {
    let mut lines = BufReader::new(log).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let line: String = line.chars().take(LINE_CHARS_MAX).collect();
        tracing::info!(target: "croft_rank", device, rank = 0, "{line}");
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == LINES_KEPT {
            kept.pop_front();
        }
        kept.push_back(line);
    }
}

fn words(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(libc::SIGKILL), _) => "killed by SIGKILL".to_owned(),
        (Some(libc::SIGSEGV), _) => "killed by SIGSEGV".to_owned(),
        (Some(libc::SIGBUS), _) => "killed by SIGBUS".to_owned(),
        (Some(libc::SIGILL), _) => "killed by SIGILL".to_owned(),
        (Some(signal), _) => format!("killed by signal {signal}"),
        (None, Some(code)) => format!("it ended with code {code}"),
        (None, None) => "it ended".to_owned(),
    }
}
