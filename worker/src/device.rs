//! One device: takes assignments, keeps its rank warm between them, and says how each ended. One after the other, but for
//! companions: shots of one model that ranks share layer by layer, which are in flight together.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    sync::Arc,
};

use croft_proto::{
    egress::Networks,
    v1::{Assignment, AttemptRef, ExitCause, Failure, GangJoin, Revoke, SplitMode, WorkerMessage},
};
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    attempt::{Bench, Ending, Made},
    config::RankProgram,
    convert,
    eyes::Eyes,
    inventory::Place,
    rank::{Program, Rank},
    scratch::Scratch,
    target::Target,
    trace::Tale,
};

/// Assignments, revokes and joins that wait. A coordinator gives a device as many shots at once as ranks share their model.
pub(crate) const WAITING: usize = 128;
/// Revokes of assignments that have not come yet.
const REVOKED: usize = 8;

/// What the session tells a device.
#[derive(Debug)]
pub(crate) struct Orders {
    pub(crate) assignments: mpsc::Sender<Assignment>,
    pub(crate) revokes: mpsc::Sender<Revoke>,
    /// Gangs that are complete.
    pub(crate) joins: mpsc::Sender<GangJoin>,
}

/// Where a device finds its orders.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) assignments: mpsc::Receiver<Assignment>,
    pub(crate) revokes: mpsc::Receiver<Revoke>,
    pub(crate) joins: mpsc::Receiver<GangJoin>,
}

/// A device's orders, from both sides.
pub(crate) fn orders() -> (Orders, Inbox) {
    let (assignments, given) = mpsc::channel(WAITING);
    let (revokes, revoked) = mpsc::channel(WAITING);
    let (joins, joined) = mpsc::channel(WAITING);
    let inbox = Inbox { assignments: given, revokes: revoked, joins: joined };
    (Orders { assignments, revokes, joins }, inbox)
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
    /// What its ranks compute on.
    pub(crate) place: Place,
    pub(crate) program: RankProgram,
    pub(crate) scratch: Arc<Scratch>,
    /// Where files go, as the newest welcome says; `None` before the first.
    pub(crate) target: watch::Receiver<Option<Target>>,
    pub(crate) said: mpsc::Sender<Said>,
    pub(crate) progress: mpsc::Sender<WorkerMessage>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) checkpoint_ms: u64,
    /// What its ranks may hold at most, where their owner set a bound.
    pub(crate) memory_bytes: Option<u64>,
    /// The address of this machine on which ranks elsewhere reach the one here.
    pub(crate) gang_address: IpAddr,
    /// Where other ranks may be.
    pub(crate) networks: Networks,
    pub(crate) eyes: Arc<Eyes>,
}

/// An attempt under way, and what reaches it there.
struct Shot {
    kind: Kind,
    revokes: mpsc::Sender<Revoke>,
    joins: watch::Sender<Option<GangJoin>>,
}

/// What attempts must have in common to be in flight together.
#[derive(PartialEq, Eq)]
struct Kind {
    model: String,
    digest: String,
    rank: u32,
    ranks: u32,
    mode: i32,
}

impl Kind {
    fn of(assignment: &Assignment) -> Self {
        let recipe = assignment.recipe.clone().unwrap_or_default();
        Self {
            model: recipe.model,
            digest: recipe.model_digest,
            rank: assignment.attempt.as_ref().map_or(0, |attempt| attempt.rank),
            ranks: assignment.ranks,
            mode: assignment.mode,
        }
    }

    /// How many of it may be in flight: one for each rank, so that all of them have something to do.
    fn together(&self) -> usize {
        if self.mode == i32::from(SplitMode::Layers) { self.ranks.max(1) as usize } else { 1 }
    }
}

/// What a device has in hand.
struct InHand {
    rank: Option<Arc<Rank>>,
    /// The model that is warm in it, as was told last.
    resident: String,
    /// By fence.
    shots: BTreeMap<u64, Shot>,
    /// It came and has not begun.
    next: Option<Assignment>,
    /// Revokes of assignments that have not begun.
    revoked: VecDeque<u64>,
}

impl InHand {
    /// Whether the next assignment may begin: on an idle device, or beside its companions.
    fn may_begin(&self) -> bool {
        let Some(next) = &self.next else { return false };
        let kind = Kind::of(next);
        let is_good = self.rank.as_ref().is_none_or(|rank| !rank.is_spent());
        let companions =
            self.shots.len() < kind.together() && self.shots.values().all(|shot| shot.kind == kind);
        self.shots.is_empty() || is_good && companions
    }

