//! The one binary: reads the command line, installs the process-wide pieces, runs one command, ends with its code.
//!
//! No rule of the farm lives here or below it: commands ask the coordinator, or are one of its roles.

mod args;
mod client;
mod clock;
mod commands;
mod config;
mod cuda;
mod exit;
mod fleet;
mod interrupt;
mod json;
mod output;
mod progress;
mod sheet;
mod spec_file;
mod telemetry;

use std::process::ExitCode;

use clap::Parser;

use crate::exit::Failed;

fn main() -> ExitCode {
    // Before anything may open a connection: a second provider in the tree would make TLS panic at its first use.
    let first = rustls::crypto::ring::default_provider().install_default();
    debug_assert!(first.is_ok(), "nothing else installs a provider");
    let args = args::Args::parse();
    let outcome =
        telemetry::install(args.log_format, args.command.is_quiet()).and_then(|()| run(args.command));
    match outcome {
        Ok(exit) => exit.into(),
        Err(failed) => {
            failed.tell();
            failed.exit.into()
        }
    }
}

fn run(command: args::Command) -> Result<exit::Exit, Failed> {
    // A rank owns its threads itself and knows nothing of tokio.
    if let args::Command::Rank(rank) = command {
        return commands::rank::run(&rank);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failed::new(format!("cannot start the runtime: {e}")))?;
    let outcome = runtime.block_on(commands::run(command));
    // A reader of standard input may sit in a blocking thread for ever; it owns nothing that must be finished.
    runtime.shutdown_background();
    outcome
}
