//! What is counted as used: every attempt once, well or badly, whatever is restarted or forgotten in between.

use croft_core::{
    failure::Cause,
    farm::{Config, Farm},
    ids::SessionId,
    step::Event,
    time::Time,
    usage::Usage,
    view::{TaskState, WaitReason},
};

use crate::house::{House, job_of, two_layers};

const DAY_MS: u64 = 24 * 3_600_000;

fn of_show(house: &House, since: Time) -> Usage {
    house.farm.usage_by_show(since).into_iter().find(|(show, _)| show == "default").expect("a show").1
}

/// Time passes, and the worker stays in touch.
fn rest(house: &mut House, session: SessionId, seconds: u64) {
    for _ in 0..seconds {
        house.wait_ms(1_000);
        house.happens(Event::WorkerHeard { session });
    }
}

#[test]
fn every_attempt_counts_once_with_what_it_took_and_a_restart_changes_nothing() {
    let mut house = House::new();
    let job = house.submit(&job_of(2));
    let session = house.join("w1", 1);
    let first = house.one_started();
    rest(&mut house, session, 2);
    house.fails(&first, Cause::Crashed);
    let before = of_show(&house, Time(0));
    assert_eq!((before.attempts, before.wasted, before.bytes), (1, 1, 0));
    assert!(before.device_ms >= 2_000 && before.wasted_ms == before.device_ms, "{before:?}");
    for _ in 0..2 {
        rest(&mut house, session, 61);
        let next = house.one_started();
        rest(&mut house, session, 1);
        house.renders(&next);
    }
    let used = of_show(&house, Time(0));
    assert_eq!((used.attempts, used.wasted, used.wasted_ms), (3, 1, before.wasted_ms));
    assert!(used.bytes > 0 && used.device_ms >= before.device_ms + 2_000, "{used:?}");
    let tasks = house.farm.usage_by_task(&job, Time(0), None, 10).expect("a job");
    assert_eq!(tasks.len(), 2);
    let sum = tasks.into_iter().fold(Usage::default(), |sum, (_, usage)| sum + usage);
    assert_eq!((sum, house.farm.usage_by_job(Time(0))[0].2), (used, used));
    house.restarts();
    assert_eq!(of_show(&house, Time(0)), used);
    assert_eq!(house.farm.usage_by_job(Time(0))[0].2, used);
}

#[test]
fn more_attempts_than_a_task_remembers_are_counted_all_the_same() {
    let mut house = House::new();
    let job = house.submit(&job_of(1));
    let session = house.join("w1", 1);
    for _ in 0..20 {
        let started = house.one_started();
        rest(&mut house, session, 1);
        house.fails(&started, Cause::Yielded);
        rest(&mut house, session, 70);
    }
    let used = of_show(&house, Time(0));
    assert_eq!((used.attempts, used.wasted), (20, 20));
    assert!(house.task(&job, 0, 0).attempts.len() < 20, "older ones are forgotten");
    house.restarts();
    assert_eq!(of_show(&house, Time(0)), used);
}

#[test]
fn what_ended_before_a_day_is_left_out() {
    let mut house = House::new();
    house.submit(&job_of(2));
    house.join("w1", 1);
    let first = house.one_started();
    house.renders(&first);
    let all = of_show(&house, Time(0));
    assert_eq!(all.attempts, 1);
    let tomorrow = Time((house.now.0 / DAY_MS + 1) * DAY_MS);
    assert_eq!(of_show(&house, tomorrow), Usage::default());
    assert_eq!(of_show(&house, house.now), all);
}

#[test]
fn a_forgotten_jobs_usage_stays_with_its_show() {
    let mut house = House::new();
    house.farm = Farm::new(Config { jobs_kept: 1, ..Config::default() }, 1);
    house.submit(&job_of(1));
    house.join("w1", 1);
    let first = house.one_started();
    house.renders(&first);
    let used = of_show(&house, Time(0));
    assert_eq!(used.attempts, 1);
    house.submit(&job_of(1).replace("shots", "second"));
    assert_eq!(house.farm.usage_by_job(Time(0)).len(), 1, "the first is forgotten");
    assert_eq!(of_show(&house, Time(0)), used);
    house.restarts();
    assert_eq!(of_show(&house, Time(0)), used);
}

#[test]
fn a_jobs_trace_is_remembered_and_a_large_job_has_one_an_attempt() {
    let mut house = House::new();
    let few = house.submit_traced("one", &job_of(64), "00-a-b-01");
    let many = house.submit_traced("two", &job_of(65).replace("shots", "many"), "00-c-d-01");
    let none = house.submit(&job_of(1).replace("shots", "none"));
    house.restarts();
    let of = |job| house.farm.traced(job).map(|traced| (traced.parent, traced.apart));
    assert_eq!(of(&few), Some(("00-a-b-01".to_owned(), false)));
    assert_eq!(of(&many), Some(("00-c-d-01".to_owned(), true)));
    assert_eq!(of(&none), None);
}

/// What is stored of usage and traces, as it was stored first.
#[test]
fn stored_usage_is_read() {
    let text = include_str!("../fixtures/usage-1.json");
    let stored: std::collections::BTreeMap<String, serde_json::Value> =
        serde_json::from_str(text).expect("a fixture is JSON");
    let records: Vec<(String, Vec<u8>)> =
        stored.into_iter().map(|(key, value)| (key, value.to_string().into_bytes())).collect();
    let farm = Farm::recover(Config::default(), 1, Time(2_000_000), &records).expect("format 1");
    let shows = farm.usage_by_show(Time(0));
    let archive = Usage { attempts: 7, wasted: 1, device_ms: 70_000, wasted_ms: 1_000, bytes: 4_096 };
    assert_eq!(shows[0], ("archive".to_owned(), archive));
    assert_eq!(shows[1].0, "default");
    let default = shows[1].1;
    assert_eq!(
        (default.attempts, default.wasted, default.device_ms),
        (5, 4, 5_000),
        "two are remembered whole"
    );
    let since = farm.usage_by_show(Time(19_000 * DAY_MS));
    assert_eq!((since[0].1, since[1].1.attempts), (Usage::default(), 3));
    let job = farm.jobs()[0].id.clone();
    assert!(farm.traced(&job).is_some_and(|traced| traced.parent.starts_with("00-4bf9")));
}

#[test]
fn a_survey_counts_each_task_once_by_its_state_and_by_why_it_waits() {
    let mut house = House::new();
    let paused = house.submit(&job_of(3));
    house.happens(Event::JobPaused { job: paused, paused: true });
    house.submit(&two_layers(2).replace("shots", "second"));
    house.join("w1", 1);
    assert_eq!(house.take_started().len(), 1);
    let survey = house.farm.survey(house.now);
    assert_eq!(survey.jobs_active, 2);
    let of = |state| survey.tasks.get(&("default".to_owned(), state)).copied();
    assert_eq!(
        (of(TaskState::Queued), of(TaskState::Running), of(TaskState::Waiting)),
        (Some(4), Some(1), Some(2))
    );
    let waits: Vec<(WaitReason, u64)> = survey.waits.into_iter().collect();
    assert_eq!(waits, [(WaitReason::Layer, 2), (WaitReason::Paused, 3), (WaitReason::Busy, 1)]);
}
