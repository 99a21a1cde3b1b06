//! Layers that wait for one another.

use croft_core::{
    failure::Cause,
    step::Event,
    view::{JobState, Selector, TaskState},
};

use crate::house::{House, two_layers};

#[test]
fn a_task_waits_for_its_counterpart_alone() {
    let mut house = House::new();
    let job = house.submit(&two_layers(2));
    house.join("w1", 1);
    assert_eq!(house.state(&job, 1, 0), TaskState::Waiting);
    assert_eq!(house.task(&job, 1, 0).wait_reason, "waits for shots/draft/0001");
    let draft = house.one_started();
    house.renders(&draft);
    // The device was free as soon as the first draft was saved, before it was published.
    let draft = house.one_started();
    assert_eq!((draft.attempt.task.layer, draft.attempt.task.task), (0, 1));
    house.saves(&draft);
    let next = house.one_started();
    assert_eq!((next.attempt.task.layer, next.attempt.task.task), (1, 0), "what completes a shot goes first");
    assert_eq!(house.state(&job, 1, 1), TaskState::Waiting);
    house.check();
}

#[test]
fn a_failed_draft_cancels_its_final_and_no_other() {
    let mut house = House::new();
    let job = house.submit(&two_layers(2));
    house.join("w1", 1);
    let draft = house.one_started();
    house.fails(&draft, Cause::NanOutput);
    let task = house.task(&job, 1, 0);
    assert_eq!(task.state, TaskState::Cancelled);
    assert_eq!(task.failure.expect("a reason").message, "shots/draft/0001, which it waits for, failed");
    while let Some(next) = house.started.pop() {
        house.renders(&next);
    }
    let view = house.farm.job(&job).expect("known");
    assert_eq!((view.state, view.counts.succeeded), (JobState::Failed, 2));
    house.check();
}

#[test]
fn retrying_both_layers_runs_them_in_order() {
    let mut house = House::new();
    let job = house.submit(&two_layers(1));
    house.join("w1", 1);
    let draft = house.one_started();
    house.fails(&draft, Cause::NanOutput);
    let tasks = house.farm.task_ids(&job, &Selector::default()).expect("known");
    house.happens(Event::TasksRetried { job: job.clone(), tasks });
    assert_eq!(house.state(&job, 1, 0), TaskState::Waiting);
    let draft = house.one_started();
    assert_eq!(draft.attempt.task.layer, 0);
    house.renders(&draft);
    let last = house.one_started();
    assert_eq!(last.attempt.task.layer, 1);
    house.renders(&last);
    assert_eq!(house.farm.job(&job).expect("known").state, JobState::Succeeded);
    house.check();
}
