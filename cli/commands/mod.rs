//! The commands: each asks a coordinator, is one of its roles, or works offline on files.

mod act;
mod audit;
mod certs;
mod doctor;
mod get;
mod jobs;
mod lint;
mod logs;
mod nimby;
mod plan;
pub(crate) mod rank;
mod render;
mod roles;
mod status;
mod submit;
mod tasks;
mod usage;
mod verify;
mod watch;
mod why;
mod workers;
mod wrangle;

use std::time::Duration;

use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::{
    args::{self, Command},
    client,
    exit::{Exit, Failed},
};

/// A command that several coordinators may serve is begun anew for this long, while none of them answers.
const PERSISTENT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(300);

/// Runs one command to its end.
pub(crate) async fn run(command: Command) -> Result<Exit, Failed> {
    match command {
        Command::Render(args) => render::run(*args).await,
        Command::Coordinator(args) => roles::coordinator(args).await,
        Command::Worker(args) => roles::worker(args).await,
        Command::Rank(args) => rank::run(&args),
        Command::Lint(args) => lint::run(&args),
        Command::Plan(args) => plan::run(args).await,
        Command::Submit(args) => {
            // A name of its own, so that a submission whose answer was lost may be sent again.
            let request_id = Some(args.request_id.unwrap_or_else(Uuid::new_v4));
            let args = args::Submit { request_id, ..args };
            persistent(&args.client, &args, submit::run).await
        }
        Command::Watch(args) => watch::run(args).await,
        Command::Jobs(args) => persistent(&args.client, &args, jobs::list).await,
        Command::Job(args) => persistent(&args.client, &args, jobs::describe).await,
        Command::Tasks(args) => persistent(&args.client, &args, tasks::run).await,
        Command::Get(args) => persistent(&args.client, &args, get::run).await,
        Command::Cancel(args) => persistent(&args.client, &args, act::cancel).await,
        Command::Retry(args) => persistent(&args.client, &args, act::retry).await,
        Command::Skip(args) => persistent(&args.client, &args, act::skip).await,
        Command::Pause(args) => persistent(&args.client, &args, act::pause).await,
        Command::Resume(args) => persistent(&args.client, &args, act::resume).await,
        Command::Update(args) => persistent(&args.client, &args, act::update).await,
        Command::Why(args) => persistent(&args.client, &args, why::run).await,
        Command::Lock(args) => persistent(&args.client, &args, wrangle::lock).await,
        Command::Unlock(args) => persistent(&args.client, &args, wrangle::unlock).await,
        Command::Drain(args) => persistent(&args.client, &args, wrangle::drain).await,
        Command::Nimby(args) => nimby::run(args),
        Command::Show(args) => persistent(&args.client, &args, wrangle::show).await,
        Command::Limit(args) => persistent(&args.client, &args, wrangle::limit).await,
        Command::Workers(args) => persistent(&args.client, &args, workers::run).await,
        Command::Logs(args) => logs::run(args).await,
        Command::Usage(args) => persistent(&args.client, &args, usage::run).await,
        Command::Status(args) => status::run(args).await,
        Command::Verify(args) => verify::run(&args),
        Command::Doctor(args) => doctor::run(args).await,
        Command::Certs(args) => certs::run(args.wish).await,
        Command::Audit(args) => persistent(&args.client, &args, audit::run).await,
    }
}

/// Runs a command that may be begun anew: with several coordinators, the death of one is not the end of it.
async fn persistent<A: Clone, F: Future<Output = Result<Exit, Failed>>>(
    client: &args::Client,
    args: &A,
    run: impl Fn(A) -> F,
) -> Result<Exit, Failed> {
    let several = client::addresses(client)?.len() > 1;
    let began = Instant::now();
    loop {
        match run(args.clone()).await {
            Err(failed) if several && failed.exit == Exit::Unreachable && began.elapsed() < PERSISTENT => {
                sleep(PAUSE).await;
            }
            ended => return ended,
        }
    }
}