    fn revoke(&mut self, revoke: Revoke) {
        let Some(fence) = revoke.attempt.as_ref().map(|attempt| attempt.fence) else { return };
        match self.shots.get(&fence) {
            // As many as there is room for say the same.
            Some(shot) => drop(shot.revokes.try_send(revoke)),
            None => {
                if self.revoked.len() == REVOKED {
                    self.revoked.pop_front();
                }
                self.revoked.push_back(fence);
            }
        }
    }

    fn join(&self, join: GangJoin) {
        let shot = join.attempt.as_ref().and_then(|attempt| self.shots.get(&attempt.fence));
        if let Some(shot) = shot {
            shot.joins.send_replace(Some(join));
        }
    }
}

impl Device {
    /// Serves until the worker ends.
    pub(crate) async fn run(self, mut inbox: Inbox) {
        let mut hand = InHand {
            rank: None,
            resident: String::new(),
            shots: BTreeMap::new(),
            next: None,
            revoked: VecDeque::new(),
        };
        let mut under_way = FuturesUnordered::new();
        loop {
            if hand.shots.is_empty()
                && let Some(spent) = hand.rank.take_if(|rank| rank.is_spent())
            {
                spent.kill().await;
                self.eyes.rank(self.index, None);
                if self.tell_resident(&mut hand).await.is_err() {
                    break;
                }
            }
            if hand.may_begin()
                && let Some(assignment) = hand.next.take()
            {
                let ready = self.prepare(&mut hand, &assignment).await;
                let attempt = assignment.attempt.clone().unwrap_or_default();
                let (revokes, revoked) = mpsc::channel(2);
                let (joins, joined) = watch::channel(None);
                self.eyes.logs.begin(self.index, &attempt);
                hand.shots.insert(attempt.fence, Shot { kind: Kind::of(&assignment), revokes, joins });
                let span = tracing::info_span!(
                    "attempt",
                    job = attempt.job,
                    task = format!("{}/{}", attempt.layer, attempt.task),
                    attempt = attempt.attempt,
                    rank = attempt.rank,
                );
                under_way.push(self.attempt(ready, assignment, revoked, joined).instrument(span));
                continue;
            }
            tokio::select! {
                biased;
                // What is under way hears of it by itself, and ends.
                () = self.shutdown.cancelled(), if hand.shots.is_empty() => break,
                revoke = inbox.revokes.recv() => match revoke {
                    Some(revoke) => hand.revoke(revoke),
                    None => break,
                },
                Some(join) = inbox.joins.recv() => hand.join(join),
                Some((attempt, ending)) = under_way.next(), if !under_way.is_empty() => {
                    hand.shots.remove(&attempt.fence);
                    let told = self.tell_resident(&mut hand).await;
                    if told.is_err() || self.tell_end(attempt, ending).await.is_err() {
                        break;
                    }
                }
                // Where nothing was asked of it, the next assignment starts another rather than pay for this one's end. What is
                // under way in it hears of it by itself.
                () = ended(hand.rank.as_deref()), if hand.shots.is_empty() => {
                    if let Some(rank) = &hand.rank {
                        tracing::warn!(rank = 0, "an idle rank ended: {}", rank.how_it_ended().await);
                    }
                }
                assignment = inbox.assignments.recv(), if hand.next.is_none() => match assignment {
                    Some(assignment) => hand.next = Some(assignment),
                    None => break,
                },
            }
        }
        drop(under_way);
        if let Some(rank) = hand.rank {
            rank.kill().await;
        }
    }

