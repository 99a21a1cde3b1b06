//! Attempts on ranks that are shell scripts: how each ends, and what is left of it.

use std::{path::Path, sync::Arc};

use croft_proto::trace::Traces;
use croft_proto::v1::{OutputPlan, RankCancel, Recipe, to_rank};
use futures::StreamExt;
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory};

use super::*;
use crate::inventory::Place;
use crate::logs::Logs;
use crate::rank::Program;
use crate::told::{done, listen, listen_to, listens, ready, script, stay, step, write};

/// What `sh ARGS…` is started from.
fn sh(args: &[String]) -> Program<'_> {
    Program { program: Path::new("sh"), args, environment: &[], place: &Place::Cpu }
}

fn logs(scratch: &Scratch) -> Arc<Logs> {
    Arc::new(Logs::new(scratch.logs()))
}

struct House {
    dir: tempfile::TempDir,
    scratch: Scratch,
    store: Arc<dyn ObjectStore>,
    revoke: mpsc::Sender<Revoke>,
    revokes: mpsc::Receiver<Revoke>,
    shutdown: CancellationToken,
    joins: watch::Receiver<Option<GangJoin>>,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("scratch");
        let scratch = Scratch::claim(dir.path()).expect("free");
        let (revoke, revokes) = mpsc::channel(4);
        let shutdown = CancellationToken::new();
        let joins = watch::channel(None).1;
        Self { dir, scratch, store: Arc::new(InMemory::new()), revoke, revokes, shutdown, joins }
    }

    /// A file of the attempt with fence 7.
    fn file(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("attempts/7-0").join(name)
    }

    /// The ending, whether the rank stayed warm, and what was told meanwhile.
    async fn run(&mut self, lines: &[String], assignment: Assignment) -> (Ending, bool, Vec<WorkerMessage>) {
        let args = script(lines);
        let logs = logs(&self.scratch);
        let rank = Rank::start(sh(&args), 1, 0, &self.scratch, &logs, false).await.expect("sh starts");
        let (said, mut heard) = mpsc::channel(16);
        let target = Target::Store(Arc::clone(&self.store));
        let bench = Bench {
            worker: "ws-1",
            device: 0,
            threads: 1,
            scratch: &self.scratch,
            target: &target,
            said: &said,
            shutdown: &self.shutdown,
            checkpoint_ms: 0,
            rank: 0,
            gang_address: std::net::Ipv4Addr::LOCALHOST.into(),
            networks: &Networks::default(),
            joins: &self.joins,
            tale: &Tale::begin(&Traces::default(), &assignment),
        };
        let ending = bench.run(Arc::clone(&rank), &assignment, &mut self.revokes).await;
        drop(said);
        let mut told = Vec::new();
        while let Some(message) = heard.recv().await {
            told.push(message);
        }
        assert!(!self.file("").exists(), "an attempt's folder goes with it");
        (ending, !rank.is_spent(), told)
    }

    async fn fails(&mut self, lines: &[String], assignment: Assignment) -> (Failure, bool) {
        let (ending, is_warm, _) = self.run(lines, assignment).await;
        (ending.expect_err("it does not end well"), is_warm)
    }
}

fn assignment() -> Assignment {
    Assignment {
        attempt: Some(AttemptRef { fence: 7, attempt: 1, ..AttemptRef::default() }),
        recipe: Some(Recipe { output: Some(OutputPlan::default()), ..Recipe::default() }),
        prefix: ".attempts/j/l/0001/1-7".to_owned(),
        sidecar_json: "{}".to_owned(),
        ..Assignment::default()
    }
}

#[test]
fn limits_are_counted_from_the_start_and_none_is_never() {
    let now = Instant::now();
    let limited =
        Assignment { timeout_total_ms: 9_000, timeout_no_progress_ms: 500, ..Assignment::default() };
    let (longest, no_progress) = (Duration::from_secs(9), Duration::from_millis(500));
    assert_eq!(Deadline::new(&limited, now), Deadline { total: now + longest, longest, no_progress });
    let free = Deadline { total: now + NEVER, longest: NEVER, no_progress: NEVER };
    assert_eq!(Deadline::new(&Assignment::default(), now), free);
    let absurd = Assignment { timeout_total_ms: u64::MAX, ..Assignment::default() };
    assert_eq!(Deadline::new(&absurd, now), free, "no overflow");
}

#[tokio::test]
async fn a_rank_without_a_step_is_killed_in_time() {
    let assignment = Assignment { timeout_no_progress_ms: 50, ..assignment() };
    let (failure, is_warm) = House::new().fails(&[ready(), stay()], assignment).await;
    assert_eq!((failure.cause(), is_warm), (ExitCause::TimeoutNoProgress, false));
    assert!(failure.message.contains("0.05 s"), "{}", failure.message);
}

#[tokio::test]
async fn a_rank_that_takes_too_long_is_killed() {
    let assignment = Assignment { timeout_total_ms: 50, ..assignment() };
    let (failure, is_warm) = House::new().fails(&[ready(), stay()], assignment).await;
    assert_eq!((failure.cause(), is_warm), (ExitCause::TimeoutTotal, false));
}

