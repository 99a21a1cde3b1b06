//! `croft why`: why tasks wait, by reason, each with an example.

use croft_proto::v1::{ExplainWaitRequest, WaitExplanation, WaitReason};
use serde_json::{Value, json};

use crate::{
    args::{self, Format},
    client::{self, Coordinator, Target},
    clock,
    exit::{Exit, Failed},
    output,
};

pub(super) async fn run(args: args::Why) -> Result<Exit, Failed> {
    let target = Target::parse(&args.job)?;
    let request =
        ExplainWaitRequest { parent: target.job_name(), selector: Some(target.select(&args.selector)?) };
    let coordinator = Coordinator::find(&args.client).await?;
    let answer = coordinator.jobs().explain_wait(client::request(request)).await?.into_inner();
    if args.output.output == Format::Json {
        let items: Vec<Value> = answer.waits.iter().map(value).collect();
        output::json("WaitList", json!({ "items": items, "notLookedAt": answer.not_looked_at }))?;
        return Ok(Exit::Ok);
    }
    if answer.waits.is_empty() {
        output::line(&format!("nothing of {} waits", args.job))?;
    }
    for wait in &answer.waits {
        tell(wait)?;
    }
    if answer.not_looked_at > 0 {
        output::line(&format!(
            "{} more tasks were not looked at; name a layer or a task",
            answer.not_looked_at
        ))?;
    }
    Ok(Exit::Ok)
}

fn tell(wait: &WaitExplanation) -> Result<(), Failed> {
    let since = wait.since_time.map_or_else(clock::unix_seconds, |since| since.seconds);
    let seconds = u64::try_from(clock::unix_seconds().saturating_sub(since)).unwrap_or(0);
    let waited = output::duration(seconds.saturating_mul(1_000));
    let tasks = if wait.tasks == 1 { "task " } else { "tasks" };
    output::line(&format!("{:<9} {:>7} {tasks}   {}", reason(wait.reason()), wait.tasks, wait.words))?;
    output::line(&format!("  such as {}, for {waited}", client::short(&wait.example)))?;
    for (title, lines) in [("nearest", &wait.nearest), ("not usable", &wait.unusable)] {
        for (at, line) in lines.iter().enumerate() {
            let title = if at == 0 { format!("{title}:") } else { String::new() };
            output::line(&format!("  {title:<11} {line}"))?;
        }
    }
    Ok(())
}

fn value(wait: &WaitExplanation) -> Value {
    json!({
        "reason": reason(wait.reason()), "words": wait.words, "tasks": wait.tasks, "example": wait.example,
        "sinceTime": wait.since_time.map(|at| at.to_string()), "nearest": wait.nearest, "unusable": wait.unusable,
    })
}

fn reason(reason: WaitReason) -> &'static str {
    reason.as_str_name().strip_prefix("WAIT_REASON_").unwrap_or("UNKNOWN")
}
