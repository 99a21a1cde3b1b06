//! A device whose rank is a shell script: what is said of its ends, and of what is warm.

use std::time::Duration;

use croft_proto::v1::{RankGang, RankRender, Recipe, to_rank, worker_message::What};
use tokio::{task::JoinSet, time::timeout};

use super::*;
use crate::told::{done, done_of, failed, listen, listen_to, ready, script, stay, step};

/// Far beyond what a script takes.
const PATIENCE: Duration = Duration::from_secs(20);

struct House {
    _dir: tempfile::TempDir,
    orders: Orders,
    said: mpsc::Receiver<Said>,
    _target: watch::Sender<Option<Target>>,
    progress: mpsc::Receiver<WorkerMessage>,
    tasks: JoinSet<()>,
    shutdown: CancellationToken,
}

impl House {
    fn new(program: RankProgram) -> Self {
        Self::in_folder(tempfile::tempdir().expect("scratch"), program)
    }

    fn in_folder(dir: tempfile::TempDir, program: RankProgram) -> Self {
        let scratch = Arc::new(Scratch::claim(dir.path()).expect("free"));
        let store: Arc<dyn object_store::ObjectStore> = Arc::new(object_store::memory::InMemory::new());
        let (target, targets) = watch::channel(Some(Target::Store(store)));
        let (orders, inbox) = super::orders();
        let (say, said) = mpsc::channel(8);
        let (tell, progress) = mpsc::channel(8);
        let shutdown = CancellationToken::new();
        let eyes = Arc::new(Eyes::new(scratch.logs(), croft_proto::trace::Traces::default()));
        let device = Device {
            index: 0,
            worker: "ws-1".into(),
            threads: 1,
            place: Place::Cpu,
            program,
            scratch,
            target: targets,
            said: say,
            progress: tell,
            shutdown: shutdown.clone(),
            checkpoint_ms: 0,
            memory_bytes: None,
            gang_address: std::net::Ipv4Addr::LOCALHOST.into(),
            networks: Networks::default(),
            eyes,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(device.run(inbox));
        Self { _dir: dir, orders, said, _target: target, progress, tasks, shutdown }
    }

    async fn give(&self, fence: u64) {
        self.orders.assignments.send(assignment(fence)).await.expect("it takes it");
    }

    /// The next two things it says, in any order.
    async fn says_two(&mut self) -> [String; 2] {
        let mut two = [self.says().await, self.says().await];
        two.sort();
        two
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

fn assignment(fence: u64) -> Assignment {
    Assignment {
        attempt: Some(AttemptRef { fence, ..AttemptRef::default() }),
        recipe: Some(Recipe { model: "m".to_owned(), ..Recipe::default() }),
        ..Assignment::default()
    }
}

/// A shot by two ranks that have some of the layers each.
fn shot(fence: u64) -> Assignment {
    Assignment { ranks: 2, mode: SplitMode::Layers.into(), ..assignment(fence) }
}

/// Two shots are given to a rank that does as `then` says once it has been asked for both.
async fn two_in_flight(then: &[String]) -> House {
    let dir = tempfile::tempdir().expect("scratch");
    let scratch = std::fs::canonicalize(dir.path()).expect("there");
    let render = |fence: u64| {
        let host = std::net::Ipv4Addr::LOCALHOST.to_string();
        let mode = SplitMode::Layers.into();
        to_rank::What::Render(RankRender {
            id: fence,
            recipe: shot(fence).recipe,
            scratch: scratch.join(format!("attempts/{fence}-0")).display().to_string(),
            task: "/".to_owned(),
            gang: Some(RankGang { ranks: 2, generation: fence, host, mode, ..RankGang::default() }),
            ..RankRender::default()
        })
    };
    let mut lines = vec![ready(), listen_to(&[render(1), render(2)]), step()];
    lines.extend_from_slice(then);
    let mut house = House::in_folder(dir, shell(&lines));
    for fence in [1, 2] {
        house.orders.assignments.send(shot(fence)).await.expect("it takes it");
    }
    timeout(PATIENCE, house.progress.recv()).await.expect("in time").expect("both are under way");
    house
}

#[tokio::test]
async fn companions_are_in_flight_together_and_each_ends_by_itself() {
    let mut house = two_in_flight(&[done_of(2, &[]), done_of(1, &[]), stay()]).await;
    let mut said = [house.says().await, house.says().await, house.says().await];
    // Both ends may be there by the time that either is looked at.
    said.sort();
    assert_eq!(said, ["1 done", "2 done", "warm: m"]);
    house.end().await;
}

#[tokio::test]
async fn a_rank_that_crashes_costs_one_of_its_companions_a_try() {
    let mut house = two_in_flight(&["kill -KILL $$".to_owned()]).await;
    assert_eq!(house.says().await, "warm: m");
    let said = house.says_two().await;
    let causes = said.each_ref().map(|said| &said[2..]);
    assert!(causes.contains(&"EXIT_CAUSE_CRASHED") && causes.contains(&"EXIT_CAUSE_YIELDED"), "{said:?}");
    house.end().await;
}

#[tokio::test]
async fn a_lost_device_costs_one_of_the_companions_a_try() {
    let mut house = two_in_flight(&[failed(ExitCause::DeviceLost), stay()]).await;
    assert_eq!(house.says().await, "warm: m");
    assert_eq!(house.says_two().await, ["1 EXIT_CAUSE_DEVICE_LOST", "2 EXIT_CAUSE_YIELDED"]);
    house.end().await;
}

#[tokio::test]
async fn a_shot_that_must_end_at_once_gives_its_companion_back() {
    let mut house = two_in_flight(&[stay()]).await;
    house.orders.revokes.send(Revoke { attempt: shot(1).attempt, now: true }).await.expect("it takes it");
    assert_eq!(house.says().await, "warm: m");
    assert_eq!(house.says_two().await, ["1 EXIT_CAUSE_CANCELLED", "2 EXIT_CAUSE_YIELDED"]);
    house.end().await;
}

#[test]
fn nothing_begins_beside_a_shot_but_its_companions() {
    let other_model = |fence| {
        let recipe = Some(Recipe { model: "n".to_owned(), ..Recipe::default() });
        Assignment { recipe, ..shot(fence) }
    };
    let tensor = |fence| Assignment { mode: SplitMode::Tensor.into(), ..shot(fence) };
    for (running, next, begins) in [
        (vec![], assignment(9), true),
        (vec![assignment(1)], assignment(9), false),
        (vec![shot(1)], shot(9), true),
        (vec![shot(1)], other_model(9), false),
        (vec![tensor(1)], tensor(9), false),
        (vec![shot(1), shot(2)], shot(9), false),
    ] {
        let shots = running.iter().map(|assignment| {
            let (revokes, joins) = (mpsc::channel(1).0, watch::channel(None).0);
            let fence = assignment.attempt.as_ref().expect("named").fence;
            (fence, Shot { kind: Kind::of(assignment), revokes, joins })
        });
        let hand = InHand {
            rank: None,
            resident: String::new(),
            shots: shots.collect(),
            next: Some(next.clone()),
            revoked: VecDeque::new(),
        };
        assert_eq!(hand.may_begin(), begins, "{next:?} beside {running:?}");
    }
}

fn shell(lines: &[String]) -> RankProgram {
    RankProgram::Child { program: "sh".into(), args: script(lines), environment: Vec::new() }
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
async fn a_rank_that_lost_its_device_is_not_asked_again() {
    let mut house = House::new(shell(&[ready(), listen(), step(), failed(ExitCause::DeviceLost), stay()]));
    house.give(1).await;
    for said in ["warm: m", "1 EXIT_CAUSE_DEVICE_LOST", "warm: "] {
        assert_eq!(house.says().await, said);
    }
    house.end().await;
}

#[tokio::test]
async fn a_rank_that_cannot_start_fails_its_attempt_and_the_device_goes_on() {
    let mut house = House::new(RankProgram::Child {
        program: "/no/such/program".into(),
        args: Vec::new(),
        environment: Vec::new(),
    });
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