#[tokio::test]
async fn a_crash_names_the_signal_and_the_last_words() {
    for (signal, remedy) in [("SEGV", "rank's log"), ("ABRT", "rank's log"), ("KILL", "out-of-memory killer")]
    {
        let die = format!("echo alas >&2; kill -{signal} $$");
        let (failure, is_warm) = House::new().fails(&[ready(), listen(), die], assignment()).await;
        assert_eq!((failure.cause(), is_warm), (ExitCause::Crashed, false));
        assert!(
            failure.message.contains(&format!("ws-1:0: killed by SIG{signal}; it said: alas")),
            "{failure:?}"
        );
        assert!(failure.remedy.contains(remedy), "{failure:?}");
    }
}

#[tokio::test]
async fn a_revoke_that_will_not_wait_kills_the_rank() {
    let mut house = House::new();
    let named = AttemptRef { fence: 6, ..AttemptRef::default() };
    house.revoke.send(Revoke { attempt: Some(named), now: true }).await.expect("room");
    house.revoke.send(Revoke { attempt: assignment().attempt, now: true }).await.expect("room");
    let (failure, is_warm) = house.fails(&[ready(), stay()], assignment()).await;
    assert_eq!((failure.cause(), is_warm), (ExitCause::Cancelled, false));
}

#[tokio::test]
async fn a_clip_finished_after_its_revoke_is_not_saved_and_the_rank_stays_warm() {
    let mut house = House::new();
    house.revoke.send(Revoke { attempt: assignment().attempt, now: false }).await.expect("room");
    let render = RankRender {
        id: 1,
        recipe: assignment().recipe,
        scratch: std::fs::canonicalize(house.dir.path())
            .expect("there")
            .join("attempts/7")
            .display()
            .to_string(),
        task: "/".to_owned(),
        attempt: 1,
        ..RankRender::default()
    };
    let heard = listen_to(&[to_rank::What::Render(render), to_rank::What::Cancel(RankCancel { id: 1 })]);
    let lines = [ready(), heard, done(&["a.png"]), stay()];
    let (ending, is_warm, _) = house.run(&lines, assignment()).await;
    assert_eq!(ending.expect_err("revoked").cause(), ExitCause::Cancelled);
    assert!(is_warm);
    assert!(house.store.list(None).next().await.is_none(), "nothing was saved");
}

#[tokio::test]
async fn pictures_are_saved_and_the_sidecar_last() {
    let mut house = House::new();
    let file = house.file("a.png");
    let lines = [ready(), listen(), step(), write(&file, "abc"), done(&["a.png"]), stay()];
    let (ending, is_warm, told) = house.run(&lines, assignment()).await;
    let Made { artifacts, peak_memory_bytes, .. } = ending.expect("it ends well");
    assert!(is_warm);
    let names: Vec<_> = artifacts.iter().map(|artifact| artifact.path.as_str()).collect();
    assert_eq!(names, ["a.png", "sidecar.json"]);
    assert_eq!(peak_memory_bytes, 9, "the rank's word is passed on");
    let place = object_store::path::Path::from(".attempts/j/l/0001/1-7/sidecar.json");
    let sidecar = house.store.get(&place).await.expect("there").bytes().await.expect("whole");
    let sidecar: serde_json::Value = serde_json::from_slice(&sidecar).expect("JSON");
    assert_eq!(sidecar["artifacts"][0]["digest"], artifacts[0].digest.as_str());
    assert_eq!(told.len(), 2, "a step, and a saved file: {told:?}");
}

#[tokio::test]
async fn a_rank_is_not_told_of_another_outside_of_the_networks_of_its_worker() {
    let mut house = House::new();
    let addresses = ["127.0.0.1:9", "203.0.113.9:4000"].map(str::to_owned).to_vec();
    let attempt = Some(AttemptRef { fence: 7, ..AttemptRef::default() });
    // The sender may go: what it said last stays.
    house.joins = watch::channel(Some(GangJoin { attempt, addresses })).1;
    let assignment = Assignment { ranks: 2, ..assignment() };
    let (failure, is_warm) = house.fails(&[ready(), listen(), listens(), stay()], assignment).await;
    assert_eq!((failure.cause(), is_warm), (ExitCause::Internal, false));
    assert!(failure.message.contains("203.0.113.9, which lies outside"), "{failure:?}");
}

#[tokio::test]
async fn a_file_that_a_rank_did_not_write_is_nobody_elses_fault() {
    let (failure, is_warm) =
        House::new().fails(&[ready(), listen(), done(&["a.png"]), stay()], assignment()).await;
    assert_eq!((failure.cause(), is_warm), (ExitCause::Internal, true));
    assert!(failure.message.contains("a.png"), "{failure:?}");
}

#[tokio::test]
async fn a_rank_that_does_not_start_says_why() {
    let house = House::new();
    let args = script(&["echo no such library >&2; exit 3".to_owned()]);
    let start = Rank::start(sh(&args), 1, 0, &house.scratch, &logs(&house.scratch), false).await;
    let why = start.expect_err("it ends at once").to_string();
    assert_eq!(why, "it ended with code 3; it said: no such library");
}
