//! The life of an attempt while all goes well: started, heard of, saved, published. `ending` has the rest.
//!
//! Every report carries the attempt's fence. One that is not the task's live fence is an echo: it changes nothing.

use crate::{
    failure::{Cause, Failure, retry_wait_ms},
    ids::{AttemptId, DeviceId, SessionId, TaskId},
    model_card::Makes,
    mutant::{self, Mutant},
    spec::NoProgress,
    step::{Artifact, Assignment, Command, Published, Stage, Times, Update},
    task::{Live, Seat},
    time::Time,
    view::TaskState,
    worker::{Held, Lane},
};

use super::{Farm, schedule::Seated};

/// Models whose pace is remembered.
const PACES_KEPT: usize = 1_000;
/// How long a step may take while nothing was measured.
const NO_PROGRESS_UNMEASURED_MS: u64 = 10 * 60_000;
/// No deadline is shorter: a machine may hiccup.
const NO_PROGRESS_MS_MIN: u64 = 30_000;
/// Publications of one attempt while the store is away: about an hour and a half.
const PUBLICATIONS_MAX: u32 = 100;
/// The wait before the second; it doubles up to a minute.
const PUBLISH_AGAIN_MS: u64 = 1_000;
/// What an attempt leaves beside its pictures: the list of them, and what made them.
pub(super) const SIDECAR: &str = "sidecar.json";

impl Farm {
    /// Gives a task to `devices`, one a rank.
    pub(super) fn start(&mut self, now: Time, task: &TaskId, devices: Vec<DeviceId>) {
        let fence = self.mint();
        let sessions: Vec<Option<SessionId>> = devices
            .iter()
            .map(|device| self.workers.get(&device.worker).and_then(|worker| worker.session))
            .collect();
        let ranks = devices.len() as u32;
        let Seated { seating, chosen, deal, needs, flies } = self.seated(task, &devices);
        let lane = flies.then(|| Lane::of(task, &devices));
        let charged_ms = self.charge(now, task, &devices, lane.as_ref());
        let job = self.jobs.get_mut(&task.job).expect("the schedule names jobs that exist");
        let layer = &mut job.layers[task.layer as usize];
        layer.set(task.task, TaskState::Running);
        layer.served = now;
        if chosen && layer.seating.replace(seating) != Some(seating) {
            self.out.jobs.insert(task.job.clone());
        }
        let no_progress_ms = match job.plan.no_progress() {
            NoProgress::Ms(ms) => ms,
            NoProgress::Times(times) => layer
                .gap
                .median_ms()
                .map_or(NO_PROGRESS_UNMEASURED_MS, |ms| ((ms as f64 * times) as u64).max(NO_PROGRESS_MS_MIN)),
        };
        let entry = layer.touch(task.task);
        entry.number += 1;
        let number = entry.number;
        let seats = devices.iter().zip(&sessions).zip(needs);
        entry.live = Some(Box::new(Live {
            number,
            fence,
            seats: seats
                .map(|((device, session), need_bytes)| Seat {
                    device: device.clone(),
                    session: *session,
                    done: false,
                    need_bytes,
                })
                .collect(),
            started: now,
            moved: now,
            longest_gap_ms: 0,
            no_progress_ms,
            stage: Stage::Load,
            stage_since: now,
            step: 0,
            steps: 0,
            times: Times::default(),
            charged_ms: Some(charged_ms),
            flies,
            used_ms: 0,
            counted: now,
            unpublished: 0,
            saved: None,
        }));
        let plan = &job.plan;
        layer.advance(|position| plan.order(task.layer, position));
        let recipe = plan.recipe(&task.job, task.layer, task.task);
        let sidecar = plan.sidecar(&task.job, task.layer, task.task);
        let timeout_total_ms = plan.timeout_total_ms();
        let attempt = AttemptId { task: task.clone(), number, fence };
        self.takes_off(&attempt);
        let prefix = self.prefix(&attempt);
        for (rank, (device, session)) in devices.into_iter().zip(sessions).enumerate() {
            if ranks > 1 && rank as u32 + 1 == ranks && mutant::on(Mutant::RankMissing) {
                continue;
            }
            let rank = rank as u32;
            self.withdraw(&device);
            let held = Held { attempt: attempt.clone(), rank };
            let begun = self.change(&device, |busy| busy.begin(held, lane.clone()));
            assert_eq!(begun, Some(true), "the schedule names devices that have room");
            self.out.commands.push(Command::Start(Box::new(Assignment {
                session: session.expect("a free device's worker is connected"),
                device,
                attempt: attempt.clone(),
                rank,
                ranks,
                mode: seating.mode,
                residency: deal.residency,
                shares: deal.shares.clone(),
                recipe: recipe.clone(),
                prefix: prefix.clone(),
                sidecar: sidecar.clone(),
                timeout_total_ms,
                timeout_no_progress_ms: no_progress_ms,
            })));
        }
        self.changed(task);
    }

