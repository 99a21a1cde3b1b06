//! One attempt, from its assignment to its ending: render, save, report. Every wait in it has an end.

mod gather;
mod keep;
mod save;
#[cfg(test)]
mod tests;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use croft_proto::{
    egress::Networks,
    v1::{
        Artifact, Assignment, AttemptRef, AttemptTimes, ExitCause, Failure, GangJoin, RankDone, RankGang,
        RankRender, Revoke, WorkerMessage, from_rank,
    },
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use self::{
    gather::{Gather, Word},
    keep::Keep,
};
use crate::{
    clock, convert,
    rank::{Rank, Render},
    scratch::Scratch,
    sidecar::Circumstances,
    target::Target,
    trace::Tale,
};

/// What a rank gets to end its step after a cancel.
const STEP: Duration = Duration::from_secs(60);
/// What the other ranks of a gang that broke get to say why.
const PEERS: Duration = Duration::from_secs(1);
/// A deadline of none: far beyond any render.
const NEVER: Duration = Duration::from_secs(366 * 24 * 3600);

/// What one attempt works with.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    pub(crate) worker: &'a str,
    pub(crate) device: u32,
    pub(crate) threads: u32,
    pub(crate) scratch: &'a Scratch,
    pub(crate) target: &'a Target,
    /// Progress goes here; dropped where nobody listens.
    pub(crate) said: &'a mpsc::Sender<WorkerMessage>,
    pub(crate) shutdown: &'a CancellationToken,
    /// A step is kept this often, milliseconds; 0 for never.
    pub(crate) checkpoint_ms: u64,
    /// Which rank of its attempt it is.
    pub(crate) rank: u32,
    /// The address of this machine on which ranks elsewhere reach it.
    pub(crate) gang_address: IpAddr,
    /// Where those may be.
    pub(crate) networks: &'a Networks,
    pub(crate) joins: &'a watch::Receiver<Option<GangJoin>>,
    pub(crate) tale: &'a Tale,
}

/// How an attempt ended.
pub(crate) type Ending = Result<Made, Failure>;

/// What an attempt made, and what it took.
#[derive(Debug, Default)]
pub(crate) struct Made {
    pub(crate) artifacts: Vec<Artifact>,
    pub(crate) times: AttemptTimes,
    pub(crate) peak_memory_bytes: u64,
}

/// What interrupts an attempt.
enum Stop {
    Revoked { now: bool },
    Shutdown,
    Late(Failure),
}

