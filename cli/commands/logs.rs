//! `croft logs`: what ranks said, of attempts that failed as it was kept, of running ones as they say it.
//!
//! Lines go to standard output as they are, with whose they are before each where several are told; what is missing is
//! said on standard error.

use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write},
    time::Duration,
};

use croft_proto::v1::{GetJobRequest, JobState, LogChunk, StreamLogsRequest, TaskState};
use tonic::Code;

use super::tasks;
use crate::{
    args,
    client::{self, Coordinator, Target},
    exit::{Exit, Failed},
    interrupt::Interrupts,
    output,
};

/// A stream that breaks is begun anew this often; what was printed is not printed again.
const REDIALS: u32 = 8;
const PAUSE: Duration = Duration::from_millis(500);

/// Of one rank's part in an attempt.
type Part = (String, u32, u32);

/// What was printed.
#[derive(Debug, Default)]
struct Printed {
    /// Bytes of each part's log, with those that nobody has any more.
    parts: BTreeMap<Part, u64>,
    /// Whose line was printed last.
    last: Option<Part>,
}

pub(super) async fn run(args: args::Logs) -> Result<Exit, Failed> {
    let target = Target::parse(&args.job)?;
    let mut interrupts = Interrupts::listen()?;
    let told = tokio::select! {
        told = tell(&args, &target) => told,
        exit = interrupts.next() => return Ok(exit),
    };
    let coordinator = told?;
    if args.follow { how_it_ended(&coordinator, &target).await } else { Ok(Exit::Ok) }
}

async fn tell(args: &args::Logs, target: &Target) -> Result<Coordinator, Failed> {
    let mut coordinator = Coordinator::find(&args.client).await?;
    let mut printed = Printed::default();
    let mut broken = 0;
    loop {
        let before = printed.parts.clone();
        let request = StreamLogsRequest {
            name: name(target),
            attempt: args.attempt.unwrap_or(0),
            rank: args.rank,
            follow: args.follow,
        };
        match stream(&coordinator, request, &mut printed).await {
            Ok(()) if printed.parts.is_empty() && !args.follow => {
                note(&format!("no rank of {} runs, and none that failed left a log", args.job))?;
                return Ok(coordinator);
            }
            Ok(()) => return Ok(coordinator),
            Err(Broken::Status(status)) => {
                broken = if printed.parts == before { broken + 1 } else { 1 };
                if !args.follow || broken > REDIALS || !goes_on(status.code()) {
                    return Err(status.into());
                }
            }
            Err(Broken::ForGood(failed)) => return Err(failed),
        }
        tokio::time::sleep(PAUSE * broken).await;
        // Another may lead now.
        if let Ok(found) = coordinator.again().await {
            coordinator = found;
        }
    }
}

enum Broken {
    Status(tonic::Status),
    ForGood(Failed),
}

async fn stream(
    coordinator: &Coordinator,
    request: StreamLogsRequest,
    printed: &mut Printed,
) -> Result<(), Broken> {
    let mut chunks = coordinator.jobs().stream_logs(request).await.map_err(Broken::Status)?.into_inner();
    // A stream that begins anew tells every log from its first byte.
    let mut seen = BTreeMap::new();
    while let Some(chunk) = chunks.message().await.map_err(Broken::Status)? {
        print(chunk, printed, &mut seen).map_err(Broken::ForGood)?;
    }
    Ok(())
}

fn print(chunk: LogChunk, printed: &mut Printed, seen: &mut BTreeMap<Part, u64>) -> Result<(), Failed> {
    let part = (chunk.task.clone(), chunk.attempt, chunk.rank);
    let whose = format!(
        "{}#{} rank {} on {}:{}",
        client::short(&chunk.task),
        chunk.attempt,
        chunk.rank,
        chunk.worker,
        chunk.device
    );
    let from = seen.get(&part).copied().unwrap_or(0) + chunk.dropped_bytes;
    let to = from + chunk.data.len() as u64;
    seen.insert(part.clone(), to);
    let known = printed.parts.get(&part).copied();
    if known.is_some_and(|known| to <= known) {
        return Ok(());
    }
    printed.parts.insert(part.clone(), to);
    if printed.last.as_ref() != Some(&part) {
        note(&format!("==> {whose}"))?;
        printed.last = Some(part);
    }
    let missing = from.saturating_sub(known.unwrap_or(0));
    if missing > 0 {
        note(&format!("... {missing} bytes are not kept"))?;
    }
    if chunk.data.is_empty() {
        return note("(it left no log)");
    }
    let skip = usize::try_from(known.unwrap_or(0).saturating_sub(from)).unwrap_or(0).min(chunk.data.len());
    let text = String::from_utf8_lossy(&chunk.data[skip..]);
    for line in text.lines() {
        // A rank must not drive somebody's terminal.
        let line = if std::io::stdout().is_terminal() { output::clean(line) } else { line.to_owned() };
        output::line(&line)?;
    }
    Ok(())
}

/// Beside the lines, not among them.
fn note(text: &str) -> Result<(), Failed> {
    writeln!(std::io::stderr().lock(), "{}", output::clean(text)).map_err(|e| Failed::new(e.to_string()))
}

fn name(target: &Target) -> String {
    match (&target.layer, &target.task) {
        (Some(layer), Some(task)) => format!("jobs/{}/layers/{layer}/tasks/{task}", target.job),
        (Some(layer), None) => format!("jobs/{}/layers/{layer}", target.job),
        (None, _) => format!("jobs/{}", target.job),
    }
}

fn goes_on(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled | Code::DeadlineExceeded
    )
}

async fn how_it_ended(coordinator: &Coordinator, target: &Target) -> Result<Exit, Failed> {
    if target.layer.is_none() {
        let request = client::request(GetJobRequest { name: target.job_name() });
        let job = coordinator.jobs().get_job(request).await?.into_inner();
        return Ok(if job.state() == JobState::Succeeded { Exit::Ok } else { Exit::JobFailed });
    }
    let mut selector = target.select(&args::Selector::default())?;
    selector.states = [TaskState::Failed, TaskState::Cancelled].map(Into::into).to_vec();
    let failed = tasks::all(coordinator, &target.job_name(), selector).await?;
    Ok(if failed.is_empty() { Exit::Ok } else { Exit::JobFailed })
}