    pub(super) fn attempt_progressed(
        &mut self,
        now: Time,
        session: SessionId,
        attempt: &AttemptId,
        rank: u32,
        stage: Stage,
        (step, steps): (u32, u32),
    ) {
        let Some(worker) = self.heard(now, session) else { return };
        let Some(live) = self.live(attempt).filter(|live| live.is_on(rank, &worker)) else { return };
        live.longest_gap_ms = live.longest_gap_ms.max(now.since(live.moved));
        live.moved = now;
        if rank != 0 {
            return;
        }
        if live.stage != stage {
            live.stage_since = now;
        }
        (live.stage, live.step, live.steps) = (stage, step, steps);
        let (device, number) = (live.device().clone(), live.number);
        self.out.updates.push(Update::Progress {
            task: attempt.task.clone(),
            attempt: number,
            device,
            stage,
            step,
            steps,
        });
    }

    pub(super) fn attempt_saved(
        &mut self,
        now: Time,
        session: SessionId,
        attempt: &AttemptId,
        rank: u32,
        artifacts: Vec<Artifact>,
        times: Times,
    ) {
        let Some(worker) = self.heard(now, session) else { return };
        if let Some(device) = self.device_with(&worker, attempt, rank) {
            self.release_device(&device, attempt, rank);
        }
        let state = self.task_state(&attempt.task);
        let Some(live) = self.live(attempt) else {
            self.left_late(attempt);
            if rank == 0 {
                self.handed_over(now, attempt, &worker);
            }
            return;
        };
        // Whoever else says so is mistaken.
        let Some(seat) = live
            .seats
            .get_mut(rank as usize)
            .filter(|seat| seat.device.worker == worker || mutant::on(Mutant::AnyWorkerReports))
        else {
            return;
        };
        if (state != Some(TaskState::Running) || seat.done) && !mutant::on(Mutant::EndingsCountTwice) {
            return; // said twice, as a worker may that was cut off in between
        }
        seat.done = true;
        if rank == 0 {
            live.times = times;
            live.saved = artifacts.into_iter().find(|artifact| artifact.path == SIDECAR);
        }
        live.longest_gap_ms = live.longest_gap_ms.max(now.since(live.moved));
        live.moved = now;
        if live.seats.iter().all(|seat| seat.done) || mutant::on(Mutant::GangDoneWithFirst) {
            self.saved(now, attempt);
        } else {
            // Its device may get other work before the gang ends: a later leader must know that it is not held.
            self.changed(&attempt.task);
        }
    }

    /// All ranks are done: what they made is decided on, and published.
    fn saved(&mut self, now: Time, attempt: &AttemptId) {
        let live = self.live(attempt).expect("the caller found it");
        live.stage = Stage::Save;
        let (gap, wall, saved) = (live.longest_gap_ms, now.since(live.started), live.saved.clone());
        let TaskId { job: id, layer, task } = attempt.task.clone();
        let job = self.jobs.get_mut(&id).expect("a live attempt has a job");
        let known = &mut job.layers[layer as usize];
        known.gap.measured(gap);
        known.duration.measured(wall);
        let card = &job.plan.layers()[layer as usize].card;
        let (digest, makes) = (card.digest.clone(), card.makes);
        if self.paces.len() < PACES_KEPT || self.paces.contains_key(&digest) {
            self.paces.entry(digest).or_default().measured(wall);
        }
        match saved {
            _ if makes == Makes::Nothing => self.succeed(now, attempt, None),
            Some(_) => {
                known.set(task, TaskState::Publishing);
                self.settle_share(now, attempt);
                self.changed(&attempt.task);
                self.publish(attempt);
            }
            None => {
                let message = format!("the worker saved no {SIDECAR}, which lists what it made");
                let remedy = "its version may differ from the coordinator's: see `croft workers`";
                self.end_badly(now, attempt, Failure::new(Cause::Internal, message, remedy), true);
            }
        }
    }

