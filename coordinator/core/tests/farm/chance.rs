//! Many small histories of chance: crashes, silence, echoes, cancels, retries. Whatever happens, the books balance, and
//! when the trouble ends every job settles with every output made once.

use croft_core::{
    failure::Cause,
    ids::SessionId,
    step::{Assignment, Event, Published},
    view::{JobState, Selector, TaskState},
};

use crate::house::{House, job_of, two_layers};

/// SplitMix64: a histories' seed is all that it takes to see one again.
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

#[test]
fn whatever_happens_every_output_is_made_once() {
    for seed in 0..300 {
        history(seed);
    }
}

fn history(seed: u64) {
    let mut chance = Chance(seed);
    let mut house = House::new();
    let jobs = [house.submit(&two_layers(4)), house.submit(&job_of(5))];
    let mut sessions: Vec<SessionId> = (0..3).map(|at| house.join(&format!("w{at}"), 1 + at % 2)).collect();
    let mut given: Vec<Assignment> = Vec::new();
    let mut published = std::collections::BTreeMap::<_, u32>::new();
    for turn in 0..120 {
        given.extend(house.take_started());
        match chance.below(12) {
            0..=3 if !given.is_empty() => {
                // Any assignment ever made may report, so echoes of old ones are among them.
                let at = chance.below(given.len());
                house.saves(&given[at].clone());
            }
            4..=5 => publish(&mut house, &mut published),
            6 if !given.is_empty() => {
                let at = chance.below(given.len());
                let causes = [Cause::Crashed, Cause::OomDevice, Cause::StoreUnavailable, Cause::Yielded];
                house.fails(&given[at].clone(), causes[chance.below(causes.len())]);
            }
            7 => {
                let at = chance.below(sessions.len());
                house.happens(Event::WorkerLeft { session: sessions[at], goodbye: chance.below(2) == 0 });
            }
            8 => {
                let at = chance.below(sessions.len());
                let incarnation = format!("process {}", if chance.below(2) == 0 { 0 } else { turn });
                sessions[at] = house.rejoin(&format!("w{at}"), 1 + at as u32 % 2, &incarnation, Vec::new());
            }
            9 => house.wait_ms(4_000),
            10 if chance.below(10) == 0 => {
                house.happens(Event::JobCancelled { job: jobs[1].clone(), now: chance.below(2) == 0 });
            }
            _ => sessions.iter().for_each(|session| house.happens(Event::WorkerHeard { session: *session })),
        }
        house.check();
    }
    // The trouble ends: one good worker, and people who retry what failed.
    let good = house.rejoin("good", 2, "good", Vec::new());
    for _ in 0..400 {
        for next in house.take_started() {
            if next.session == good {
                house.saves(&next);
            }
        }
        publish(&mut house, &mut published);
        house.wait_ms(3_000);
        house.happens(Event::WorkerHeard { session: good });
        for job in &jobs {
            let ended =
                Selector { states: vec![TaskState::Failed, TaskState::Cancelled], ..Selector::default() };
            let tasks = house.farm.task_ids(job, &ended).expect("known");
            if !tasks.is_empty() {
                house.happens(Event::TasksRetried { job: job.clone(), tasks });
            }
        }
        house.check();
        if jobs.iter().all(|job| house.farm.job(job).expect("known").state == JobState::Succeeded) {
            break;
        }
    }
    for job in &jobs {
        assert_eq!(house.farm.job(job).expect("known").state, JobState::Succeeded, "history {seed}: {job}");
    }
    assert_eq!(published.len(), 13, "history {seed}: every output");
    assert!(published.values().all(|times| *times == 1), "history {seed}: once");
}

/// Lets the shell answer; each task may be published once.
fn publish(house: &mut House, published: &mut std::collections::BTreeMap<croft_core::ids::TaskId, u32>) {
    for (attempt, sidecar) in std::mem::take(&mut house.publishing) {
        *published.entry(attempt.task.clone()).or_default() += 1;
        house.happens(Event::Published { attempt, outcome: Ok(Published { sidecar, files: 1, bytes: 1 }) });
    }
}
