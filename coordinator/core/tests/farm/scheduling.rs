//! Who gets work, in which order, and what a submission costs.

use croft_core::{
    ids::WorkerId,
    step::Event,
    view::{JobState, TaskState},
};

use crate::house::{House, device, job_of};

#[test]
fn a_job_runs_to_its_end() {
    let mut house = House::new();
    let job = house.submit(&job_of(3));
    house.join("w1", 2);
    while let Some(next) = house.started.pop() {
        house.check();
        house.renders(&next);
    }
    let view = house.farm.job(&job).expect("known");
    assert_eq!((view.state, view.counts.succeeded), (JobState::Succeeded, 3));
    house.check();
}

#[test]
fn submitting_ten_thousand_tasks_writes_one_record() {
    let mut house = House::new();
    house.submit(&job_of(10_000));
    assert_eq!(house.writes, 1);
}

#[test]
fn the_same_request_gives_the_same_job() {
    let mut house = House::new();
    let first = house.submit_as("u1", &job_of(1));
    let again = house.submit_as("u1", &job_of(1));
    let other = house.submit_as("u2", &job_of(1));
    assert_eq!(first, again);
    assert_eq!((first.as_str(), other.as_str()), ("shots", "shots-2"));
    assert_eq!(house.farm.jobs().len(), 2);
}

#[test]
fn a_task_runs_on_one_device_at_a_time() {
    let mut house = House::new();
    house.submit(&job_of(1));
    house.join("w1", 1);
    house.join("w2", 1);
    assert_eq!(house.take_started().len(), 1);
}

#[test]
fn the_urgent_job_goes_first() {
    let mut house = House::new();
    house.submit(&job_of(2));
    let urgent = house.submit(&job_of(1).replace("name: shots", "name: urgent\npriority: 90"));
    house.join("w1", 1);
    assert_eq!(house.one_started().attempt.task.job, urgent);
}

#[test]
fn a_model_stays_where_its_weights_are() {
    let mut house = House::new();
    house.submit(&job_of(1).replace("model: clip", "model: other"));
    let wanted = house.submit(&job_of(1));
    let session = house.join("w1", 0);
    house.happens(Event::WorkerLeft { session, goodbye: true });
    // Both jobs wait with one priority; the device that holds the second one's weights takes the second.
    let mut worker = House::new();
    worker.submit(&job_of(1).replace("model: clip", "model: other"));
    let second = worker.submit(&job_of(1));
    let session = worker.rejoin("w1", 1, "w1", Vec::new());
    let first = worker.one_started();
    let resident_models = vec!["clip".to_owned()];
    worker.happens(Event::DeviceReported { session, index: 0, resident_models });
    worker.submit(&job_of(1).replace("model: clip", "model: other").replace("shots", "more"));
    worker.renders(&first);
    assert_eq!(worker.one_started().attempt.task.job, second);
    assert_eq!(wanted.as_str(), "shots-2");
}

#[test]
fn a_task_without_a_worker_says_why_it_waits() {
    let mut house = House::new();
    let job = house.submit(&job_of(2));
    assert_eq!(house.task(&job, 0, 0).wait_reason, "no worker is connected");
    house.join("w1", 1);
    assert_eq!(house.task(&job, 0, 1).wait_reason, "all 1 devices are busy");
}

#[test]
fn a_model_that_makes_nothing_settles_without_publication() {
    let mut house = House::new();
    let job = house.submit(&job_of(1).replace("model: clip", "model: nothing"));
    house.join("w1", 1);
    let started = house.one_started();
    house.saves(&started);
    assert!(house.publishing.is_empty());
    assert_eq!(house.state(&job, 0, 0), TaskState::Succeeded);
}

#[test]
fn a_device_is_free_while_its_clip_is_published() {
    let mut house = House::new();
    let job = house.submit(&job_of(2));
    house.join("w1", 1);
    let first = house.one_started();
    house.saves(&first);
    assert_eq!(house.state(&job, 0, 0), TaskState::Publishing);
    assert_eq!(house.one_started().device, device("w1", 0));
    assert_eq!(house.farm.workers()[0].id, WorkerId::new("w1").expect("a name"));
}
