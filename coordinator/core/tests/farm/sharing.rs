//! Shows, limits, tags, locks, pauses: who may have which device, and how many.

use croft_core::{
    failure::Cause,
    show::ShowSettings,
    step::Event,
    view::{JobState, TaskState, WaitReason},
    worker::LockKind,
};

use crate::house::{House, job_of};

fn of_show(show: &str, tasks: u32) -> String {
    job_of(tasks).replace("name: shots\n", &format!("name: {show}\nshow: {show}\n"))
}

#[test]
fn twice_the_weight_gets_twice_the_device_time() {
    let mut house = House::new();
    for (show, weight) in [("big", 200), ("small", 100)] {
        let settings = ShowSettings { weight, max_devices: None };
        house.happens(Event::ShowSet { show: show.into(), settings });
        house.submit(&of_show(show, 900));
    }
    house.join("w1", 4);
    let mut rendered = std::collections::BTreeMap::<String, u32>::new();
    let mut running = house.take_started();
    for _ in 0..600 {
        let next = running.remove(0);
        *rendered.entry(next.attempt.task.job.to_string()).or_default() += 1;
        house.now = house.now.plus_ms(500);
        house.renders(&next);
        running.extend(house.take_started());
    }
    let (big, small) = (f64::from(rendered["big"]), f64::from(rendered["small"]));
    assert!((big / small / 2.0 - 1.0).abs() < 0.05, "{rendered:?}");
}

#[test]
fn a_show_that_slept_has_saved_nothing_up() {
    let mut house = House::new();
    house.submit(&of_show("busy", 400));
    house.join("w1", 1);
    let mut next = house.one_started();
    for _ in 0..200 {
        house.now = house.now.plus_ms(500);
        house.renders(&next);
        next = house.one_started();
    }
    house.submit(&of_show("late", 400));
    let mut late = 0;
    for _ in 0..100 {
        house.now = house.now.plus_ms(500);
        house.renders(&next);
        next = house.one_started();
        late += u32::from(next.attempt.task.job.as_str() == "late");
    }
    assert!((45..=55).contains(&late), "{late} of 100");
}

#[test]
fn a_show_holds_no_more_devices_than_it_may() {
    let mut house = House::new();
    let settings = ShowSettings { weight: 100, max_devices: Some(2) };
    house.happens(Event::ShowSet { show: "capped".into(), settings });
    let job = house.submit(&of_show("capped", 5));
    house.join("w1", 4);
    assert_eq!(house.take_started().len(), 2);
    assert_eq!(house.why(&job, 0, 4).reason, WaitReason::Quota);
}

#[test]
fn a_limit_is_never_passed_and_an_unknown_one_lets_nothing_through() {
    let mut house = House::new();
    let text = job_of(4).replace("prompt: a tote\n", "prompt: a tote\n    resources: {limits: nuke}\n");
    let job = house.submit(&text);
    house.join("w1", 4);
    assert!(house.take_started().is_empty());
    let wait = house.why(&job, 0, 0);
    assert_eq!((wait.reason, wait.words.contains("not defined")), (WaitReason::Limit, true), "{wait:?}");
    house.happens(Event::LimitSet { limit: "nuke".into(), max: Some(2) });
    let running = house.take_started();
    assert_eq!(running.len(), 2);
    house.saves(&running[0]);
    assert_eq!(house.take_started().len(), 1, "a saved clip holds no licence");
}

#[test]
fn a_layer_goes_only_to_workers_that_have_its_tags() {
    let mut house = House::new();
    let text = job_of(2).replace("prompt: a tote\n", "prompt: a tote\n    resources: {pool: gpu}\n");
    let job = house.submit(&text);
    house.join("plain", 2);
    assert!(house.take_started().is_empty());
    let wait = house.why(&job, 0, 0);
    assert_eq!((wait.reason, wait.unusable), (WaitReason::NoFit, vec!["plain (not tagged gpu)".to_owned()]));
    house.join_tagged("tagged", 1, &["gpu"]);
    assert_eq!(house.one_started().device.worker.as_str(), "tagged");
}

#[test]
fn a_locked_worker_gets_no_work_and_keeps_what_it_runs() {
    let mut house = House::new();
    let job = house.submit(&job_of(2));
    house.join("w1", 1);
    let first = house.one_started();
    house.lock("w1", LockKind::Draining, true);
    assert!(house.revoked.is_empty());
    house.renders(&first);
    assert!(house.take_started().is_empty());
    assert_eq!(house.why(&job, 0, 1).reason, WaitReason::Locked);
    house.lock("w1", LockKind::Draining, false);
    assert_eq!(house.take_started().len(), 1);
}

