//! A restart in the middle of things: what ran is known again, what was decided is done, nothing is done twice.

use croft_core::{
    failure::Cause,
    farm::{Config, Farm},
    record::Error,
    step::Event,
    time::Time,
    view::{JobState, TaskState},
    worker::LockKind,
};

use crate::house::{House, job_of, two_layers};

#[test]
fn what_ran_is_adopted_after_a_restart() {
    let mut house = House::new();
    let job = house.submit(&job_of(1));
    house.join("w1", 1);
    let first = house.one_started();
    house.restarts();
    assert_eq!(house.state(&job, 0, 0), TaskState::Running);
    let back = house.rejoin("w1", 1, "w1", vec![first.attempt.clone()]);
    assert!(house.revoked.is_empty() && house.take_started().is_empty());
    house.reports_saved(back, &first.attempt);
    house.publishes();
    let task = house.task(&job, 0, 0);
    assert_eq!((task.state, task.attempts.len()), (TaskState::Succeeded, 1));
    house.check();
}

#[test]
fn what_nobody_runs_any_more_is_started_anew_after_a_restart() {
    let mut house = House::new();
    let job = house.submit(&job_of(1));
    house.join("w1", 1);
    house.one_started();
    house.restarts();
    house.join("w2", 1);
    assert!(house.take_started().is_empty(), "its worker may still come");
    house.wait_ms(6_000);
    house.rejoin("w2", 1, "w2", Vec::new());
    house.wait_ms(5_000);
    let task = house.task(&job, 0, 0);
    assert_eq!(task.attempts[0].failure.as_ref().map(|f| f.cause), Some(Cause::LeaseLost));
    house.wait_ms(1_000);
    assert_eq!(house.one_started().attempt.number, 2);
}

#[test]
fn what_was_decided_is_published_after_a_restart() {
    let mut house = House::new();
    let job = house.submit(&job_of(1));
    house.join("w1", 1);
    let first = house.one_started();
    house.saves(&first);
    let decided = std::mem::take(&mut house.publishing);
    house.restarts();
    assert_eq!(house.publishing, decided, "by the same attempt, with the same sidecar");
    house.publishes();
    assert_eq!(house.state(&job, 0, 0), TaskState::Succeeded);
    house.check();
}

#[test]
fn a_restart_forgets_nothing_that_was_durable() {
    let mut house = House::new();
    let job = house.submit(&two_layers(40));
    let session = house.join("w1", 3);
    for round in 0..30 {
        for started in house.take_started() {
            match round % 5 {
                3 => house.fails(&started, Cause::Crashed),
                _ => house.renders(&started),
            }
        }
        house.happens(Event::WorkerHeard { session });
        house.wait_ms(300);
    }
    let (before, tasks) = (house.farm.job(&job), house.all(&job));
    house.restarts();
    let (after, again) = (house.farm.job(&job), house.all(&job));
    assert_eq!(before.as_ref().map(|job| &job.counts), after.as_ref().map(|job| &job.counts));
    for (before, after) in tasks.iter().zip(&again) {
        assert_eq!(
            (before.state, &before.failure, &before.published),
            (after.state, &after.failure, &after.published)
        );
        assert_eq!(before.attempts.len(), after.attempts.len());
    }
    house.check();
}

#[test]
fn a_paused_job_a_lock_a_share_and_a_limit_outlive_a_restart() {
    let mut house = House::new();
    let job = house.submit(&job_of(2));
    house.happens(Event::JobPaused { job: job.clone(), paused: true });
    house.join("w1", 1);
    house.lock("w1", LockKind::Locked, true);
    house.happens(Event::LimitSet { limit: "nuke".into(), max: Some(3) });
    let settings = croft_core::show::ShowSettings { weight: 7, max_devices: Some(2) };
    house.happens(Event::ShowSet { show: "default".into(), settings: settings.clone() });
    house.restarts();
    assert!(house.farm.job(&job).expect("known").paused);
    assert!(house.farm.workers()[0].locks.contains_key(&LockKind::Locked));
    assert_eq!(house.farm.limits()[0].max, Some(3));
    assert_eq!(house.farm.shows()[0].settings, settings);
}

#[test]
fn a_fence_is_never_minted_twice_even_when_the_clock_went_back() {
    let mut house = House::new();
    house.submit(&job_of(3));
    house.join("w1", 1);
    let first = house.one_started();
    house.farm = Farm::recover(Config::default(), 1, house.now, &house.records()).expect("good records");
    house.rejoin("w1", 1, "another process", Vec::new());
    house.wait_ms(1_000);
    assert!(house.one_started().attempt.fence > first.attempt.fence);
}

#[test]
fn the_same_request_after_a_restart_gives_the_same_job() {
    let mut house = House::new();
    let job = house.submit_as("u1", &job_of(1));
    house.restarts();
    assert_eq!(house.submit_as("u1", &job_of(1)), job);
    assert_eq!(house.submit_as("u2", &job_of(1)).as_str(), "shots-2");
}

#[test]
fn a_settled_job_stays_settled() {
    let mut house = House::new();
    let job = house.submit(&job_of(1));
    house.join("w1", 1);
    let first = house.one_started();
    house.renders(&first);
    house.restarts();
    let view = house.farm.job(&job).expect("known");
    assert_eq!((view.state, view.settled.is_some()), (JobState::Succeeded, true));
}

