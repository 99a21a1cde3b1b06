//! What a worker does with assignments: one after the other on each device, or companions together, step by step, to an end
//! of some kind. The ranks of a gang go on together or not at all; companions share one process, and its end.

use croft_core::{
    failure::{Cause, Failure},
    split::Mode,
    step::{Artifact, Assignment, Stage},
};

use super::{Fate, JOURNAL, RankAt, Run, WAITING};
use crate::{agenda::Occurrence, objects::Saved, wires::Up, world::World};

/// What a rank of a gang waits for the others.
const COLLECTIVE_MS: u64 = 12_000;
/// Causes of which attempts die by themselves.
const CAUSES: [Cause; 10] = [
    Cause::Crashed,
    Cause::Crashed,
    Cause::OomDevice,
    Cause::OomHost,
    Cause::DeviceLost,
    Cause::StoreUnavailable,
    Cause::Yielded,
    Cause::NanOutput,
    Cause::ModelCorrupt,
    Cause::Internal,
];

/// Whether two assignments may be on one device at once.
fn are_companions(one: &Assignment, other: &Assignment) -> bool {
    let task = |it: &Assignment| (it.attempt.task.job.clone(), it.attempt.task.layer);
    let kind = |it: &Assignment| (it.rank, it.ranks, it.mode, it.recipe.model.clone());
    one.ranks > 1 && one.mode == Mode::Layers && task(one) == task(other) && kind(one) == kind(other)
}

impl World {
    pub(crate) fn assigned(&mut self, worker: usize, assignment: Assignment) {
        let index = assignment.device.index as usize;
        self.diary.say(self.now, || {
            format!("w{worker} is given {:?} rank {}", assignment.attempt, assignment.rank)
        });
        let Some(device) = self.workers[worker].devices.get_mut(index) else {
            return self.accuse(format!("w{worker} is given work for device {index}, which it has not"));
        };
        let wanted: Vec<&Assignment> = device
            .runs
            .iter()
            .filter(|run| !run.revoked)
            .map(|run| &run.assignment)
            .chain(device.waiting.iter())
            .filter(|wanted| !device.revoked.contains(&wanted.attempt.fence.0))
            .collect();
        if !wanted.iter().all(|wanted| are_companions(wanted, &assignment)) {
            let fences: Vec<u64> = wanted.iter().map(|wanted| wanted.attempt.fence.0).collect();
            return self.accuse(format!(
                "device {index} of w{worker} is given {:?} while it has fence {fences:?}, which nobody revoked",
                assignment.attempt
            ));
        }
        let beside = wanted.len();
        if beside > 0 && beside >= assignment.ranks as usize {
            return self.accuse(format!(
                "device {index} of w{worker} is given {:?} beside {beside} shots in flight over {} ranks",
                assignment.attempt, assignment.ranks
            ));
        }
        if device.waiting.len() == WAITING {
            let failure = Failure::new(Cause::Yielded, "the device takes no more assignments", "");
            let (attempt, rank) = (assignment.attempt, assignment.rank);
            let said = Up::Failed { attempt: attempt.clone(), rank, failure };
            return self.ended(worker, attempt, rank, said);
        }
        device.waiting.push_back(assignment);
        self.begin_next(worker, index);
    }

    pub(crate) fn revoked(&mut self, worker: usize, fence: u64, at_once: bool) {
        self.diary.say(self.now, || format!("w{worker} is told to stop fence {fence}, now: {at_once}"));
        let it = &mut self.workers[worker];
        // Whatever it is, the coordinator has heard of its end or wants no more of it.
        it.journal.retain(|(attempt, _, _)| attempt.fence.0 != fence);
        let life = it.life;
        for device in 0..it.devices.len() {
            let here = &mut self.workers[worker].devices[device];
            if here.waiting.iter().any(|waiting| waiting.attempt.fence.0 == fence) {
                if here.revoked.len() == WAITING {
                    here.revoked.pop_front();
                }
                here.revoked.push_back(fence);
            }
            let Some(run) = here.runs.iter_mut().find(|run| run.assignment.attempt.fence.0 == fence) else {
                continue;
            };
            run.revoked = true;
            run.killed |= at_once;
            let hangs = matches!(run.fate, Fate::Hangs { at, .. } if at <= run.step);
            if at_once || hangs {
                // Killing takes a moment; a rank in the depths of its device takes longer.
                let pause = match self.chance.below(40) {
                    0 => 90_000,
                    1 => 14_000,
                    _ => self.chance.between(1, 80),
                };
                self.agenda.note(self.now + pause, Occurrence::Step { worker, life, device, fence });
            }
        }
    }

