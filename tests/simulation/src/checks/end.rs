//! When everything has settled: nothing was lost, nothing was doubled, and every end has its reason.

use croft_core::{
    failure::{Cause, Verdict},
    farm::Farm,
    plan::Plan,
    view::{Selector, TaskState, TaskView},
};

use crate::world::World;

impl World {
    /// Everything has settled; was it done right?
    pub(crate) fn has_settled(&mut self, node: usize) {
        self.is_over = true;
        self.tally.settle_ms_max = self.now.saturating_sub(self.calm_since);
        self.look(node);
        self.compare_with_store(node);
        let Some(leading) = self.nodes[node].leading.as_ref() else { return };
        let mut ends = Vec::new();
        let mut tasks = 0;
        let wrong = self.people.requests.iter().enumerate().find_map(|(request, made)| {
            let job = made.job.as_ref()?;
            let plan = &self.catalogue.plans[made.plan];
            if leading.farm.request(&crate::people::request_id(request)).as_ref() != Some(job) {
                return Some(format!("{job} of request {request} is lost"));
            }
            let all = leading.farm.tasks(job, &Selector::default(), None, usize::MAX).unwrap_or_default();
            tasks += all.len();
            all.iter().find_map(|task| {
                ends.push(end(task.state));
                self.ended_rightly(&leading.farm, plan, task).err()
            })
        });
        self.tally.jobs += self.people.requests.len() as u64;
        self.tally.tasks += tasks as u64;
        for end in ends {
            *self.tally.ends.entry(end).or_default() += 1;
        }
        if let Some(what) = wrong {
            self.accuse(what);
        }
    }

    fn ended_rightly(&self, farm: &Farm, plan: &Plan, task: &TaskView) -> Result<(), String> {
        let id = &task.id;
        let entry = &self.ledger.jobs[&id.job];
        let nobody_retried = !self.ledger.touched.contains(id);
        let cause = task.failure.as_ref().map(|failure| failure.cause);
        match task.state {
            TaskState::Succeeded => self.is_published(farm, plan, task)?,
            TaskState::Cancelled => {
                let before = plan.layers()[id.layer as usize].after;
                if before.is_none() && !entry.was_cancelled {
                    return Err(format!(
                        "{id:?} is cancelled, and nobody asked for that: {:?}",
                        task.failure
                    ));
                }
            }
            TaskState::Failed => match cause.map(|cause| (cause, cause.verdict())) {
                Some((cause, Verdict::Retry { .. })) if nobody_retried => {
                    let tries = charged(task, cause);
                    let allowed = plan.retries().of(cause) as usize + 1;
                    if tries != allowed {
                        let what =
                            format!("{id:?} was given up after {tries} tries with {cause:?}, not {allowed}");
                        return Err(what);
                    }
                }
                Some((_, Verdict::Fail | Verdict::Retry { .. })) => {}
                other => return Err(format!("{id:?} failed with {other:?}")),
            },
            TaskState::Skipped => {}
            open => return Err(format!("{id:?} is {open:?} in a settled job")),
        }
        if nobody_retried {
            for cause in Cause::RETRIED {
                let tries = charged(task, cause);
                if tries > plan.retries().of(cause) as usize + 1 {
                    return Err(format!("{id:?} was tried {tries} times with {cause:?}"));
                }
            }
        }
        Ok(())
    }

    /// Its files lie where they belong, whole, and as the sidecar says, which is that of a decided attempt.
    fn is_published(&self, farm: &Farm, plan: &Plan, task: &TaskView) -> Result<(), String> {
        let id = &task.id;
        let output = farm.plan(&id.job).unwrap_or(plan).recipe(&id.job, id.layer, id.task).output;
        if output.makes == croft_core::model_card::Makes::Nothing {
            return Ok(());
        }
        let Some(sidecar) = self.objects.sidecars.get(&output.sidecar) else {
            return Err(format!("{id:?} succeeded, and {} is not there", output.sidecar));
        };
        for (name, content) in &sidecar.files {
            match self.objects.files.get(name) {
                None => return Err(format!("{id:?} succeeded, and {name} is not there")),
                Some((there, fence)) if there != content => {
                    return Err(format!(
                        "{name} of {id:?} holds what fence {fence} made, not {}",
                        sidecar.fence
                    ));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// Tries that a cause has cost, as far as they are remembered.
fn charged(task: &TaskView, cause: Cause) -> usize {
    let of_cause = |attempt: &&croft_core::view::AttemptView| {
        attempt.failure.as_ref().is_some_and(|failure| failure.cause == cause)
    };
    task.attempts.iter().filter(of_cause).count()
}

fn end(state: TaskState) -> &'static str {
    match state {
        TaskState::Waiting => "waiting",
        TaskState::Queued => "queued",
        TaskState::Running => "running",
        TaskState::Publishing => "publishing",
        TaskState::Succeeded => "succeeded",
        TaskState::Failed => "failed",
        TaskState::Cancelled => "cancelled",
        TaskState::Skipped => "skipped",
    }
}
