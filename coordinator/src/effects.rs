//! Performs the mind's commands: what goes to workers, and what the store must do.

use croft_core::step::{Command, Event};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::{handle::Weak, log, publish::Publisher, run::Desk};

/// Hands for commands that take their time. Its tasks end with the tracker that owns them.
#[derive(Debug)]
pub(crate) struct Effects {
    pub(crate) publisher: Publisher,
    pub(crate) handle: Weak,
    pub(crate) tasks: TaskTracker,
    pub(crate) runtime: tokio::runtime::Handle,
}

impl Effects {
    /// Never waits: whatever could is left to a task, as many as there are attempts to publish or collect.
    pub(crate) fn perform(&self, desk: &mut Desk, command: Command) {
        match command {
            Command::Welcome { session } => desk.sessions.welcome(session),
            Command::Refuse { session, reason } => desk.sessions.refuse(session, reason),
            Command::HangUp { session } => desk.sessions.hang_up(session),
            Command::Start(assignment) => {
                desk.metrics.placed(desk, &assignment);
                let traceparent = desk.tracer.starts(&desk.farm, &assignment, &mut desk.started);
                desk.sessions.start(&desk.farm, *assignment, traceparent);
            }
            Command::Revoke { session, attempt, now } => {
                desk.sessions.revoke(&desk.farm, session, &attempt, now)
            }
            Command::Publish { attempt, prefix, sidecar, output } => {
                let publisher = self.publisher.clone();
                let handle = self.handle.clone();
                let span = tracing::info_span!(
                    "publish", job = %attempt.task.job, task = log::name(&desk.farm, &attempt), attempt = attempt.number
                );
                let (tracer, spot) = (desk.tracer.clone(), desk.tracer.spot(&desk.farm, &attempt));
                let (began, metrics) = (desk.clock.now(), desk.metrics.clone());
                self.tasks.spawn_on(
                    async move {
                        let event = publisher.publish(attempt, &prefix, &sidecar, &output).await;
                        metrics.published(began, tracer.clock().now(), &event);
                        tracer.published(spot.as_ref(), began, &sidecar, &event);
                        let Ok(handle) = handle.handle() else { return };
                        // A failed one may be tried again from the same files; the farm says when they are done with.
                        let is_done = matches!(&event, Event::Published { outcome: Ok(_), .. });
                        // Until the outcome is durable the attempt's files may be asked for again.
                        if handle.tell(move |_| Some(event), |_| ()).await.is_ok() && is_done {
                            // With what earlier attempts of the task left to go on from.
                            publisher.collect(task_folder(&prefix)).await;
                        }
                    }
                    .instrument(span),
                    &self.runtime,
                );
            }
            Command::Collect { prefix } => {
                let publisher = self.publisher.clone();
                self.tasks.spawn_on(async move { publisher.collect(&prefix).await }, &self.runtime);
            }
        }
    }
}

/// Where all attempts of a task lie, given the prefix of one.
fn task_folder(prefix: &str) -> &str {
    prefix.rsplit_once('/').map_or(prefix, |(task, _)| task)
}
