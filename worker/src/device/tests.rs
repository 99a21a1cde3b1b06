//! A device whose rank is a shell script: what is said of its ends, and of what is warm.

use std::time::Duration;

use croft_proto::v1::{Recipe, worker_message::What};
use tokio::{task::JoinSet, time::timeout};

use super::*;
use crate::told::{done, listen, ready, script, step};

/// Far beyond what a script takes.
const PATIENCE: Duration = Duration::from_secs(20);

struct House {
    _dir: tempfile::TempDir,
    orders: Orders,
    said: mpsc::Receiver<Said>,
    _target: watch::Sender<Option<Target>>,
    _progress: mpsc::Receiver<WorkerMessage>,
    tasks: JoinSet<()>,
    shutdown: CancellationToken,
}

impl House {
    fn new(program: RankProgram) -> Self {
        let dir = tempfile::tempdir().expect("scratch");
        let scratch = Arc::new(Scratch::claim(dir.path()).expect("free"));
        let store: Arc<dyn object_store::ObjectStore> = Arc::new(object_store::memory::InMemory::new());
        let (target, targets) = watch::channel(Some(Target::Store(store)));
        let (assignments, given) = mpsc::channel(WAITING);
        let (revokes, revoked) = mpsc::channel(WAITING);
        let (joins, joined) = watch::channel(None);
        let (say, said) = mpsc::channel(8);
        let (tell, progress) = mpsc::channel(8);
        let shutdown = CancellationToken::new();
        let device = Device {
            index: 0,
            worker: "ws-1".into(),
            threads: 1,
            program,
            scratch,
            target: targets,
            assignments: given,
            revokes: revoked,
            joins: joined,
            said: say,
            progress: tell,
            shutdown: shutdown.clone(),
            checkpoint_ms: 0,
            memory_bytes: None,
            gang_address: std::net::Ipv4Addr::LOCALHOST.into(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(device.run());
        let orders = Orders { assignments, revokes, joins };
        Self { _dir: dir, orders, said, _target: target, _progress: progress, tasks, shutdown }
    }

    async fn give(&self, fence: u64) {
        let assignment = Assignment {
            attempt: Some(AttemptRef { fence, ..AttemptRef::default() }),
            recipe: Some(Recipe { model: "m".to_owned(), ..Recipe::default() }),
            ..Assignment::default()
        };
        self.orders.assignments.send(assignment).await.expect("it takes it");
    }

    /// What it says next, in short.
    async fn says(&mut self) -> String {
        match timeout(PATIENCE, self.said.recv()).await.expect("in time").expect("it lives") {
            Said::Resident(0, models) => format!("warm: {}", models.join(",")),
            Said::Ended(attempt, message) => match message.what {
                Some(What::Done(_)) => format!("{} done", attempt.fence),
                Some(What::Failed(failed)) => {
                    let cause = failed.failure.unwrap_or_default().cause();
                    format!("{} {}", attempt.fence, cause.as_str_name())
                }
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    async fn end(mut self) {
        self.shutdown.cancel();
        let ended = timeout(PATIENCE, self.tasks.join_next()).await.expect("in time");
        ended.expect("a device").expect("no panic");
    }
}

fn shell(lines: &[String]) -> RankProgram {
    RankProgram::Child { program: "sh".into(), args: script(lines) }
}

#[tokio::test]
async fn a_rank_that_ends_while_idle_costs_no_attempt() {
    let mut house = House::new(shell(&[ready(), listen(), step(), done(&[])]));
    house.give(1).await;
    for said in ["warm: m", "1 done", "warm: "] {
        assert_eq!(house.says().await, said);
    }
    house.give(2).await;
    assert_eq!(house.says().await, "warm: m");
    assert_eq!(house.says().await, "2 done");
    house.end().await;
}

#[tokio::test]
async fn a_rank_that_cannot_start_fails_its_attempt_and_the_device_goes_on() {
    let mut house = House::new(RankProgram::Child { program: "/no/such/program".into(), args: Vec::new() });
    for fence in [1, 2] {
        house.give(fence).await;
        assert_eq!(house.says().await, format!("{fence} EXIT_CAUSE_CRASHED"));
    }
    house.end().await;
}

#[tokio::test]
async fn an_assignment_revoked_before_it_began_does_not_begin() {
    let mut house = House::new(RankProgram::Noop);
    let attempt = Some(AttemptRef { fence: 2, ..AttemptRef::default() });
    house.orders.revokes.send(Revoke { attempt, now: true }).await.expect("it takes it");
    house.give(2).await;
    assert_eq!(house.says().await, "2 EXIT_CAUSE_CANCELLED");
    house.give(3).await;
    assert_eq!(house.says().await, "3 done");
    house.end().await;
}
