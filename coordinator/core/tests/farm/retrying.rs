//! What becomes of a task whose attempt ended badly.

use croft_core::{
    failure::{Cause, Failure},
    step::Event,
    view::{JobState, TaskState, WaitReason},
};

use crate::house::{House, job_of};

#[test]
fn a_crash_is_tried_again_and_both_attempts_are_told() {
    let mut house = House::new();
    let job = house.submit(&job_of(1));
    house.join("w1", 1);
    let first = house.one_started();
    house.fails(&first, Cause::Crashed);
    assert_eq!(house.state(&job, 0, 0), TaskState::Queued);
    assert!(house.task(&job, 0, 0).wait_reason.starts_with("tries again in"));
    house.wait_ms(1_000);
    let second = house.one_started();
    assert_eq!(second.attempt.number, 2);
    assert_ne!(second.prefix, first.prefix);
    house.renders(&second);
    let task = house.task(&job, 0, 0);
    assert_eq!(task.state, TaskState::Succeeded);
    assert_eq!(task.attempts.len(), 2);
    assert_eq!(task.attempts[0].failure.as_ref().map(|f| f.cause), Some(Cause::Crashed));
    assert_eq!(task.attempts[1].failure, None);
    assert_eq!(house.farm.job(&job).expect("known").counts.retried[&Cause::Crashed], 1);
    house.check();
}

#[test]
fn a_late_report_of_an_older_attempt_changes_nothing() {
    let mut house = House::new();
    let job = house.submit(&job_of(1));
    house.join("w1", 1);
    let first = house.one_started();
    house.fails(&first, Cause::Crashed);
    house.wait_ms(1_000);
    let second = house.one_started();
    house.saves(&first);
    assert!(house.publishing.is_empty(), "an echo is not published");
    assert_eq!(house.collected.last(), Some(&first.prefix), "what the echo saved is removed");
    house.fails(&first, Cause::NanOutput);
    assert_eq!(house.state(&job, 0, 0), TaskState::Running);
    house.renders(&second);
    assert_eq!(house.state(&job, 0, 0), TaskState::Succeeded);
    house.fails(&first, Cause::Cancelled);
    let task = first.prefix.rsplit_once('/').expect("a folder of the task").0;
    assert_eq!(
        house.collected.last().map(String::as_str),
        Some(task),
        "steps that the echo kept are removed"
    );
    assert_eq!(house.state(&job, 0, 0), TaskState::Succeeded);
}

#[test]
fn a_publication_that_answers_twice_settles_once() {
    let mut house = House::new();
    let job = house.submit(&job_of(1));
    house.join("w1", 1);
    let first = house.one_started();
    house.saves(&first);
    house.saves(&first);
    assert_eq!(house.publishing.len(), 1, "saved twice is published once");
    house.publishes();
    let failure = Failure::new(Cause::TimeoutTotal, "late", "");
    house.happens(Event::Published { attempt: first.attempt, outcome: Err(failure) });
    assert_eq!(house.state(&job, 0, 0), TaskState::Succeeded);
    house.check();
}

#[test]
fn nan_fails_at_once() {
    let mut house = House::new();
    let job = house.submit(&job_of(1));
    house.join("w1", 1);
    let first = house.one_started();
    house.fails(&first, Cause::NanOutput);
    house.wait_ms(100_000);
    let view = house.farm.job(&job).expect("known");
    assert_eq!((view.state, view.counts.failed), (JobState::Failed, 1));
    assert_eq!(house.task(&job, 0, 0).failure.expect("it failed").cause, Cause::NanOutput);
}

#[test]
fn tries_are_counted_and_end() {
    let mut house = House::new();
    let job = house.submit(&format!("{}policy: {{retries: 2}}\n", job_of(1)));
    let session = house.join("w1", 1);
    for _ in 0..3 {
        let started = house.one_started();
        house.fails(&started, Cause::CollectiveTimeout);
        house.wait_ms(9_000);
        house.happens(Event::WorkerHeard { session });
    }
    let failure = house.task(&job, 0, 0).failure.expect("it failed");
    assert!(failure.message.ends_with("given up after 3 tries"), "{}", failure.message);
}

#[test]
fn yielding_costs_no_try() {
    let mut house = House::new();
    let job = house.submit(&format!("{}policy: {{retries: 0}}\n", job_of(1)));
    house.join("w1", 1);
    for _ in 0..3 {
        let started = house.one_started();
        house.fails(&started, Cause::Yielded);
    }
    let started = house.one_started();
    house.fails(&started, Cause::Yielded);
    assert!(house.started.is_empty(), "what is given back again and again does not spin");
    house.wait_ms(1_000);
    let started = house.one_started();
    house.renders(&started);
    assert_eq!(house.state(&job, 0, 0), TaskState::Succeeded);
}