#[test]
fn records_of_a_newer_format_or_damaged_ones_are_refused_by_name() {
    let mut house = House::new();
    house.submit(&job_of(1));
    let records = |change: &dyn Fn(&str) -> String| -> Vec<(String, Vec<u8>)> {
        let text = |value: Vec<u8>| String::from_utf8(value).expect("JSON");
        house.records().into_iter().map(|(key, value)| (key, change(&text(value)).into_bytes())).collect()
    };
    let recover = |records: &[(String, Vec<u8>)]| {
        Farm::recover(Config::default(), 1, house.now, records).expect_err("bad records")
    };
    let newer = recover(&records(&|text| text.replace("\"version\":1", "\"version\":99")));
    assert_eq!(newer, Error::Newer { key: "jobs/shots".into(), version: 99, known: 1 });
    let damaged = recover(&records(&|text| text[..text.len() / 2].to_owned()));
    assert!(matches!(&damaged, Error::Damaged { key, .. } if key == "jobs/shots"), "{damaged}");
    let unknown = recover(&[("somebody/else".to_owned(), Vec::new())]);
    assert_eq!(unknown, Error::Unknown { key: "somebody/else".into() });
}

#[test]
fn a_clock_that_was_set_back_does_not_make_a_short_wait_a_long_one() {
    let mut house = House::new();
    house.submit(&job_of(1));
    house.join("w1", 1);
    let first = house.one_started();
    house.fails(&first, Cause::OomDevice);
    house.now = Time(1_000);
    house.restarts();
    let session = house.rejoin("w1", 1, "w1", Vec::new());
    for _ in 0..61 {
        house.wait_ms(1_000);
        house.happens(Event::WorkerHeard { session });
    }
    assert_eq!(house.one_started().attempt.number, 2);
}

/// The records of a farm in the middle of its work, as a coordinator of format 1 left them.
#[test]
fn a_store_of_format_1_is_read() {
    let text = include_str!("../fixtures/state-1.json");
    let stored: std::collections::BTreeMap<String, serde_json::Value> =
        serde_json::from_str(text).expect("a fixture is JSON");
    let records: Vec<(String, Vec<u8>)> =
        stored.into_iter().map(|(key, value)| (key, value.to_string().into_bytes())).collect();
    let farm = Farm::recover(Config::default(), 1, Time(2_000_000), &records).expect("format 1");
    let jobs: Vec<String> = farm
        .jobs()
        .iter()
        .map(|job| {
            let c = &job.counts;
            format!(
                "{} {:?} paused {}: {} queued, {} running, {} publishing, {} succeeded, {} failed, {} cancelled, {} skipped",
                job.id, job.state, job.paused, c.queued, c.running, c.publishing, c.succeeded, c.failed, c.cancelled, c.skipped
            )
        })
        .collect();
    assert_eq!(
        jobs,
        [
            "shots Active paused true: 1 queued, 1 running, 1 publishing, 1 succeeded, 1 failed, 0 cancelled, 1 skipped",
            "gone Cancelled paused false: 0 queued, 0 running, 0 publishing, 0 succeeded, 0 failed, 2 cancelled, 0 skipped",
        ]
    );
    assert_eq!(farm.workers()[0].locks.len(), 1);
    assert_eq!((farm.limits()[0].max, farm.shows()[0].settings.weight), (Some(3), 7));
}

/// Writes the fixture anew, for a new format: `CROFT_WRITE_FIXTURE=PATH cargo test -p croft-core --test farm fixture`.
#[test]
fn a_fixture_is_written_when_asked_for() {
    let mut house = House::new();
    house.happens(Event::LimitSet { limit: "nuke".into(), max: Some(3) });
    let settings = croft_core::show::ShowSettings { weight: 7, max_devices: Some(2) };
    house.happens(Event::ShowSet {
        show: "default".into(),
        settings: croft_core::show::ShowSettings::default(),
    });
    let job = house.submit(&job_of(6));
    house.join("w1", 4);
    let started = house.take_started();
    house.lock("w1", LockKind::Nimby, true);
    house.renders(&started[0]);
    house.saves(&started[1]);
    house.fails(&started[2], Cause::NanOutput);
    let tasks = vec![house.task(&job, 0, 4).id];
    house.happens(Event::TasksSkipped { job: job.clone(), tasks });
    let gone = house.submit(&job_of(2).replace("shots", "gone"));
    house.happens(Event::JobCancelled { job: gone, now: true });
    house.happens(Event::JobPaused { job, paused: true });
    house.happens(Event::ShowSet { show: "default".into(), settings });
    let records: std::collections::BTreeMap<String, serde_json::Value> = house
        .records()
        .into_iter()
        .map(|(key, value)| (key, serde_json::from_slice(&value).expect("JSON")))
        .collect();
    assert!(records.len() >= 6, "jobs, tasks, workers, shows, limits, fences");
    if let Ok(path) = std::env::var("CROFT_WRITE_FIXTURE") {
        let text = serde_json::to_string_pretty(&records).expect("JSON");
        std::fs::write(path, text + "\n").expect("the fixture is written");
    }
}
