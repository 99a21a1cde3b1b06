//! Logs and traces: the only place that installs a subscriber or an exporter. Logs go to standard error, so that
//! standard output stays data; traces go nowhere unless a collector is named.

mod otlp;

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

pub(crate) use self::otlp::Otlp;
use crate::{
    args::LogFormat,
    exit::{Exit, Failed},
};

/// Which events are shown: `info`, or a filter such as `croft_worker=debug,warn`.
pub(crate) const FILTER_VARIABLE: &str = "CROFT_LOG";

/// Installs the process's subscriber. Called once, by `main`. `quiet` is for commands that show progress themselves.
pub(crate) fn install(format: LogFormat, quiet: bool) -> Result<(), Failed> {
    let filter = match crate::config::variable(FILTER_VARIABLE) {
        Some(text) => EnvFilter::try_new(&text).map_err(|e| {
            Failed::with(Exit::Usage, format!("{FILTER_VARIABLE}: {e}"))
                .help("give levels by target, such as `info` or `croft_worker=debug,warn`")
        })?,
        None if quiet => EnvFilter::new("warn"),
        None => EnvFilter::new("warn,croft=info,croft_coordinator=info,croft_worker=info,croft_rank=info"),
    };
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => registry
            .with(fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()))
            .init(),
        LogFormat::Json => {
            registry.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).init();
        }
    }
    Ok(())
}
