//! `[telemetry]` in every role's file: where traces go, and how many.

use serde::Deserialize;

use super::{ClientFile, client_file, load};
use crate::{
    args,
    exit::{Exit, Failed},
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TelemetryFile {
    otlp_endpoint: Option<String>,
    trace_ratio: Option<f64>,
}

/// Where traces go, and how many.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Telemetry {
    pub(crate) otlp_endpoint: Option<String>,
    /// The part of all traces that is kept, 0 to 1.
    pub(crate) trace_ratio: f64,
}

impl Telemetry {
    pub(super) fn of(flags: args::Telemetry, file: Option<TelemetryFile>) -> Result<Self, Failed> {
        let file = file.unwrap_or_default();
        let trace_ratio = file.trace_ratio.unwrap_or(1.0);
        if !(0.0..=1.0).contains(&trace_ratio) {
            return Err(Failed::with(Exit::Usage, format!("telemetry.trace_ratio is {trace_ratio}"))
                .help("give the part of all traces to keep: 0 for none, 1 for all"));
        }
        // OTEL_ variables are not read: what a machine has set for other programs must not make this one send.
        Ok(Self { otlp_endpoint: flags.otlp_endpoint.or(file.otlp_endpoint), trace_ratio })
    }

    /// A client's.
    pub(crate) fn of_client(flags: args::Telemetry) -> Result<Self, Failed> {
        let file: ClientFile = match client_file().filter(|p| p.exists()) {
            Some(path) => load(&path)?,
            None => ClientFile::default(),
        };
        Self::of(flags, file.telemetry)
    }
}
