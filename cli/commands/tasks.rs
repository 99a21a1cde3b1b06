//! `croft tasks`: the tasks of a job, with the attempts and causes behind each.

use croft_proto::v1::{Attempt, ExitCause, ListTasksRequest, Task, TaskSelector};
use serde_json::{Value, json as value};

use crate::{
    args::{self, Format},
    client::{self, Coordinator, Target},
    exit::{Exit, Failed},
    json,
    output::{self, Table, duration},
    progress::label,
};

/// Tasks asked for at once.
const PAGE: u32 = 1000;

pub(super) async fn run(args: args::Tasks) -> Result<Exit, Failed> {
    let target = Target::parse(&args.job)?;
    let selector = target.select(&args.selector)?;
    let coordinator = Coordinator::find(&args.client).await?;
    let tasks = all(&coordinator, &target.job_name(), selector).await?;
    if args.output.output == Format::Json {
        let items: Vec<Value> = tasks.iter().map(json::task).collect();
        output::json("TaskList", value!({ "items": items }))?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["TASK", "STATE", "ATTEMPTS", "WHERE", "TIME", "AXES", "WHY"]);
    for task in &tasks {
        let last = task.attempts.last();
        table.row([
            client::short(&task.name),
            json::task_state(task.state()).to_owned(),
            attempts(task),
            last.map(|a| client::short(&a.device)).unwrap_or_default(),
            last.and_then(seconds).unwrap_or_default(),
            label(task),
            why(task),
        ]);
    }
    table.print()?;
    Ok(Exit::Ok)
}

/// Every task that `selector` takes, page by page.
pub(super) async fn all(
    coordinator: &Coordinator,
    job: &str,
    selector: TaskSelector,
) -> Result<Vec<Task>, Failed> {
    let tasks = client::all(async |page_token| {
        let request = ListTasksRequest {
            parent: job.to_owned(),
            selector: Some(selector.clone()),
            page_size: PAGE,
            page_token,
        };
        let page = coordinator.jobs().list_tasks(client::request(request)).await?.into_inner();
        Ok((page.tasks, page.next_page_token))
    });
    tasks.await
}

/// `3 (CRASHED, LEASE_LOST)`: how many, and how the bad ones ended.
fn attempts(task: &Task) -> String {
    let causes: Vec<_> = task
        .attempts
        .iter()
        .map(Attempt::cause)
        .filter(|c| !matches!(c, ExitCause::Unspecified | ExitCause::Ok))
        .map(json::cause)
        .collect();
    match (task.attempts.len(), causes.len()) {
        (0, _) => String::new(),
        (n, 0) => n.to_string(),
        (n, _) => format!("{n} ({})", causes.join(", ")),
    }
}

fn seconds(attempt: &Attempt) -> Option<String> {
    let (start, end) = (attempt.start_time?, attempt.end_time?);
    let ms = (end.seconds - start.seconds) * 1000 + i64::from((end.nanos - start.nanos) / 1_000_000);
    Some(duration(u64::try_from(ms).unwrap_or(0)))
}

fn why(task: &Task) -> String {
    match &task.failure {
        Some(f) if f.remedy.is_empty() => f.message.clone(),
        Some(f) => format!("{}; {}", f.message, f.remedy),
        None => task.wait_reason.clone(),
    }
}
