//! The words of those who watch a farm: its logs, what was used of it, and where traces go.

use clap::Args as ClapArgs;

use super::{Client, Output};

/// Where spans go.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct Telemetry {
    /// Send traces by OTLP/gRPC to the collector here: http://127.0.0.1:4317 [default: nowhere]
    #[arg(long, env = "CROFT_OTLP_ENDPOINT", value_name = "URL")]
    pub(crate) otlp_endpoint: Option<String>,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Logs {
    /// JOB, JOB/LAYER or JOB/LAYER/TASK
    #[arg(value_name = "JOB[/LAYER[/TASK]]")]
    pub(crate) job: String,
    /// Stay until all is settled, and print lines as they are said; exit 7 when it failed
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only this attempt of a task
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempt: Option<u32>,
    /// Only this rank of a gang
    #[arg(long, value_name = "N")]
    pub(crate) rank: Option<u32>,
    #[command(flatten)]
    pub(crate) client: Client,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Usage {
    /// By job, of this show
    #[arg(long, conflicts_with = "job")]
    pub(crate) show: Option<String>,
    /// Of this job
    #[arg(long)]
    pub(crate) job: Option<String>,
    /// By task
    #[arg(long, requires = "job")]
    pub(crate) tasks: bool,
    /// Only what ended on this day (UTC) or later: 2026-11-25, or 7d for the last seven days
    #[arg(long, value_parser = day, value_name = "DAY")]
    pub(crate) since: Option<Since>,
    #[command(flatten)]
    pub(crate) client: Client,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// A day, or so many before today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    Day { year: i64, month: i64, day: i64 },
    DaysAgo(u32),
}

fn day(text: &str) -> Result<Since, String> {
    let bad = || "give a day as 2026-11-25, or a number of days as 7d".to_owned();
    if let Some(days) = text.strip_suffix('d') {
        return days.parse().map(Since::DaysAgo).map_err(|_| bad());
    }
    let parts: Vec<i64> = text.split('-').map(str::parse).collect::<Result<_, _>>().map_err(|_| bad())?;
    match parts[..] {
        [year @ 1970..=9999, month @ 1..=12, day @ 1..=31] => Ok(Since::Day { year, month, day }),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_a_date_or_so_many_ago() {
        assert_eq!(day("2026-11-25"), Ok(Since::Day { year: 2026, month: 11, day: 25 }));
        assert_eq!(day("7d"), Ok(Since::DaysAgo(7)));
        for bad in ["", "d", "yesterday", "2026-13-01", "2026-11", "-7d"] {
            assert!(day(bad).is_err(), "{bad}");
        }
    }
}
