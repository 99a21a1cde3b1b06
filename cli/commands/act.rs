//! What changes a job. What cannot be taken back asks on a terminal, and needs `--yes` in scripts.

use std::io::{self, IsTerminal, Write};

use croft_proto::v1::{
    CancelJobRequest, PauseJobRequest, ResumeJobRequest, RetryTasksRequest, SkipTasksRequest,
    UpdateJobRequest,
};

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

pub(super) async fn skip(args: args::Retry) -> Result<Exit, Failed> {
    let target = Target::parse(&args.job)?;
    let selector = target.select(&args.selector)?;
    let coordinator = Coordinator::find(&args.client).await?;
    if !sure(&format!("skip the tasks of {} that are not done?", args.job), args.yes)? {
        return Ok(Exit::Failed);
    }
    let request = SkipTasksRequest { parent: target.job_name(), selector: Some(selector) };
    let answer = coordinator.jobs().skip_tasks(client::request(request)).await?.into_inner();
    output::line(&format!("{} tasks of {} skipped", answer.skipped, args.job))?;
    Ok(Exit::Ok)
}

pub(super) async fn pause(args: args::OneOf) -> Result<Exit, Failed> {
    let name = whole_job(&args.name, "paused")?;
    let coordinator = Coordinator::find(&args.client).await?;
    let job = coordinator.jobs().pause_job(client::request(PauseJobRequest { name })).await?.into_inner();
    let running = job.counts.map_or(0, |counts| counts.running);
    output::line(&format!("job {} paused; {running} tasks still run", client::short(&job.name)))?;
    Ok(Exit::Ok)
}

pub(super) async fn resume(args: args::OneOf) -> Result<Exit, Failed> {
    let name = whole_job(&args.name, "resumed")?;
    let coordinator = Coordinator::find(&args.client).await?;
    let job = coordinator.jobs().resume_job(client::request(ResumeJobRequest { name })).await?.into_inner();
    output::line(&format!("job {} goes on", client::short(&job.name)))?;
    Ok(Exit::Ok)
}

pub(super) async fn update(args: args::Update) -> Result<Exit, Failed> {
    let name = whole_job(&args.job, "changed")?;
    let coordinator = Coordinator::find(&args.client).await?;
    let request = UpdateJobRequest { name, priority: Some(args.priority) };
    let job = coordinator.jobs().update_job(client::request(request)).await?.into_inner();
    output::line(&format!("job {} has priority {}", client::short(&job.name), job.priority))?;
    Ok(Exit::Ok)
}

/// The resource name of a job that something is done to as a whole.
fn whole_job(text: &str, done: &str) -> Result<String, Failed> {
    let target = Target::parse(text)?;
    if target.layer.is_some() {
        return Err(Failed::with(Exit::Usage, format!("'{text}': a job is {done} as a whole")));
    }
    Ok(target.job_name())
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
