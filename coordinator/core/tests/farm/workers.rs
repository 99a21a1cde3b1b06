//! Workers that fall silent, come back, start anew, or share a name.

use croft_core::{
    failure::Cause,
    step::Event,
    view::{TaskState, WorkerState},
};

use crate::house::{House, job_of};

#[test]
fn a_silent_worker_loses_its_attempts() {
    let mut house = House::new();
    let job = house.submit(&job_of(1));
    let silent = house.join("silent", 1);
    let first = house.one_started();
    let other = house.join("other", 1);
    for _ in 0..7 {
        house.wait_ms(2_000);
        house.happens(Event::WorkerHeard { session: other });
    }
    assert_eq!(house.hung_up, vec![silent]);
    let second = house.one_started();
    assert_eq!(second.session, other);
    house.renders(&second);
    // The zombie wakes and reports over its old stream.
    house.saves(&first);
    let task = house.task(&job, 0, 0);
    assert_eq!(task.state, TaskState::Succeeded);
    assert_eq!(task.attempts[0].failure.as_ref().map(|f| f.cause), Some(Cause::LeaseLost));
    assert!(house.publishing.is_empty());
    house.check();
}

#[test]
fn a_broken_stream_within_the_lease_breaks_nothing() {
    let mut house = House::new();
    let job = house.submit(&job_of(1));
    let session = house.join("w1", 1);
    let first = house.one_started();
    house.happens(Event::WorkerLeft { session, goodbye: false });
    house.wait_ms(3_000);
    let back = house.rejoin("w1", 1, "w1", vec![first.attempt.clone()]);
    assert!(house.revoked.is_empty());
    house.reports_saved(back, &first.attempt);
    house.publishes();
    assert_eq!(house.task(&job, 0, 0).attempts.len(), 1);
    assert_eq!(house.state(&job, 0, 0), TaskState::Succeeded);
}

#[test]
fn a_worker_that_started_anew_lost_what_it_ran() {
    let mut house = House::new();
    let job = house.submit(&job_of(1));
    let session = house.join("w1", 1);
    house.one_started();
    house.happens(Event::WorkerLeft { session, goodbye: false });
    house.rejoin("w1", 1, "another process", Vec::new());
    let task = house.task(&job, 0, 0);
    assert_eq!(task.attempts[0].failure.as_ref().map(|f| f.cause), Some(Cause::LeaseLost));
    house.wait_ms(1_000);
    assert_eq!(house.one_started().attempt.number, 2);
    house.check();
}

#[test]
fn a_worker_back_after_its_lease_is_told_to_stop() {
    let mut house = House::new();
    house.submit(&job_of(1));
    house.join("w1", 1);
    let first = house.one_started();
    house.wait_ms(11_000);
    let back = house.rejoin("w1", 1, "w1", vec![first.attempt.clone()]);
    assert_eq!(house.revoked, vec![(back, first.attempt, true)]);
    house.check();
}

#[test]
fn two_workers_of_one_name_are_told_apart() {
    let mut house = House::new();
    house.join("w1", 1);
    let second = house.rejoin("w1", 1, "another process", Vec::new());
    assert_eq!(house.refused.len(), 1);
    assert_eq!(house.refused[0].0, second);
    assert!(house.refused[0].1.contains("another --name"), "{}", house.refused[0].1);
}

#[test]
fn goodbye_gives_the_work_back_at_once_and_at_no_cost() {
    let mut house = House::new();
    let job = house.submit(&format!("{}policy: {{retries: 0}}\n", job_of(1)));
    let leaving = house.join("leaving", 1);
    house.one_started();
    house.join("staying", 1);
    house.happens(Event::WorkerLeft { session: leaving, goodbye: true });
    assert_eq!(house.one_started().device.worker.as_str(), "staying");
    assert_eq!(house.task(&job, 0, 0).attempts[0].failure.as_ref().map(|f| f.cause), Some(Cause::Yielded));
    let states: Vec<WorkerState> = house.farm.workers().into_iter().map(|w| w.state).collect();
    assert_eq!(states, vec![WorkerState::Gone, WorkerState::Ready]);
}

#[test]
fn a_pause_of_the_farm_itself_ends_nobodys_attempts() {
    let mut house = House::new();
    let job = house.submit(&job_of(1));
    house.join("w1", 1);
    house.one_started();
    house.now = house.now.plus_ms(60_000);
    house.ticks();
    assert_eq!(house.state(&job, 0, 0), TaskState::Running, "what w1 said meanwhile may lie unread");
    house.wait_ms(11_000);
    assert_eq!(house.state(&job, 0, 0), TaskState::Queued, "now it was silent");
}