    /// A rank for an assignment that begins; `None` where none is needed.
    async fn prepare(
        &self,
        hand: &mut InHand,
        assignment: &Assignment,
    ) -> Result<Option<(Arc<Rank>, Target)>, Failure> {
        let attempt = assignment.attempt.clone().unwrap_or_default();
        let number = attempt.rank;
        if hand.revoked.contains(&attempt.fence) {
            return Err(self.failure(number, ExitCause::Cancelled, "revoked before it began", ""));
        }
        let program = match &self.program {
            RankProgram::Noop => return Ok(None),
            RankProgram::Child { program, args, environment } => {
                Program { program, args, environment, place: &self.place }
            }
        };
        let Some(target) = self.target.borrow().clone() else {
            return Err(self.failure(number, ExitCause::Internal, "an assignment came before a welcome", ""));
        };
        let is_gang = assignment.ranks > 1;
        // What it has loaded is of no use for the other kind: models are split anew.
        if let Some(other) = hand.rank.take_if(|rank| rank.is_for_gangs() != is_gang) {
            other.kill().await;
        }
        if let Some(rank) = &hand.rank {
            return Ok(Some((Arc::clone(rank), target)));
        }
        match self.start(program, is_gang).await {
            Ok(rank) => {
                self.eyes.rank(self.index, rank.process());
                hand.rank = Some(Arc::clone(&rank));
                Ok(Some((rank, target)))
            }
            Err(error) => {
                let message =
                    format!("rank {number} on {}:{} did not start: {error}", self.worker, self.index);
                Err(self.failure(number, ExitCause::Crashed, message, "run `croft doctor` on this machine"))
            }
        }
    }

    async fn start(&self, program: Program<'_>, is_gang: bool) -> std::io::Result<Arc<Rank>> {
        let logs = &self.eyes.logs;
        let rank = Rank::start(program, self.threads, self.index, &self.scratch, logs, is_gang).await?;
        // On an NVIDIA device it is the device's memory that is meant, and the driver asks the system for far more addresses.
        if let (Some(bytes), Place::Cpu) = (self.memory_bytes, &self.place) {
            rank.bound(bytes)?;
        }
        Ok(rank)
    }

    async fn attempt(
        &self,
        ready: Result<Option<(Arc<Rank>, Target)>, Failure>,
        assignment: Assignment,
        mut revokes: mpsc::Receiver<Revoke>,
        joins: watch::Receiver<Option<GangJoin>>,
    ) -> (AttemptRef, Ending) {
        let attempt = assignment.attempt.clone().unwrap_or_default();
        let (rank, target) = match ready {
            Ok(Some(ready)) => ready,
            Ok(None) => return (attempt, Ok(Made::default())),
            Err(failure) => return (attempt, Err(failure)),
        };
        let tale = Tale::begin(&self.eyes.traces, &assignment);
        let bench = Bench {
            worker: &self.worker,
            device: self.index,
            threads: self.threads,
            scratch: &self.scratch,
            target: &target,
            said: &self.progress,
            shutdown: &self.shutdown,
            checkpoint_ms: self.checkpoint_ms,
            rank: attempt.rank,
            gang_address: self.gang_address,
            networks: &self.networks,
            joins: &joins,
            tale: &tale,
        };
        let ending = bench.run(rank, &assignment, &mut revokes).await;
        tale.end(&assignment, &self.worker, self.index, &ending);
        (attempt, ending)
    }

    /// Says which model is warm, when that has changed.
    async fn tell_resident(&self, hand: &mut InHand) -> Result<(), mpsc::error::SendError<Said>> {
        let now = hand.rank.as_ref().map_or_else(String::new, |rank| rank.resident());
        if now == hand.resident {
            return Ok(());
        }
        hand.resident.clone_from(&now);
        let models = if now.is_empty() { Vec::new() } else { vec![now] };
        self.said.send(Said::Resident(self.index, models)).await
    }

    async fn tell_end(
        &self,
        attempt: AttemptRef,
        ending: Ending,
    ) -> Result<(), mpsc::error::SendError<Said>> {
        let log = self.eyes.logs.end(self.index, &attempt);
        let message = match ending {
            Ok(made) => convert::done(&attempt, made),
            Err(failure) => {
                tracing::warn!(
                    job = attempt.job,
                    task = format!("{}/{}", attempt.layer, attempt.task),
                    attempt = attempt.attempt,
                    cause = failure.cause().as_str_name(),
                    "{}",
                    failure.message
                );
                convert::failed(&attempt, failure, log)
            }
        };
        self.said.send(Said::Ended(attempt, Box::new(message))).await
    }

    fn failure(&self, rank: u32, cause: ExitCause, message: impl Into<String>, remedy: &str) -> Failure {
        convert::failure(&self.worker, self.index, rank, cause, message, remedy)
    }
}

/// Returns when the idle rank has ended; never, where there is none.
async fn ended(rank: Option<&Rank>) {
    match rank {
        Some(rank) => rank.ended().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
