//! The commands: each asks a coordinator, is one of its roles, or works offline on files.

mod act;
mod doctor;
mod get;
mod jobs;
mod lint;
mod plan;
pub(crate) mod rank;
mod render;
mod roles;
mod submit;
mod tasks;
mod verify;
mod watch;
mod workers;

use crate::{
    args::Command,
    exit::{Exit, Failed},
};

/// Runs one command to its end.
pub(crate) async fn run(command: Command) -> Result<Exit, Failed> {
    match command {
        Command::Render(args) => render::run(*args).await,
        Command::Coordinator(args) => roles::coordinator(args).await,
        Command::Worker(args) => roles::worker(args).await,
        Command::Rank(args) => rank::run(&args),
        Command::Lint(args) => lint::run(&args),
        Command::Plan(args) => plan::run(args).await,
        Command::Submit(args) => submit::run(args).await,
        Command::Watch(args) => watch::run(args).await,
        Command::Jobs(args) => jobs::list(args).await,
        Command::Job(args) => jobs::describe(args).await,
        Command::Tasks(args) => tasks::run(args).await,
        Command::Get(args) => get::run(args).await,
        Command::Cancel(args) => act::cancel(args).await,
        Command::Retry(args) => act::retry(args).await,
        Command::Workers(args) => workers::run(args).await,
        Command::Verify(args) => verify::run(&args),
        Command::Doctor(args) => doctor::run(args).await,
    }
}