    pub(super) fn published(&mut self, now: Time, attempt: &AttemptId, outcome: Result<Published, Failure>) {
        if self.live(attempt).is_none() || self.task_state(&attempt.task) != Some(TaskState::Publishing) {
            return;
        }
        match outcome {
            Ok(published) => self.succeed(now, attempt, Some(published)),
            Err(failure) => {
                let live = self.live(attempt).expect("it was just found");
                live.unpublished += 1;
                let tries = live.unpublished;
                if failure.cause == Cause::StoreUnavailable && tries < PUBLICATIONS_MAX {
                    // The pictures are whole: only their place is not there. Nothing is rendered again for that.
                    let due = now.plus_ms(retry_wait_ms(PUBLISH_AGAIN_MS, tries));
                    self.unpublished.insert((due, attempt.clone()));
                } else {
                    self.end_badly(now, attempt, failure, false);
                }
            }
        }
    }

    /// Publications whose wait is over are tried again.
    pub(super) fn publish_due(&mut self, now: Time) {
        while let Some((due, attempt)) = self.unpublished.first().cloned() {
            if due > now {
                return;
            }
            self.unpublished.pop_first();
            self.publish(&attempt);
        }
    }

    /// Asks for the publication of what an attempt saved, as long as it is the one that counts.
    pub(super) fn publish(&mut self, attempt: &AttemptId) {
        let TaskId { job, layer, task } = &attempt.task;
        let prefix = self.prefix(attempt);
        let Some(sidecar) = self.live(attempt).and_then(|live| live.saved.clone()) else { return };
        let Some(known) = self.jobs.get(job) else { return };
        let output = known.plan.recipe(job, *layer, *task).output;
        self.out.commands.push(Command::Publish { attempt: attempt.clone(), prefix, sidecar, output });
    }

    fn succeed(&mut self, now: Time, attempt: &AttemptId, published: Option<Published>) {
        self.settle_share(now, attempt);
        let id = &attempt.task;
        let job = self.jobs.get_mut(&id.job).expect("a live attempt has a job");
        let model = job.plan.layers()[id.layer as usize].card.digest.clone();
        let layer = &mut job.layers[id.layer as usize];
        layer.set(id.task, TaskState::Succeeded);
        let task = layer.touch(id.task);
        task.published = published.map(Box::new);
        task.failure = None;
        task.avoid = None;
        let ended = task.end(now, None);
        if let Some(live) = &ended {
            job.device_ms = job.device_ms.saturating_add(live.used_ms);
            for seat in &live.seats {
                self.avoided.succeeded(&id.job, &model, &seat.device);
                if let Some(device) = self
                    .workers
                    .get_mut(&seat.device.worker)
                    .and_then(|w| w.devices.get_mut(&seat.device.index))
                {
                    device.praised();
                }
            }
        }
        if let Some(live) = ended {
            self.count(now, attempt, &live, None);
        }
        if !mutant::on(Mutant::SuccessUnwritten) {
            self.changed(id);
        }
        self.settled(now, id);
    }

    /// The devices are free again: what the show was charged is put right. Once an attempt.
    pub(super) fn settle_share(&mut self, now: Time, attempt: &AttemptId) {
        if self.live(attempt).is_none_or(|live| live.charged_ms.is_none()) {
            return;
        }
        let companions = self.count_companions(now, attempt);
        self.lands(attempt);
        let live = self.live(attempt).expect("it was just found");
        let charged = live.charged_ms.take().expect("it was just looked at");
        // The devices are held by those that stay in flight.
        let devices =
            if companions > 1 && !mutant::on(Mutant::LaneHeldTwice) { 0 } else { live.seats.len() as u32 };
        let used = live.used_ms;
        let show = self.jobs.get(&attempt.task.job).map(|job| job.plan.show().to_owned());
        if let Some(show) = show.and_then(|show| self.shows.get_mut(&show)) {
            show.settle(if mutant::on(Mutant::ShareKept) { 0 } else { devices }, charged, used);
        }
    }

    pub(super) fn task_state(&self, id: &TaskId) -> Option<TaskState> {
        let layer = self.jobs.get(&id.job)?.layers.get(id.layer as usize)?;
        (id.task < layer.total).then(|| layer.state(id.task))
    }
}