#[test]
fn a_failed_task_goes_to_another_worker() {
    let mut house = House::new();
    house.submit(&job_of(1));
    house.join("w1", 1);
    let first = house.one_started();
    house.join("w2", 1);
    house.fails(&first, Cause::OomDevice);
    house.wait_ms(1_000);
    assert_eq!(house.one_started().device.worker.as_str(), "w2");
}

#[test]
fn a_device_that_fails_everything_does_not_eat_the_job() {
    let mut house = House::new();
    let job = house.submit(&job_of(8));
    let bad = house.join("bad", 1);
    for _ in 0..3 {
        let started = house.one_started();
        assert_eq!(started.session, bad);
        house.fails(&started, Cause::Crashed);
    }
    assert!(house.started.is_empty(), "the job leaves the device alone");
    let waits = house.farm.explain(house.now, &house.task(&job, 0, 7).id).expect("a task");
    assert_eq!(waits.reason, WaitReason::Avoided, "{waits:?}");
    house.join("good", 1);
    house.wait_ms(5_000);
    let mut rendered = 0;
    while let Some(next) = house.started.pop() {
        assert_eq!(next.device.worker.as_str(), "good");
        house.renders(&next);
        rendered += 1;
    }
    assert_eq!((rendered, house.farm.job(&job).expect("known").state), (8, JobState::Succeeded));
}

#[test]
fn retrying_by_hand_gives_a_fresh_budget() {
    let mut house = House::new();
    let job = house.submit(&job_of(1));
    house.join("w1", 1);
    let first = house.one_started();
    house.fails(&first, Cause::NanOutput);
    let tasks = vec![first.attempt.task.clone()];
    house.happens(Event::TasksRetried { job: job.clone(), tasks });
    assert_eq!(house.farm.job(&job).expect("known").state, JobState::Active);
    let second = house.one_started();
    house.renders(&second);
    assert_eq!(house.farm.job(&job).expect("known").state, JobState::Succeeded);
    house.check();
}

#[test]
fn a_step_that_never_ends_is_ended() {
    let mut house = House::new();
    let job = house.submit(&format!("{}policy: {{timeout: {{no_progress: 60s}}}}\n", job_of(1)));
    let session = house.join("w1", 1);
    let first = house.one_started();
    house.steps(&first, 1);
    for _ in 0..14 {
        house.wait_ms(5_000);
        house.happens(Event::WorkerHeard { session });
    }
    assert_eq!(house.revoked.first().map(|(_, attempt, now)| (attempt, *now)), Some((&first.attempt, true)));
    let task = house.task(&job, 0, 0);
    assert_eq!(task.attempts[0].failure.as_ref().map(|f| f.cause), Some(Cause::TimeoutNoProgress));
}

#[test]
fn a_clip_is_not_rendered_again_because_the_store_was_away() {
    let mut house = House::new();
    let job = house.submit(&job_of(1));
    house.join("w1", 1);
    let started = house.one_started();
    house.saves(&started);
    let mut publications = 0;
    for _ in 0..5 {
        for (attempt, _) in std::mem::take(&mut house.publishing) {
            publications += 1;
            let failure = Failure::new(Cause::StoreUnavailable, "connection refused", "");
            house.happens(Event::Published { attempt, outcome: Err(failure) });
        }
        house.wait_ms(5_000);
    }
    assert!(publications >= 3, "{publications}");
    house.publishes();
    let task = house.task(&job, 0, 0);
    assert_eq!((task.state, task.attempts.len()), (TaskState::Succeeded, 1));
}

#[test]
fn a_cause_has_the_tries_that_the_job_gives_it() {
    let mut house = House::new();
    let text = format!("{}policy: {{retries: {{default: 2, OOM_DEVICE: 0}}}}\n", job_of(2));
    let job = house.submit(&text);
    let session = house.join("w1", 2);
    let started = house.take_started();
    house.fails(&started[0], Cause::OomDevice);
    house.fails(&started[1], Cause::CollectiveTimeout);
    house.wait_ms(3_000);
    house.happens(Event::WorkerHeard { session });
    assert_eq!(house.state(&job, 0, 0), TaskState::Failed);
    assert_eq!(house.state(&job, 0, 1), TaskState::Running);
}

#[test]
fn a_stage_that_takes_too_long_is_ended() {
    let mut house = House::new();
    let job = house.submit(&format!("{}policy: {{timeout: {{load: 20s}}}}\n", job_of(1)));
    let session = house.join("w1", 1);
    house.one_started();
    for _ in 0..5 {
        house.wait_ms(5_000);
        house.happens(Event::WorkerHeard { session });
    }
    let failure = house.task(&job, 0, 0).attempts[0].failure.clone().expect("it was ended");
    assert_eq!(failure.cause, Cause::TimeoutTotal);
    assert!(failure.message.contains("stage 'load'"), "{}", failure.message);
}