#[test]
fn one_lock_does_not_open_another() {
    let mut house = House::new();
    house.submit(&job_of(1));
    house.join("w1", 0);
    house.lock("w1", LockKind::Locked, true);
    house.lock("w1", LockKind::Nimby, true);
    house.lock("w1", LockKind::Nimby, false);
    house.rejoin("w1", 1, "w1", Vec::new());
    assert!(house.take_started().is_empty(), "a wrangler's lock outlives the owner's return and a new hello");
}

#[test]
fn an_owner_who_comes_back_gets_the_machine_and_the_task_loses_no_try() {
    let mut house = House::new();
    let job = house.submit(&format!("{}policy: {{retries: 0}}\n", job_of(1)));
    house.join("desk", 1);
    let first = house.one_started();
    house.lock_giving_back("desk", LockKind::Nimby);
    assert_eq!(house.revoked[0].1, first.attempt);
    house.join("farm", 1);
    assert!(house.take_started().is_empty(), "the step that it goes on from is still to come");
    house.fails(&first, Cause::Cancelled);
    assert_eq!(house.one_started().device.worker.as_str(), "farm");
    assert_eq!(house.state(&job, 0, 0), TaskState::Running);
}

#[test]
fn a_task_that_was_given_back_does_not_wait_for_ever_for_its_step() {
    let mut house = House::new();
    house.submit(&job_of(1));
    house.join("desk", 1);
    house.one_started();
    house.lock_giving_back("desk", LockKind::Nimby);
    house.join("farm", 1);
    house.wait_ms(1_900);
    assert!(house.take_started().is_empty());
    house.wait_ms(200);
    assert_eq!(house.one_started().device.worker.as_str(), "farm");
}

#[test]
fn a_paused_job_starts_nothing_and_goes_on_when_resumed() {
    let mut house = House::new();
    let job = house.submit(&job_of(3));
    house.join("w1", 1);
    let first = house.one_started();
    house.happens(Event::JobPaused { job: job.clone(), paused: true });
    house.renders(&first);
    assert!(house.take_started().is_empty());
    assert_eq!(house.why(&job, 0, 1).reason, WaitReason::Paused);
    house.happens(Event::JobPaused { job: job.clone(), paused: false });
    assert_eq!(house.take_started().len(), 1);
}

#[test]
fn a_raised_priority_is_served_next() {
    let mut house = House::new();
    house.submit(&job_of(3));
    let late = house.submit(&job_of(3));
    house.join("w1", 1);
    let first = house.one_started();
    house.happens(Event::JobUpdated { job: late.clone(), priority: 80 });
    house.renders(&first);
    assert_eq!(house.one_started().attempt.task.job, late);
}

#[test]
fn a_job_that_waits_long_enough_is_served_among_more_urgent_ones() {
    let mut house = House::new();
    house.submit(&job_of(500).replace("name: shots\n", "name: urgent\npriority: 52\n"));
    let patient = house.submit(&job_of(5));
    let session = house.join("w1", 1);
    let mut next = house.one_started();
    let mut minutes = 0;
    while next.attempt.task.job != patient {
        minutes += 1;
        assert!(minutes < 40, "three points are half an hour");
        house.now = house.now.plus_ms(60_000);
        house.happens(Event::WorkerHeard { session });
        house.renders(&next);
        next = house.one_started();
    }
    assert!(minutes > 20, "and not much less: {minutes}");
}

#[test]
fn a_skipped_task_lets_those_go_on_that_wait_for_it() {
    let mut house = House::new();
    let job = house.submit(&crate::house::two_layers(2));
    let ids: Vec<_> = house.all(&job).into_iter().filter(|t| t.layer == "draft").map(|t| t.id).collect();
    house.happens(Event::TasksSkipped { job: job.clone(), tasks: ids });
    house.join("w1", 2);
    for started in house.take_started() {
        assert_eq!(started.attempt.task.layer, 1);
        house.renders(&started);
    }
    let view = house.farm.job(&job).expect("known");
    assert_eq!((view.state, view.counts.skipped, view.counts.succeeded), (JobState::Succeeded, 2, 2));
    house.check();
}

#[test]
fn skipping_what_failed_revives_what_waited_for_it() {
    let mut house = House::new();
    let job = house.submit(&crate::house::two_layers(1));
    house.join("w1", 1);
    let first = house.one_started();
    house.fails(&first, croft_core::failure::Cause::NanOutput);
    assert_eq!(house.state(&job, 1, 0), TaskState::Cancelled);
    house.happens(Event::TasksSkipped { job: job.clone(), tasks: vec![first.attempt.task.clone()] });
    let second = house.one_started();
    house.renders(&second);
    assert_eq!(house.farm.job(&job).expect("known").state, JobState::Succeeded);
    house.check();
}
