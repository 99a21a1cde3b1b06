//! Shots in flight: tasks of one layer that join each other on the devices that share their model by layers.

use croft_core::{
    failure::Cause,
    show::ShowSettings,
    step::{Assignment, Event},
    view::{TaskState, WaitReason},
    worker::LockKind,
};

use crate::house::{House, job_of};

/// Tasks that two devices render by layers, of show `show`.
fn shots(tasks: u32, show: &str) -> String {
    job_of(tasks)
        .replace("name: shots\n", &format!("name: shots\nshow: {show}\n"))
        .replace("prompt: a tote\n", "prompt: a tote\n    resources: {ranks: 2, split: layers}\n")
}

/// A farm of `workers` with a device each.
fn house(workers: &[&str]) -> House {
    let mut house = House { ranks: 8, ..House::new() };
    for name in workers {
        house.join(name, 1);
    }
    house
}

/// Tasks by the number of their shot, and the devices on which each started.
fn places(started: &[Assignment]) -> Vec<(u32, u32, String)> {
    started.iter().map(|a| (a.attempt.task.task, a.rank, a.device.worker.to_string())).collect()
}

fn ends(house: &mut House, shot: &[Assignment]) {
    shot.iter().rev().for_each(|rank| house.saves(rank));
    house.publishes();
}

#[test]
fn as_many_shots_are_in_flight_as_ranks_share_the_model_and_the_next_follows_at_once() {
    let mut house = house(&["a", "b"]);
    let job = house.submit(&shots(4, "x"));
    let started = house.take_started();
    let expected = [(0, 0, "a"), (0, 1, "b"), (1, 0, "a"), (1, 1, "b")];
    assert_eq!(places(&started), expected.map(|(task, rank, at)| (task, rank, at.to_owned())));
    let wait = house.why(&job, 0, 2);
    assert_eq!(wait.reason, WaitReason::Busy);
    assert!(wait.nearest[0].contains("shots/main/0001 and shots/main/0002"), "{:?}", wait.nearest);
    for worker in house.farm.workers() {
        assert_eq!(worker.devices[0].running, ["shots/main/0001#1", "shots/main/0002#1"]);
    }
    ends(&mut house, &started[2..]);
    assert_eq!(house.state(&job, 0, 1), TaskState::Succeeded);
    let next = house.take_started();
    assert_eq!(places(&next), [(2, 0, "a".to_owned()), (2, 1, "b".to_owned())]);
    house.check();
}

#[test]
fn ranks_that_share_a_model_in_another_way_have_their_devices_to_themselves() {
    for split in ["tensor", "guidance"] {
        let mut house = house(&["a", "b"]);
        house.submit(&shots(2, "x").replace("layers}", &format!("{split}}}")));
        assert_eq!(house.take_started().len(), 2, "{split}");
    }
}

#[test]
fn a_shot_that_fails_ends_alone() {
    let mut house = house(&["a", "b"]);
    let job = house.submit(&shots(2, "x"));
    let started = house.take_started();
    house.fails(&started[0], Cause::NanOutput);
    assert_eq!(house.state(&job, 0, 0), TaskState::Failed);
    assert_eq!(house.state(&job, 0, 1), TaskState::Running);
    assert_eq!(house.revoked.len(), 1, "its other rank: {:?}", house.revoked);
    assert_eq!(house.revoked[0].1, started[0].attempt);
    ends(&mut house, &started[2..]);
    assert_eq!(house.state(&job, 0, 1), TaskState::Succeeded);
}

#[test]
fn nobody_joins_where_a_shot_is_being_stopped() {
    let mut house = house(&["a", "b"]);
    house.submit(&shots(3, "x"));
    let started = house.take_started();
    house.fails(&started[0], Cause::NanOutput);
    assert!(house.take_started().is_empty(), "rank 1 of the first may take the process with it");
    house.fails(&started[1], Cause::Cancelled);
    assert_eq!(house.take_started().len(), 2);
}

