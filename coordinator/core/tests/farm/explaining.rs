//! The reason that a task is given for waiting is what the scheduler does next.

use std::collections::BTreeSet;

use croft_core::{
    failure::Cause,
    ids::TaskId,
    show::ShowSettings,
    step::Event,
    view::{Selector, TaskState, WaitReason},
    worker::LockKind,
};

use crate::house::{House, job_of, two_layers};

/// Before each tick of many histories, every waiting task is explained; what is said to start next is what starts, and
/// nothing else does.
#[test]
fn what_is_said_to_start_next_is_what_starts() {
    let mut begun_in_all = 0;
    for seed in 0..120 {
        let mut house = House { ranks: 2, ..House::new() };
        let mut chance = Chance(seed);
        house.happens(Event::LimitSet { limit: "nuke".into(), max: Some(1) });
        let settings = ShowSettings { weight: 50, max_devices: Some(3) };
        house.happens(Event::ShowSet { show: "capped".into(), settings });
        let wants = |text: String, wants: &str| {
            text.replace("prompt: a tote\n", &format!("prompt: a tote\n    resources: {wants}\n"))
        };
        house.submit(&two_layers(4));
        house.submit(&wants(job_of(4), "{limits: nuke}").replace("shots", "licensed"));
        house.submit(&wants(job_of(3), "{ranks: 2}").replace("shots", "pairs"));
        house.submit(&wants(job_of(3), "{pool: gpu}").replace("shots", "pooled"));
        house.submit(&job_of(6).replace("name: shots\n", "name: capped\nshow: capped\npriority: 55\n"));
        let mut running = Vec::new();
        for turn in 0..80 {
            house.wait_ms(400);
            running.extend(house.take_started());
            // Something happens, and nothing is decided yet.
            house.ticking = false;
            match chance.below(8) {
                0 => drop(house.join(&format!("w{}", chance.below(4)), 1 + chance.below(3) as u32)),
                1 => drop(house.join_tagged("tagged", 2, &["gpu"])),
                2 => house.lock(&format!("w{}", chance.below(4)), LockKind::Nimby, chance.below(2) == 0),
                3 if !running.is_empty() => {
                    let at = chance.below(running.len());
                    let failed = running.remove(at);
                    house.fails(&failed, Cause::Crashed);
                }
                4..=6 if !running.is_empty() => {
                    for _ in 0..=chance.below(2).min(running.len() - 1) {
                        let at = chance.below(running.len());
                        let done = running.remove(at);
                        house.saves(&done);
                        house.publishes();
                    }
                }
                _ => {}
            }
            let next = explained(&house, seed, turn);
            house.ticks();
            house.ticking = true;
            let started = house.take_started();
            let begun: BTreeSet<TaskId> = started.iter().map(|a| a.attempt.task.clone()).collect();
            assert_eq!(begun, next, "seed {seed} turn {turn}");
            begun_in_all += begun.len();
            running.extend(started);
        }
    }
    assert!(begun_in_all > 1_000, "the histories start something: {begun_in_all}");
}

/// Explains every task; gives those that are said to start next.
fn explained(house: &House, seed: u64, turn: u32) -> BTreeSet<TaskId> {
    let mut next = BTreeSet::new();
    for job in house.farm.jobs() {
        for task in house.farm.tasks(&job.id, &Selector::default(), None, usize::MAX).expect("known") {
            let wait = house.farm.explain(house.now, &task.id).expect("a task");
            let words = format!("seed {seed} turn {turn}: {:?} is {:?}: {wait:?}", task.id, task.state);
            assert!(!wait.words.is_empty(), "{words}");
            let fits = match task.state {
                TaskState::Queued => {
                    !matches!(wait.reason, WaitReason::Settled | WaitReason::Running | WaitReason::Layer)
                }
                TaskState::Waiting => wait.reason == WaitReason::Layer,
                TaskState::Running | TaskState::Publishing => wait.reason == WaitReason::Running,
                _ => wait.reason == WaitReason::Settled,
            };
            assert!(fits, "{words}");
            if wait.reason == WaitReason::Next {
                next.insert(task.id);
            }
        }
    }
    next
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}