impl Bench<'_> {
    /// Renders and saves. `revokes` carries the revokes of this attempt. Whether the rank may be given another clip is for
    /// the rank to say; others may be under way in it.
    pub(crate) async fn run(
        &self,
        rank: Arc<Rank>,
        assignment: &Assignment,
        revokes: &mut mpsc::Receiver<Revoke>,
    ) -> Ending {
        let attempt = assignment.attempt.clone().unwrap_or_default();
        let started = clock::now();
        let folder = match self.scratch.attempt(attempt.fence, self.rank) {
            Ok(folder) => folder,
            Err(error) => {
                let cause = if error.kind() == std::io::ErrorKind::StorageFull {
                    ExitCause::DiskFull
                } else {
                    ExitCause::Internal
                };
                let message = format!("scratch: {error}");
                return Err(self.failure(cause, message, "give the worker another --data-dir"));
            }
        };
        let deadline = Deadline::new(assignment, Instant::now());
        let engine_version = rank.engine_version().to_owned();
        let mut keep = Keep::new(self.target, assignment, folder.path());
        let rendered = self.render(rank, assignment, folder.path(), &mut keep, &deadline, revokes).await;
        let rendered = match rendered {
            Ok(rendered) => rendered,
            Err(failure) => {
                keep.finish().await;
                return Err(failure);
            }
        };
        self.tale.storing();
        let circumstances = Circumstances {
            worker: self.worker,
            device: self.device.to_string(),
            threads: self.threads,
            engine_version: &engine_version,
            started: &started,
            finished: &clock::now(),
            times: rendered.times.unwrap_or_default(),
            peak_memory_bytes: rendered.peak_memory_bytes,
            resumed: rendered.resumed,
        };
        let ending = tokio::select! {
            ending = self.save(assignment, &attempt, folder.path(), &rendered, &circumstances, &deadline) => ending,
            stop = self.stop(&attempt, &deadline, revokes) => Err(self.stopped(stop)),
        };
        keep.give_up().await;
        ending
    }

    /// Has the rank render, and watches it.
    async fn render(
        &self,
        rank: Arc<Rank>,
        assignment: &Assignment,
        folder: &std::path::Path,
        keep: &mut Keep,
        deadline: &Deadline,
        revokes: &mut mpsc::Receiver<Revoke>,
    ) -> Result<RankDone, Failure> {
        let attempt = &assignment.attempt.clone().unwrap_or_default();
        // Rank 0 alone knows where a gang goes on, and keeps its steps.
        let resume = if attempt.attempt > 1 && self.rank == 0 { keep.fetch().await } else { Vec::new() };
        let mut gather = Gather::new(attempt, self.joins.clone());
        let render = RankRender {
            resume,
            checkpoint_ms: if self.rank == 0 { self.checkpoint_ms } else { 0 },
            gang: self.gang(assignment),
            residency: assignment.residency,
            recipe: assignment.recipe.clone(),
            traceparent: assignment.traceparent.clone(),
            scratch: folder.display().to_string(),
            job: attempt.job.clone(),
            task: format!("{}/{}", attempt.layer, attempt.task),
            attempt: attempt.attempt,
            ..RankRender::default()
        };
        let mut render = match Render::begin(&rank, render).await {
            Ok(render) => render,
            Err(_) => return Err(self.crashed(&rank).await),
        };
        let mut moved = Instant::now();
        let mut stopping: Option<(Instant, Failure)> = None;
        loop {
            let silent = if stopping.is_some() { NEVER } else { deadline.no_progress };
            let give_up = stopping.as_ref().map_or(moved + silent, |(by, _)| *by);
            tokio::select! {
                said = render.next() => match said {
                    Some(from_rank::What::Progress(progress)) => {
                        moved = Instant::now();
                        let step_us = self.tale.heard(&progress);
                        // A queue that is full loses a step, which the next one makes good.
                        let _ = self.said.try_send(convert::progress(attempt, &progress, step_us));
                    }
                    Some(from_rank::What::Done(done)) => {
                        // Nobody wants a clip that was finished between its revoke and the end of its last step.
                        let done = stopping.map_or(Ok(done), |(_, asked)| Err(asked));
                        return done;
                    }
                    Some(from_rank::What::Failed(failed)) => {
                        if failed.cause() == ExitCause::Internal {
                            // It may have panicked, which is the end of it.
                            rank.retire();
                        } else if failed.cause() == ExitCause::DeviceLost {
                            // A process does not get its device back, and takes its companions with it.
                            rank.kill().await;
                        }
                        let peer_lost = failed.peer_lost;
                        let failure = convert::of_rank(self.worker, self.device, self.rank, failed);
                        return Err(match stopping {
                            Some((_, asked)) => asked,
                            None if peer_lost => self.first_heard(failure, attempt, deadline, revokes).await,
                            None => failure,
                        });
                    }
                    Some(from_rank::What::Checkpoint(step)) => keep.kept(step),
                    Some(from_rank::What::Listens(at)) => gather.listens(at.address),
                    // Not said of a render.
                    Some(from_rank::What::Ready(_)) => {}
                    None => {
                        let crashed = self.crashed(&rank).await;
                        return Err(stopping.map_or(crashed, |(_, asked)| asked));
                    }
                },
                () = keep.arrived(), if keep.is_sending() => {}
                word = gather.next() => match word {
                    Word::Say(message) => {
                        // It waits for others, who may still be loading.
                        moved = Instant::now();
                        // What is not said now is said again.
                        let _ = self.said.try_send(message);
                    }
                    Word::Join(addresses) => {
                        if let Some(failure) = self.elsewhere(&addresses) {
                            rank.kill().await;
                            return Err(failure);
                        }
                        // One that does not hear it has ended, which shows next.
                        let _ = render.join(addresses).await;
                    }
                },
                stop = self.stop(attempt, deadline, revokes), if stopping.is_none() => {
                    let at_once = !matches!(stop, Stop::Revoked { now: false });
                    let failure = self.stopped(stop);
                    if at_once || render.cancel().await.is_err() {
                        rank.kill().await;
                        return Err(failure);
                    }
                    stopping = Some((Instant::now() + STEP, failure));
                }
                () = sleep_until(give_up) => {
                    rank.kill().await;
                    let late = || self.stuck("no step ended", silent);
                    return Err(stopping.map_or_else(late, |(_, asked)| asked));
                }
            }
        }
    }

    /// Nobody is dialled outside of the networks that this worker may reach, whoever names them.
    fn elsewhere(&self, addresses: &[String]) -> Option<Failure> {
        let refused = addresses.iter().find_map(|text| {
            let at: SocketAddr = text.parse().ok()?;
            self.networks.check(text, at.ip()).err()
        })?;
        let message = format!("a rank of this gang is not dialled: {refused}");
        Some(self.failure(ExitCause::Internal, message, "see `gang_address` of the other workers"))
    }

    /// What a rank must know of its gang, if it is one of several.
    fn gang(&self, assignment: &Assignment) -> Option<RankGang> {
        (assignment.ranks > 1).then(|| RankGang {
            rank: self.rank,
            ranks: assignment.ranks,
            token: assignment.gang_token.clone(),
            generation: assignment.attempt.as_ref().map_or(0, |attempt| attempt.fence),
            host: self.gang_address.to_string(),
            mode: assignment.mode,
            shares: assignment.shares.clone(),
        })
    }

    /// A rank that lost another is not the one to blame: what the other's worker has to say comes first, if it has.
    async fn first_heard(
        &self,
        failure: Failure,
        attempt: &AttemptRef,
        deadline: &Deadline,
        revokes: &mut mpsc::Receiver<Revoke>,
    ) -> Failure {
        match timeout(PEERS, self.stop(attempt, deadline, revokes)).await {
            Ok(stop) => self.stopped(stop),
            Err(_) => failure,
        }
    }

    /// Returns when the attempt must end early.
    async fn stop(
        &self,
        attempt: &AttemptRef,
        deadline: &Deadline,
        revokes: &mut mpsc::Receiver<Revoke>,
    ) -> Stop {
        loop {
            tokio::select! {
                revoke = revokes.recv() => match revoke {
                    Some(Revoke { attempt: Some(named), now }) if named.fence == attempt.fence => {
                        return Stop::Revoked { now };
                    }
                    // Of an attempt that ended before the revoke came.
                    Some(_) => {}
                    None => return Stop::Shutdown,
                },
                () = self.shutdown.cancelled() => return Stop::Shutdown,
                () = sleep_until(deadline.total) => {
                    let message = format!("it ran longer than {} s", deadline.longest.as_secs_f64());
                    let remedy = "raise policy.timeout.total, or ask for less (steps, size, num_frames)";
                    return Stop::Late(self.failure(ExitCause::TimeoutTotal, message, remedy));
                }
            }
        }
    }

    fn stopped(&self, stop: Stop) -> Failure {
        match stop {
            Stop::Revoked { .. } => self.failure(ExitCause::Cancelled, "revoked", ""),
            Stop::Shutdown => self.failure(ExitCause::Yielded, "its worker ends", ""),
            Stop::Late(failure) => failure,
        }
    }

    /// Nothing moved for longer than the job allows.
    fn stuck(&self, what: &str, silent: Duration) -> Failure {
        let message = format!("{what} for {} s", silent.as_secs_f64());
        let remedy = "policy.timeout.no_progress sets the limit; see the worker's log for what it did";
        self.failure(ExitCause::TimeoutNoProgress, message, remedy)
    }

    /// The rank's process ended under it. That is one failure: of those that it takes with it the others are given back.
    async fn crashed(&self, rank: &Rank) -> Failure {
        let answers = rank.answer_for();
        rank.retire();
        let message =
            format!("rank {} on {}:{}: {}", self.rank, self.worker, self.device, rank.how_it_ended().await);
        if !answers {
            let message = format!("{message}; another clip that was under way in it accounts for that");
            return self.failure(ExitCause::Yielded, message, "");
        }
        // The words of Rust's allocator, with which it ends the process.
        if message.contains("memory allocation of") {
            let remedy = "fewer frames or pixels, or vae_tiling: true, need less; memory_gib in worker.toml is the bound";
            return self.failure(ExitCause::OomHost, message, remedy);
        }
        let remedy = if message.contains("SIGKILL") {
            "where nobody killed it, the out-of-memory killer did: see the system's log, offer fewer devices, or ask for less"
        } else {
            "please report it with the rank's log, which lies in the worker's --data-dir under logs/"
        };
        self.failure(ExitCause::Crashed, message, remedy)
    }

    fn failure(&self, cause: ExitCause, message: impl Into<String>, remedy: &str) -> Failure {
        convert::failure(self.worker, self.device, self.rank, cause, message, remedy)
    }
}

/// How long an attempt may take.
#[derive(Debug, PartialEq, Eq)]
struct Deadline {
    /// When it must have ended, `longest` after its start.
    total: Instant,
    longest: Duration,
    /// Between two steps, or two saved files.
    no_progress: Duration,
}

impl Deadline {
    /// Of an attempt that starts now. 0 ms is no limit.
    fn new(assignment: &Assignment, now: Instant) -> Self {
        let or_never = |ms| if ms == 0 { NEVER } else { Duration::from_millis(ms).min(NEVER) };
        let longest = or_never(assignment.timeout_total_ms);
        let no_progress = or_never(assignment.timeout_no_progress_ms);
        Self { total: now + longest, longest, no_progress }
    }
}