#[test]
fn devices_are_held_and_charged_once_however_many_shots_share_them() {
    let mut house = house(&["a", "b"]);
    let settings = ShowSettings { weight: 100, max_devices: Some(2) };
    house.happens(Event::ShowSet { show: "x".into(), settings });
    house.submit(&shots(2, "x"));
    let started = house.take_started();
    assert_eq!(started.len(), 4, "the second takes no more devices than its show may hold");
    let show = |house: &House| house.farm.shows().into_iter().find(|show| show.name == "x").expect("a show");
    assert_eq!(show(&house).devices, 2);
    house.wait_ms(8_000);
    ends(&mut house, &started[..2]);
    assert_eq!(show(&house).devices, 2, "the other holds them still");
    house.wait_ms(2_000);
    ends(&mut house, &started[2..]);
    let show = show(&house);
    assert_eq!((show.devices, show.used_ms), (0, 20_000), "two devices for ten seconds");
}

#[test]
fn limits_count_shots() {
    let mut house = house(&["a", "b"]);
    house.happens(Event::LimitSet { limit: "nuke".into(), max: Some(1) });
    let job = house.submit(&shots(2, "x").replace("layers}", "layers, limits: nuke}"));
    assert_eq!(house.take_started().len(), 2);
    assert_eq!(house.why(&job, 0, 1).reason, WaitReason::Limit);
}

#[test]
fn a_locked_worker_and_a_paused_job_let_nobody_join() {
    let mut house = house(&["a", "b"]);
    let job = house.submit(&shots(4, "x"));
    let started = house.take_started();
    house.lock("b", LockKind::Draining, true);
    ends(&mut house, &started[..2]);
    assert!(house.take_started().is_empty());
    house.happens(Event::JobPaused { job: job.clone(), paused: true });
    house.lock("b", LockKind::Draining, false);
    assert!(house.take_started().is_empty());
    house.happens(Event::JobPaused { job, paused: false });
    assert_eq!(house.take_started().len(), 2);
}

#[test]
fn shots_let_go_of_devices_that_are_kept_for_a_gang() {
    let mut house = house(&["a", "b", "c"]);
    house.submit(&shots(40, "x"));
    let started = house.take_started();
    assert_eq!(started.len(), 4, "a third device is no pair");
    // Another show has used nothing yet, and wants all three.
    let wants = "prompt: a tote\n    resources: {ranks: 3}\n";
    let all = house.submit(
        &job_of(1).replace("name: shots\n", "name: all\nshow: y\n").replace("prompt: a tote\n", wants),
    );
    house.wait_ms(1_000);
    ends(&mut house, &started[..2]);
    assert!(house.take_started().is_empty(), "its devices are kept");
    ends(&mut house, &started[2..]);
    let gang = house.take_started();
    assert!(gang.len() == 3 && gang.iter().all(|rank| rank.attempt.task.job == all), "{:?}", places(&gang));
}

#[test]
fn shots_let_go_of_devices_for_a_task_that_goes_first() {
    let mut house = house(&["a", "b"]);
    house.submit(&shots(40, "x"));
    let started = house.take_started();
    let other = house.submit(&job_of(2).replace("name: shots\n", "name: single\nshow: x\npriority: 90\n"));
    house.wait_ms(1_000);
    ends(&mut house, &started[..2]);
    assert!(house.take_started().is_empty(), "the urgent one goes first");
    ends(&mut house, &started[2..]);
    let next = house.take_started();
    assert!(next.iter().all(|a| a.attempt.task.job == other) && next.len() == 2, "{:?}", places(&next));
}

#[test]
fn all_shots_in_flight_are_known_again_after_a_restart() {
    let mut house = house(&["a", "b"]);
    let job = house.submit(&shots(3, "x"));
    assert_eq!(house.take_started().len(), 4);
    house.restarts();
    for task in 0..2 {
        assert_eq!(house.state(&job, 0, task), TaskState::Running);
    }
    for worker in house.farm.workers() {
        assert_eq!(worker.devices[0].running.len(), 2, "{worker:?}");
    }
    let show = house.farm.shows().into_iter().find(|show| show.name == "x").expect("a show");
    assert_eq!(show.devices, 2);
    house.check();
}
