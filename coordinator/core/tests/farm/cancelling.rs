//! Cancelled is cancelled, whatever still comes in.

use croft_core::{
    step::Event,
    view::{JobState, Selector, TaskState},
};

use crate::house::{House, job_of};

#[test]
fn a_cancelled_job_ends_running_and_queued_tasks_alike() {
    let mut house = House::new();
    let job = house.submit(&job_of(1_000));
    house.join("w1", 1);
    let first = house.one_started();
    house.happens(Event::JobCancelled { job: job.clone(), now: false });
    let view = house.farm.job(&job).expect("known");
    assert_eq!((view.state, view.counts.cancelled), (JobState::Cancelled, 1_000));
    assert_eq!(house.revoked.len(), 1);
    house.check();
    house.saves(&first);
    assert!(house.publishing.is_empty(), "a cancelled task is not published");
    assert_eq!(house.farm.job(&job).expect("known").counts.succeeded, 0);
}

#[test]
fn a_cancelled_device_gets_work_once_it_has_stopped() {
    let mut house = House::new();
    let job = house.submit(&job_of(1));
    house.join("w1", 1);
    let first = house.one_started();
    house.happens(Event::JobCancelled { job, now: false });
    house.submit(&job_of(1).replace("shots", "next"));
    assert!(house.started.is_empty(), "its rank still ends a step");
    house.fails(&first, croft_core::failure::Cause::Cancelled);
    assert_eq!(house.one_started().attempt.task.job.as_str(), "next");
}

#[test]
fn what_is_being_published_is_let_through() {
    let mut house = House::new();
    let job = house.submit(&job_of(2));
    house.join("w1", 1);
    let first = house.one_started();
    house.saves(&first);
    house.happens(Event::JobCancelled { job: job.clone(), now: true });
    assert_eq!(house.farm.job(&job).expect("known").state, JobState::Active);
    house.publishes();
    let view = house.farm.job(&job).expect("known");
    assert_eq!((view.state, view.counts.succeeded, view.counts.cancelled), (JobState::Cancelled, 1, 1));
    house.check();
}

#[test]
fn cancelled_tasks_can_be_retried() {
    let mut house = House::new();
    let job = house.submit(&job_of(3));
    house.happens(Event::JobCancelled { job: job.clone(), now: true });
    let cancelled = Selector { states: vec![TaskState::Cancelled], ..Selector::default() };
    let tasks = house.farm.task_ids(&job, &cancelled).expect("known");
    assert_eq!(tasks.len(), 3);
    house.happens(Event::TasksRetried { job: job.clone(), tasks: tasks[..2].to_vec() });
    house.join("w1", 3);
    let started = house.take_started();
    assert_eq!(started.len(), 2);
    started.iter().for_each(|next| house.renders(next));
    let view = house.farm.job(&job).expect("known");
    assert_eq!((view.state, view.counts.succeeded, view.counts.cancelled), (JobState::Cancelled, 2, 1));
    house.check();
}
