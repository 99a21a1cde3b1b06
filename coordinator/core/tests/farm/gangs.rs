//! Tasks that need several devices: placed whole, ended whole, and never starved by small ones.

use croft_core::{
    failure::Cause,
    step::{Assignment, Event},
    view::{TaskState, WaitReason},
};

use crate::house::{House, job_of};

fn gang_of(ranks: u32, topology: &str) -> String {
    let wants = format!("prompt: a tote\n    resources: {{ranks: {ranks}, topology: {topology}}}\n");
    job_of(1)
        .replace("name: shots", "name: hero")
        .replace("model: clip", "model: large")
        .replace("prompt: a tote\n", &wants)
}

fn house() -> House {
    House { ranks: 8, ..House::new() }
}

#[test]
fn a_gang_is_placed_whole_on_one_worker() {
    let mut house = house();
    house.submit(&gang_of(3, "same_worker"));
    house.join("a", 2);
    assert!(house.take_started().is_empty(), "two devices here and one there are not three on one worker");
    house.join("b", 4);
    let started = house.take_started();
    let ranks: Vec<(u32, u32)> = started.iter().map(|a| (a.rank, a.ranks)).collect();
    assert_eq!(ranks, [(0, 3), (1, 3), (2, 3)]);
    assert!(started.iter().all(|a| a.device.worker.as_str() == "b"));
}

#[test]
fn a_gang_is_published_once_when_all_its_ranks_are_done() {
    let mut house = house();
    let job = house.submit(&gang_of(2, "any"));
    house.join("a", 1);
    house.join("b", 1);
    let started = house.take_started();
    house.saves(&started[0]);
    assert!(house.publishing.is_empty(), "a rank still runs");
    house.saves(&started[1]);
    house.saves(&started[0]);
    assert_eq!(house.publishing.len(), 1);
    house.publishes();
    assert_eq!(house.state(&job, 0, 0), TaskState::Succeeded);
}

#[test]
fn one_rank_that_fails_ends_them_all() {
    let mut house = house();
    let job = house.submit(&gang_of(2, "any"));
    let _a = house.join("a", 1);
    let b = house.join("b", 1);
    let started = house.take_started();
    let (zero, one) = (&started[0], &started[1]);
    assert_eq!(one.session, b);
    house.fails(zero, Cause::OomDevice);
    assert_eq!(house.revoked, vec![(b, one.attempt.clone(), true)]);
    assert_eq!(house.state(&job, 0, 0), TaskState::Queued);
    house.wait_ms(1_200);
    assert!(house.take_started().is_empty(), "the other device is not free until its rank has stopped");
    house.fails(one, Cause::Cancelled);
    house.wait_ms(100);
    let again = house.take_started();
    assert_eq!(again.iter().map(|a| a.attempt.number).collect::<Vec<_>>(), [2, 2]);
    house.check();
}

#[test]
fn rank_0_of_a_gang_that_broke_leaves_its_step_to_the_next() {
    let mut house = house();
    house.submit(&gang_of(2, "any"));
    let a = house.join("a", 1);
    house.join("b", 1);
    let started = house.take_started();
    house.join("c", 2);
    let (zero, one) = (&started[0], &started[1]);
    house.fails(one, Cause::Crashed);
    assert_eq!(house.revoked, vec![(a, zero.attempt.clone(), false)]);
    house.wait_ms(1_000);
    assert!(house.take_started().is_empty(), "its step is still to come");
    house.fails(zero, Cause::CollectiveTimeout);
    assert_eq!(house.take_started().len(), 2);
}

#[test]
fn a_gang_in_which_somebody_hangs_is_ended_at_once() {
    let mut house = house();
    house.submit(&gang_of(2, "any"));
    house.join("a", 1);
    let b = house.join("b", 1);
    let started = house.take_started();
    house.fails(&started[0], Cause::CollectiveTimeout);
    assert_eq!(house.revoked, vec![(b, started[1].attempt.clone(), true)]);
}

