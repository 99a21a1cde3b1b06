//! One device: takes assignments one after the other, keeps its rank warm between them, and says how each ended.

use std::{collections::VecDeque, net::IpAddr, path::Path, sync::Arc};

use croft_proto::v1::{
    Assignment, AttemptRef, AttemptTimes, ExitCause, Failure, GangJoin, Revoke, WorkerMessage,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    attempt::{After, Bench, Ending},
    config::RankProgram,
    convert,
    rank::Rank,
    scratch::Scratch,
    target::Target,
};

/// Assignments and revokes that wait. A coordinator gives a device one at a time; a revoked one may still be ending.
pub(crate) const WAITING: usize = 8;

/// What the session tells a device.
#[derive(Debug)]
pub(crate) struct Orders {
    pub(crate) assignments: mpsc::Sender<Assignment>,
    pub(crate) revokes: mpsc::Sender<Revoke>,
    /// The newest gang that is complete.
    pub(crate) joins: watch::Sender<Option<GangJoin>>,
}

/// What devices tell the session.
#[derive(Debug)]
pub(crate) enum Said {
    /// How an attempt ended: never lost.
    Ended(AttemptRef, Box<WorkerMessage>),
    /// Another model is resident.
    Resident(u32, Vec<String>),
}

/// A device and all that it needs.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) index: u32,
    pub(crate) worker: Arc<str>,
    pub(crate) threads: u32,
    pub(crate) program: RankProgram,
    pub(crate) scratch: Arc<Scratch>,
    /// Where files go, as the newest welcome says; `None` before the first.
    pub(crate) target: watch::Receiver<Option<Target>>,
    pub(crate) assignments: mpsc::Receiver<Assignment>,
    pub(crate) revokes: mpsc::Receiver<Revoke>,
    pub(crate) joins: watch::Receiver<Option<GangJoin>>,
    pub(crate) said: mpsc::Sender<Said>,
    pub(crate) progress: mpsc::Sender<WorkerMessage>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) checkpoint_ms: u64,
    /// What its ranks may hold at most, where their owner set a bound.
    pub(crate) memory_bytes: Option<u64>,
    /// The address of this machine on which ranks elsewhere reach the one here.
    pub(crate) gang_address: IpAddr,
}

impl Device {
    /// Serves until the worker ends.
    pub(crate) async fn run(mut self) {
        let mut rank: Option<Rank> = None;
        // The model that is warm in it, as recipes name it.
        let mut resident = String::new();
        // Revokes of assignments that have not begun.
        let mut revoked: VecDeque<u64> = VecDeque::new();
        loop {
            let assignment = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => break,
                revoke = self.revokes.recv() => {
                    let Some(revoke) = revoke else { break };
                    if revoked.len() == WAITING {
                        revoked.pop_front();
                    }
                    revoked.extend(revoke.attempt.map(|attempt| attempt.fence));
                    continue;
                }
                // Nothing was asked of it. The next assignment starts another rather than pay for this one's end.
                () = ended(&mut rank) => {
                    if let Some(mut rank) = rank.take() {
                        tracing::warn!(rank = 0, "an idle rank ended: {}", rank.how_it_ended().await);
                    }
                    resident.clear();
                    if self.said.send(Said::Resident(self.index, Vec::new())).await.is_err() {
                        break;
                    }
                    continue;
                }
                assignment = self.assignments.recv() => match assignment {
                    Some(assignment) => assignment,
                    None => break,
                },
            };
            let attempt = assignment.attempt.clone().unwrap_or_default();
            let span = tracing::info_span!(
                "attempt",
                job = attempt.job,
                task = format!("{}/{}", attempt.layer, attempt.task),
                attempt = attempt.attempt,
                rank = attempt.rank,
            );
            let ending = if revoked.contains(&attempt.fence) {
                Err(self.failure(attempt.rank, ExitCause::Cancelled, "revoked before it began", ""))
            } else {
                self.attempt(&mut rank, &assignment).instrument(span).await
            };
            let now_resident = rank.as_ref().map_or("", Rank::resident);
            if now_resident != resident {
                resident = now_resident.to_owned();
                let models = if resident.is_empty() { Vec::new() } else { vec![resident.clone()] };
                if self.said.send(Said::Resident(self.index, models)).await.is_err() {
                    break;
                }
            }
            let message = match ending {
                Ok((artifacts, times)) => convert::done(&attempt, artifacts, times),
                Err(failure) => {
                    tracing::warn!(
                        job = attempt.job,
                        task = format!("{}/{}", attempt.layer, attempt.task),
                        attempt = attempt.attempt,
                        cause = failure.cause().as_str_name(),
                        "{}",
                        failure.message
                    );
                    convert::failed(&attempt, failure)
                }
            };
            if self.said.send(Said::Ended(attempt, Box::new(message))).await.is_err() {
                break;
            }
        }
        if let Some(rank) = rank {
            rank.kill().await;
        }
    }

    async fn attempt(&mut self, rank: &mut Option<Rank>, assignment: &Assignment) -> Ending {
        let number = assignment.attempt.as_ref().map_or(0, |attempt| attempt.rank);
        let (program, args) = match &self.program {
            RankProgram::Noop => return Ok((Vec::new(), AttemptTimes::default())),
            RankProgram::Child { program, args } => (program, args),
        };
        let Some(target) = self.target.borrow().clone() else {
            return Err(self.failure(number, ExitCause::Internal, "an assignment came before a welcome", ""));
        };
        let warm = match rank.take() {
            Some(rank) => rank,
            None => match self.start(program, args).await {
                Ok(rank) => rank,
                Err(error) => {
                    let message =
                        format!("rank {number} on {}:{} did not start: {error}", self.worker, self.index);
                    return Err(self.failure(
                        number,
                        ExitCause::Crashed,
                        message,
                        "run `croft doctor` on this machine",
                    ));
                }
            },
        };
        let bench = Bench {
            worker: &self.worker,
            device: self.index,
            threads: self.threads,
            scratch: &self.scratch,
            target: &target,
            said: &self.progress,
            shutdown: &self.shutdown,
            checkpoint_ms: self.checkpoint_ms,
            rank: number,
            gang_address: self.gang_address,
            joins: &self.joins,
        };
        let (ending, after) = bench.run(warm, assignment, &mut self.revokes).await;
        *rank = match after {
            After::Warm(rank) => Some(*rank),
            After::Gone => None,
        };
        ending
    }

    async fn start(&self, program: &Path, args: &[String]) -> std::io::Result<Rank> {
        let rank = Rank::start(program, args, self.threads, self.index, self.scratch.logs()).await?;
        if let Some(bytes) = self.memory_bytes {
            rank.bound(bytes)?;
        }
        Ok(rank)
    }

    fn failure(&self, rank: u32, cause: ExitCause, message: impl Into<String>, remedy: &str) -> Failure {
        convert::failure(&self.worker, self.index, rank, cause, message, remedy)
    }
}

/// Returns when the idle rank has ended; never, where there is none.
async fn ended(rank: &mut Option<Rank>) {
    let Some(rank) = rank else { return std::future::pending().await };
    // A rank that nothing was asked of has nothing to say but late words of an earlier render.
    while rank.next().await.is_some() {}
}

#[cfg(test)]
mod tests;
