//! `croft jobs` and `croft job`: what there is, and how one stands.

use croft_proto::v1::{GetJobRequest, Job, JobState, ListJobsRequest};
use serde_json::{Value, json as value};

use crate::{
    args::{self, Format},
    client::{self, Coordinator, Target},
    clock,
    exit::{Exit, Failed},
    json,
    output::{self, Table, duration},
    progress::total,
};

/// Jobs asked for at once.
const PAGE: u32 = 500;

pub(super) async fn list(args: args::Jobs) -> Result<Exit, Failed> {
    let coordinator = Coordinator::find(&args.client).await?;
    let jobs = all(&coordinator, &args.show.unwrap_or_default()).await?;
    if args.output.output == Format::Json {
        let items: Vec<Value> = jobs.iter().map(json::job).collect();
        output::json("JobList", value!({ "items": items }))?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["JOB", "SHOW", "STATE", "PRIO", "DONE", "FAILED", "TASKS", "ETA", "AGE"]);
    for job in &jobs {
        let counts = job.counts.clone().unwrap_or_default();
        table.row([
            client::short(&job.name),
            job.show.clone(),
            if job.paused { "PAUSED".to_owned() } else { json::job_state(job.state()).to_owned() },
            job.priority.to_string(),
            counts.succeeded.to_string(),
            counts.failed.to_string(),
            total(&counts).to_string(),
            eta(job),
            age(job),
        ]);
    }
    table.print()?;
    Ok(Exit::Ok)
}

/// Every job of `show`, or of all shows when it is empty, page by page.
pub(super) async fn all(coordinator: &Coordinator, show: &str) -> Result<Vec<Job>, Failed> {
    let jobs = client::all(async |page_token| {
        let request = ListJobsRequest { page_size: PAGE, page_token, show: show.to_owned() };
        let page = coordinator.jobs().list_jobs(client::request(request)).await?.into_inner();
        Ok((page.jobs, page.next_page_token))
    });
    jobs.await
}

pub(super) async fn describe(args: args::OneJob) -> Result<Exit, Failed> {
    let target = Target::parse(&args.job)?;
    let coordinator = Coordinator::find(&args.client).await?;
    let request = GetJobRequest { name: target.job_name() };
    let job = coordinator.jobs().get_job(client::request(request)).await?.into_inner();
    match args.output.output {
        Format::Json => output::json("Job", json::job(&job))?,
        Format::Table => print(&job)?,
    }
    Ok(Exit::Ok)
}

fn print(job: &Job) -> Result<(), Failed> {
    let labels: Vec<_> = job.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let mut head = Table::new(&["FIELD", "VALUE"]);
    head.row(["job".into(), client::short(&job.name)]);
    head.row(["show".into(), job.show.clone()]);
    head.row(["state".into(), json::job_state(job.state()).to_owned()]);
    head.row(["priority".into(), job.priority.to_string()]);
    head.row(["labels".into(), labels.join(" ")]);
    head.row(["created".into(), job.create_time.map_or_else(String::new, |t| output::utc(t.seconds))]);
    head.row(["settled".into(), job.settle_time.map_or_else(String::new, |t| output::utc(t.seconds))]);
    head.row(["device time".into(), duration(job.device_ms)]);
    head.row(["eta".into(), eta(job)]);
    head.row(["spec".into(), job.spec_digest.clone()]);
    head.print()?;
    if output::for_people() {
        output::line("")?;
    }
    let mut layers = Table::new(&[
        "LAYER",
        "MODEL",
        "AFTER",
        "WAIT",
        "RUN",
        "DONE",
        "FAILED",
        "CANCELLED",
        "RETRIED",
        "SPLIT",
    ]);
    for layer in &job.layers {
        let counts = layer.counts.clone().unwrap_or_default();
        let retried: Vec<_> = counts.retried.iter().map(|(cause, n)| format!("{cause} {n}")).collect();
        layers.row([
            layer.name.clone(),
            layer.model.clone(),
            layer.after.clone(),
            (counts.waiting + counts.queued).to_string(),
            counts.running.to_string(),
            counts.succeeded.to_string(),
            counts.failed.to_string(),
            counts.cancelled.to_string(),
            retried.join(" "),
            layer.split.clone(),
        ]);
    }
    layers.print()
}

fn eta(job: &Job) -> String {
    if job.eta_ms > 0 && job.state() == JobState::Active { duration(job.eta_ms) } else { String::new() }
}

fn age(job: &Job) -> String {
    let Some(created) = job.create_time else { return String::new() };
    let seconds = u64::try_from(clock::unix_seconds() - created.seconds).unwrap_or(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