#[test]
fn a_worker_that_dies_takes_the_whole_gang_with_it() {
    let mut house = house();
    let job = house.submit(&gang_of(2, "any"));
    let a = house.join("a", 1);
    let b = house.join("b", 1);
    house.take_started();
    for _ in 0..6 {
        house.wait_ms(2_000);
        house.happens(Event::WorkerHeard { session: a });
    }
    assert_eq!(house.hung_up, vec![b]);
    assert_eq!(house.revoked.len(), 1, "the rank on the living worker is stopped");
    let task = house.task(&job, 0, 0);
    assert_eq!(task.attempts[0].failure.as_ref().map(|f| f.cause), Some(Cause::LeaseLost));
}

#[test]
fn a_gang_starts_among_endless_small_tasks() {
    let mut house = house();
    house.submit(&job_of(5_000));
    let session = house.join("w1", 8);
    let mut running = house.take_started();
    // Eight tasks that end one after the other, ten seconds each, for ever.
    for turn in 0..40 {
        house.now = house.now.plus_ms(1_250);
        house.happens(Event::WorkerHeard { session });
        let done = running.remove(0);
        house.renders(&done);
        running.extend(house.take_started());
        if turn == 20 {
            let hero = gang_of(8, "same_worker").replace("name: hero", "name: hero\npriority: 60");
            house.submit(&hero);
        }
        if running.iter().any(|a| a.ranks == 8) {
            assert!(turn <= 20 + 9, "within the time of what ran when it came: turn {turn}");
            return;
        }
        if running.is_empty() {
            break;
        }
    }
    let hero = house.farm.jobs().into_iter().find(|job| job.id.as_str() == "hero").expect("submitted").id;
    panic!("it never started: {:?}", house.why(&hero, 0, 0));
}

#[test]
fn devices_that_are_kept_are_used_meanwhile_by_what_ends_in_time() {
    let mut house = house();
    // What a short and a long task take is measured first.
    house.submit(&job_of(4).replace("model: clip", "model: short").replace("shots", "short"));
    house.submit(&job_of(2).replace("model: clip", "model: long").replace("shots", "long"));
    let session = house.join("w1", 2);
    let mut long: Vec<Assignment> = Vec::new();
    let mut left = house.take_started();
    while let Some(next) = left.pop() {
        let takes = if next.recipe.model == "long" { 100_000 } else { 1_000 };
        if next.recipe.model == "long" && long.is_empty() && !house.farm.jobs().is_empty() {
            long.push(next);
        } else {
            for _ in 0..takes / 1_000 {
                house.now = house.now.plus_ms(1_000);
                house.happens(Event::WorkerHeard { session });
            }
            house.renders(&next);
        }
        left.extend(house.take_started());
    }
    let long = long.remove(0);
    house.renders(&long);
    house.take_started();
    // One device runs a long task; a gang of two waits; the free device is lent to short tasks and to no long one.
    house.submit(&job_of(1).replace("model: clip", "model: long").replace("shots", "blocker"));
    let blocker = house.one_started();
    let gang = house.submit(&gang_of(2, "same_worker").replace("name: hero", "name: hero\npriority: 60"));
    house.submit(&job_of(1).replace("model: clip", "model: long").replace("shots", "waits"));
    assert!(house.take_started().is_empty());
    house.submit(&job_of(1).replace("model: clip", "model: short").replace("shots", "lent"));
    let lent = house.one_started();
    assert_eq!(lent.recipe.model, "short");
    house.renders(&lent);
    assert!(house.take_started().is_empty(), "nothing else ends in time");
    house.now = house.now.plus_ms(5_000);
    house.renders(&blocker);
    assert_eq!(house.take_started().iter().filter(|a| a.attempt.task.job == gang).count(), 2);
}

#[test]
fn a_gang_that_can_never_be_placed_says_so() {
    let mut house = house();
    let job = house.submit(&gang_of(8, "any"));
    house.join("a", 2);
    let wait = house.why(&job, 0, 0);
    assert_eq!(wait.reason, WaitReason::NoFit, "{wait:?}");
    assert!(wait.words.contains("8 devices at once"), "{}", wait.words);
}