    fn begin_next(&mut self, worker: usize, index: usize) {
        let life = self.workers[worker].life;
        let device = &mut self.workers[worker].devices[index];
        let may_begin = |next: &Assignment| {
            device.runs.iter().all(|run| are_companions(&run.assignment, next))
                && device.runs.len() < next.ranks.max(1) as usize
        };
        if !device.waiting.front().is_some_and(may_begin) {
            return;
        }
        let Some(assignment) = device.waiting.pop_front() else { return };
        let fence = assignment.attempt.fence.0;
        let revoked = device.revoked.contains(&fence);
        if revoked {
            let failure = Failure::new(Cause::Cancelled, "revoked before it began", "");
            let (attempt, rank) = (assignment.attempt, assignment.rank);
            let said = Up::Failed { attempt: attempt.clone(), rank, failure };
            self.ended(worker, attempt, rank, said);
            return self.begin_next(worker, index);
        }
        if device.resident.as_deref() != Some(assignment.recipe.model.as_str()) {
            device.resident = Some(assignment.recipe.model.clone());
            let models = vec![assignment.recipe.model.clone()];
            if let Some(stream) = self.workers[worker].stream.filter(|_| self.workers[worker].welcomed) {
                self.say_up(stream, Up::Resident { index: index as u32, models });
            }
        }
        if assignment.ranks > 1 {
            self.gangs.insert((fence, assignment.rank), RankAt { worker, life, is_done: false });
        }
        let steps = self.chance.between(1, 6) as u32;
        let fate = self.a_fate(steps);
        let run = Run { assignment, step: 0, steps, fate, revoked: false, killed: false, waits_since: None };
        self.workers[worker].devices[index].runs.push(run);
        let load = self.chance.between(10, 400);
        self.agenda.note(self.now + load, Occurrence::Step { worker, life, device: index, fence });
    }

    fn a_fate(&mut self, steps: u32) -> Fate {
        let at = self.chance.below(steps as usize + 1) as u32;
        if self.is_calm {
            Fate::Good
        } else if self.chance.per_mille(self.weather.fail) {
            self.tally.fault("attempt fails");
            Fate::Fails { at, cause: *self.chance.pick(&CAUSES).expect("there are some") }
        } else if self.chance.per_mille(self.weather.hang) {
            self.tally.fault("attempt hangs");
            Fate::Hangs { at, is_watched: self.chance.per_mille(600) }
        } else {
            Fate::Good
        }
    }

    /// A rank is due to get further.
    pub(crate) fn step(&mut self, worker: usize, life: u32, index: usize, fence: u64) {
        let it = &mut self.workers[worker];
        if it.life != life {
            return;
        }
        let run = it.devices[index].runs.iter_mut().find(|run| run.assignment.attempt.fence.0 == fence);
        let Some(run) = run else { return };
        if run.revoked {
            return self.end_run(worker, index, fence, Err(Cause::Cancelled));
        }
        match run.fate {
            Fate::Fails { at, cause } if at <= run.step => {
                return self.end_run(worker, index, fence, Err(cause));
            }
            Fate::Hangs { at, is_watched } if at <= run.step => {
                if is_watched && run.waits_since.is_some() {
                    return self.end_run(worker, index, fence, Err(Cause::TimeoutNoProgress));
                }
                let patience = run.assignment.timeout_no_progress_ms;
                if is_watched {
                    run.waits_since = Some(self.now);
                    self.agenda
                        .note(self.now + patience, Occurrence::Step { worker, life, device: index, fence });
                }
                return;
            }
            Fate::Good | Fate::Fails { .. } | Fate::Hangs { .. } => {}
        }
        let (rank, ranks) = (run.assignment.rank, run.assignment.ranks);
        if ranks > 1 && !self.gang_is_whole(fence, ranks) {
            return self.wait_for_gang(worker, index, fence);
        }
        let Some(run) = self.run_of(worker, index, fence) else { return };
        run.waits_since = None;
        if run.step == run.steps {
            return self.end_run(worker, index, fence, Ok(()));
        }
        run.step += 1;
        let (step, steps, attempt) = (run.step, run.steps, run.assignment.attempt.clone());
        if let Some(stream) = self.workers[worker].stream.filter(|_| self.workers[worker].welcomed) {
            let stage = if step == steps { Stage::Save } else { Stage::Denoise };
            let said = Up::Progress { attempt, rank, stage, step, steps };
            self.remember(&said);
            self.say_up(stream, said);
        }
        let (low, high) = self.weather.step_ms;
        let pause = self.chance.between(low, high);
        self.agenda.note(self.now + pause, Occurrence::Step { worker, life, device: index, fence });
    }

