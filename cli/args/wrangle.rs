//! The words of those who run the farm: workers, shares, limits, and why things wait.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};

use super::{Client, Output, Store};

/// Which tasks of a job; everything given must match.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct Selector {
    /// waiting, queued, running, publishing, succeeded, failed or cancelled
    #[arg(long, value_delimiter = ',', value_parser = crate::client::task_state, value_name = "STATE,…")]
    pub(crate) state: Vec<croft_proto::v1::TaskState>,
    /// An axis value: `seed=7`, `product.id=tote`
    #[arg(long = "where", value_parser = crate::client::pair, value_name = "AXIS=VALUE")]
    pub(crate) axes: Vec<(String, String)>,
    /// Only this layer
    #[arg(long)]
    pub(crate) layer: Option<String>,
}

/// One named thing.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct OneOf {
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) client: Client,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Workers {
    #[command(flatten)]
    pub(crate) client: Client,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) client: Client,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Lock {
    #[arg(value_name = "WORKER")]
    pub(crate) name: String,
    /// Why, for whoever asks
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    /// What runs there goes elsewhere at once, at no cost in tries
    #[arg(long)]
    pub(crate) give_back: bool,
    #[command(flatten)]
    pub(crate) client: Client,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Show {
    /// The show to set; all are listed without
    #[arg(value_name = "SHOW")]
    pub(crate) name: Option<String>,
    /// Its share of device time beside other shows, 1 to 1000 [default: 100]
    #[arg(long, requires = "name", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) weight: Option<u32>,
    /// Devices that it may hold at once; 0 for no bound
    #[arg(long, requires = "name", value_name = "N")]
    pub(crate) max_devices: Option<u32>,
    #[command(flatten)]
    pub(crate) client: Client,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Limit {
    /// The limit to set; all are listed without
    #[arg(value_name = "LIMIT")]
    pub(crate) name: Option<String>,
    /// How many tasks may hold it at once
    #[arg(requires = "name", value_name = "N")]
    pub(crate) max: Option<u32>,
    /// Take the limit away
    #[arg(long, requires = "name", conflicts_with = "max")]
    pub(crate) delete: bool,
    #[command(flatten)]
    pub(crate) client: Client,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Nimby {
    #[arg(value_enum)]
    pub(crate) wish: NimbyWish,
    /// Why, for whoever asks
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// The folder of this machine's worker [default: ~/.local/share/croft/worker]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NimbyWish {
    On,
    Off,
    Status,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Update {
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
    /// 0 to 100; within its show, higher goes first
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) priority: u32,
    #[command(flatten)]
    pub(crate) client: Client,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Why {
    /// JOB, JOB/LAYER or JOB/LAYER/TASK
    #[arg(value_name = "JOB[/LAYER[/TASK]]")]
    pub(crate) job: String,
    #[command(flatten)]
    pub(crate) selector: Selector,
    #[command(flatten)]
    pub(crate) client: Client,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Doctor {
    /// The folder whose disk is judged [default: the current one]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// An artifact store to probe: file:///DIR or s3://BUCKET[/PREFIX]
    #[arg(long, value_name = "URL")]
    pub(crate) artifacts: Option<String>,
    #[command(flatten)]
    pub(crate) store: Store,
    #[command(flatten)]
    pub(crate) client: Client,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Verify {
    /// Sidecars, files beside one, or folders to search for sidecars
    #[arg(value_name = "FILE|DIR", required = true)]
    pub(crate) paths: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}
