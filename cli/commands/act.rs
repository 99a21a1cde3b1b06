//! `croft cancel` and `croft retry`: what changes a job. They ask on a terminal, and need `--yes` in scripts.

use std::io::{self, IsTerminal, Write};

use croft_proto::v1::{CancelJobRequest, RetryTasksRequest};

use crate::{
    args,
    client::{self, Coordinator, Target},
    exit::{Exit, Failed},
    output,
};

pub(super) async fn cancel(args: args::Cancel) -> Result<Exit, Failed> {
    let target = Target::parse(&args.job)?;
    if target.layer.is_some() {
        return Err(Failed::with(Exit::Usage, format!("'{}': a job is cancelled as a whole", args.job)));
    }
    let coordinator = Coordinator::find(&args.client).await?;
    if !sure(&format!("cancel job {}?", target.job), args.yes)? {
        return Ok(Exit::Failed);
    }
    let request = CancelJobRequest { name: target.job_name(), now: args.now };
    let job = coordinator.jobs().cancel_job(client::request(request)).await?.into_inner();
    let counts = job.counts.unwrap_or_default();
    output::line(&format!(
        "job {} cancelled: {} tasks, {} had succeeded",
        target.job, counts.cancelled, counts.succeeded
    ))?;
    Ok(Exit::Ok)
}

pub(super) async fn retry(args: args::Retry) -> Result<Exit, Failed> {
    let target = Target::parse(&args.job)?;
    let selector = target.select(&args.selector)?;
    let coordinator = Coordinator::find(&args.client).await?;
    if !sure(&format!("retry the failed and cancelled tasks of {}?", args.job), args.yes)? {
        return Ok(Exit::Failed);
    }
    let request = RetryTasksRequest { parent: target.job_name(), selector: Some(selector) };
    let answer = coordinator.jobs().retry_tasks(client::request(request)).await?.into_inner();
    output::line(&format!("{} tasks of {} queued again", answer.queued, args.job))?;
    Ok(Exit::Ok)
}

/// Asks a person. A script has nobody to ask and must have said so.
fn sure(question: &str, yes: bool) -> Result<bool, Failed> {
    if yes {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        return Err(Failed::with(Exit::Usage, format!("{question} nobody is there to answer"))
            .help("scripts say --yes"));
    }
    let read = || -> io::Result<String> {
        write!(io::stderr().lock(), "{question} [y/N] ")?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(answer)
    };
    let answer = read().map_err(|e| Failed::new(format!("cannot ask: {e}")))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