    fn run_of(&mut self, worker: usize, index: usize, fence: u64) -> Option<&mut Run> {
        let runs = &mut self.workers[worker].devices[index].runs;
        runs.iter_mut().find(|run| run.assignment.attempt.fence.0 == fence)
    }

    fn gang_is_whole(&self, fence: u64, ranks: u32) -> bool {
        (0..ranks).all(|rank| {
            self.gangs.get(&(fence, rank)).is_some_and(|at| {
                at.is_done || (self.workers[at.worker].life == at.life && self.workers[at.worker].up)
            })
        })
    }

    fn wait_for_gang(&mut self, worker: usize, index: usize, fence: u64) {
        let (now, life) = (self.now, self.workers[worker].life);
        let Some(run) = self.run_of(worker, index, fence) else { return };
        let since = *run.waits_since.get_or_insert(now);
        if now - since > COLLECTIVE_MS {
            return self.end_run(worker, index, fence, Err(Cause::CollectiveTimeout));
        }
        self.agenda.note(now + 500, Occurrence::Step { worker, life, device: index, fence });
    }

    fn end_run(&mut self, worker: usize, index: usize, fence: u64, outcome: Result<(), Cause>) {
        let runs = &mut self.workers[worker].devices[index].runs;
        let Some(at) = runs.iter().position(|run| run.assignment.attempt.fence.0 == fence) else { return };
        let run = runs.remove(at);
        // A process takes its companions with it, who are given back.
        let is_fatal = matches!(outcome, Err(Cause::Crashed | Cause::TimeoutNoProgress | Cause::DeviceLost));
        let companions: Vec<u64> = if run.killed || is_fatal {
            runs.iter().map(|run| run.assignment.attempt.fence.0).collect()
        } else {
            Vec::new()
        };
        let Assignment { attempt, rank, ranks, .. } = run.assignment.clone();
        let outcome = if outcome.is_ok() && rank == 0 && self.objects.down_until > self.now {
            Err(Cause::StoreUnavailable)
        } else {
            outcome
        };
        let said = match outcome {
            Ok(()) => {
                if ranks > 1 {
                    self.gangs.entry((attempt.fence.0, rank)).and_modify(|at| at.is_done = true);
                }
                let artifacts = if rank == 0 { self.save(worker, &run.assignment) } else { Vec::new() };
                Up::Saved { attempt: attempt.clone(), rank, artifacts }
            }
            Err(cause) => {
                self.gangs.remove(&(attempt.fence.0, rank));
                let failure = Failure::new(cause, "as its fate was", "");
                Up::Failed { attempt: attempt.clone(), rank, failure }
            }
        };
        self.diary.say(self.now, || format!("w{worker} ends {attempt:?} rank {rank}: {outcome:?}"));
        self.ended(worker, attempt, rank, said);
        for companion in companions {
            self.end_run(worker, index, companion, Err(Cause::Yielded));
        }
        self.begin_next(worker, index);
    }

    /// Says how an attempt ended, and remembers it until the coordinator wants no more of it.
    fn ended(&mut self, worker: usize, attempt: croft_core::ids::AttemptId, rank: u32, said: Up) {
        self.remember(&said);
        let it = &mut self.workers[worker];
        if it.journal.len() == JOURNAL {
            it.journal.pop_front();
        }
        it.journal.push_back((attempt, rank, said.clone()));
        if let Some(stream) = it.stream.filter(|_| it.welcomed) {
            self.say_up(stream, said);
        }
    }

    /// Puts the attempt's files under its prefix.
    fn save(&mut self, worker: usize, assignment: &Assignment) -> Vec<Artifact> {
        const FRAMES: u64 = 2;
        let fence = assignment.attempt.fence.0;
        let whose = if self.weather.frames_differ { worker as u64 + 1 } else { 0 };
        let recipe = &assignment.recipe;
        let made = recipe.prompt.bytes().fold(recipe.seed, |sum, byte| sum.rotate_left(5) ^ u64::from(byte));
        let files = (0..FRAMES)
            .map(|frame| {
                let name = format!("{}/{:04}.png", recipe.output.frames_dir, frame + 1);
                (name, made.wrapping_mul(31).wrapping_add(frame) ^ (whose << 48))
            })
            .collect();
        let saved = Saved { fence, files };
        self.ledger.saved.insert(fence, saved.clone());
        let sidecar = Artifact {
            path: "sidecar.json".to_owned(),
            size_bytes: 1,
            digest: saved.sidecar(),
            media_type: "application/json".to_owned(),
        };
        if let Some(before) = self.objects.attempts.insert(assignment.prefix.clone(), saved)
            && before.fence != fence
        {
            self.accuse(format!("two attempts save under {}", assignment.prefix));
        }
        vec![sidecar]
    }
}
