//! Removes what dead attempts left in the store: a coordinator that died could not, nor could a worker that never came
//! back. The leader looks now and then; what an attempt that counts has saved is never touched.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use croft_core::{
    farm::Farm,
    ids::{AttemptId, Fence, JobId, TaskId},
};
use futures::TryStreamExt;
use object_store::{ObjectStore, path::Path};
use tokio::time::{MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use crate::{handle::Handle, logs, publish::Publisher, run::Desk};

/// The first look; later than any worker takes to come back after a change of leaders.
const FIRST: Duration = Duration::from_secs(120);
const EVERY: Duration = Duration::from_secs(3_600);
/// Prefixes removed by one look; the rest waits for the next.
const REMOVED_MAX: usize = 1_000;
const ROOT: &str = ".attempts";
/// Beside a task's attempts: the steps that the next one goes on from.
pub(crate) const CHECKPOINTS: &str = "checkpoints";

/// Looks until `end`.
pub(crate) async fn run(
    handle: Handle,
    store: Arc<dyn ObjectStore>,
    publisher: Publisher,
    end: CancellationToken,
) {
    let mut beat = interval_at(tokio::time::Instant::now() + FIRST, EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            () = end.cancelled() => return,
        }
        let Ok(prefixes) = prefixes(&*store).await else { continue };
        let dead = handle.ask(move |desk| dead(desk, prefixes)).await.unwrap_or_default();
        let found = dead.len();
        for prefix in dead.into_iter().take(REMOVED_MAX) {
            publisher.collect(&prefix).await;
        }
        // Logs of failed attempts stay as long as their job is remembered.
        let logged = logs::jobs(&*store).await.unwrap_or_default();
        let forget = move |desk: &mut Desk| -> Vec<String> {
            let known = desk.leads().is_ok();
            logged.iter().filter_map(|job| logs::forgotten(&desk.farm, job)).filter(|_| known).collect()
        };
        for prefix in handle.ask(forget).await.unwrap_or_default().into_iter().take(REMOVED_MAX) {
            publisher.collect(&prefix).await;
        }
        if found > 0 {
            tracing::info!(attempts = found.min(REMOVED_MAX), "what dead attempts left was removed");
        }
    }
}

/// Every attempt's folder in the store.
async fn prefixes(store: &dyn ObjectStore) -> Result<BTreeSet<String>, object_store::Error> {
    let files = store.list(Some(&Path::from(ROOT)));
    files
        .try_fold(BTreeSet::new(), async |mut all, file| {
            let parts: Vec<_> = file.location.parts().take(5).map(|part| part.as_ref().to_owned()).collect();
            if parts.len() == 5 {
                all.insert(parts.join("/"));
            }
            Ok(all)
        })
        .await
}

/// Those of which the farm knows that they count no more. A follower knows nothing for certain.
fn dead(desk: &mut Desk, prefixes: BTreeSet<String>) -> Vec<String> {
    if desk.leads().is_err() {
        return Vec::new();
    }
    prefixes.into_iter().filter(|prefix| attempt(&desk.farm, prefix).is_some_and(|known| !known)).collect()
}

/// Whether the attempt of a prefix counts, or its task may still go on from the steps that were kept; `None` for what is
/// neither.
fn attempt(farm: &Farm, prefix: &str) -> Option<bool> {
    let parts: Vec<&str> = prefix.split('/').collect();
    let [ROOT, job, layer, task, attempt] = parts[..] else { return None };
    if attempt == CHECKPOINTS {
        let job = JobId::new(job).ok()?;
        let task = task.parse::<u32>().ok()?.checked_sub(1)?;
        let Some(layer) = farm.layer_index(&job, layer) else { return Some(false) };
        return Some(farm.task(&TaskId { job, layer, task }).is_some_and(|task| !task.state.settled()));
    }
    let (number, fence) = attempt.split_once('-')?;
    let (number, fence) = (number.parse().ok()?, Fence(u64::from_str_radix(fence, 16).ok()?));
    let job = JobId::new(job).ok()?;
    let task = task.parse::<u32>().ok()?.checked_sub(1)?;
    // A job that was forgotten has no attempts that count.
    let Some(layer) = farm.layer_index(&job, layer) else { return Some(false) };
    Some(farm.current(&AttemptId { task: TaskId { job, layer, task }, number, fence }))
}

#[cfg(test)]
mod tests {
    use croft_core::farm::Config;

    use super::*;

    #[test]
    fn what_is_no_attempts_is_left_alone_and_what_nobody_knows_is_dead() {
        let farm = Farm::new(Config::default(), 1);
        for odd in [".attempts/a/b", "a/b/c/d/e", ".attempts/a/b/0001/x", ".attempts/a/b/0000/1-7"] {
            assert_eq!(attempt(&farm, odd), None, "{odd}");
        }
        assert_eq!(attempt(&farm, ".attempts/gone/clip/0001/1-7f"), Some(false));
        assert_eq!(attempt(&farm, ".attempts/gone/clip/0001/checkpoints"), Some(false));
    }
}
