//! The command line as clap reads it: names, flags and their help, nothing that acts.

mod certs;
mod egress;
mod roles;
mod watch;
mod wrangle;

use std::path::PathBuf;

pub(crate) use certs::{
    Audit, Certs, CertsWish, Init, Issue, IssuedRole, Join, List, Revoke, Tls, Token, WorkerWish,
};
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
pub(crate) use egress::{Egress, Store};
pub(crate) use roles::{Coordinator, Rank, Worker};
pub(crate) use watch::{Logs, Since, Telemetry, Usage};
pub(crate) use wrangle::{
    Doctor, Limit, Lock, Nimby, NimbyWish, OneOf, Selector, Show, Status, Update, Verify, Why, Workers,
};

/// A private render farm for generative media.
#[derive(Debug, Parser)]
#[command(name = "croft", version, about, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Args {
    /// How logs are written to standard error; CROFT_LOG chooses what is logged
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Render a spec, or one clip, on an embedded farm: start, submit, progress, contact sheet, stop
    Render(Box<Render>),
    /// Run the coordinator
    Coordinator(Coordinator),
    /// Run a worker
    Worker(Worker),
    /// One rank on inherited file descriptor (started by workers)
    #[command(hide = true)]
    Rank(Rank),
    /// Check a spec without a farm
    Lint(Spec),
    /// Show what a spec becomes: tasks, models, parameters, names
    Plan(Plan),
    /// Create a job
    Submit(Submit),
    /// Follow a job until it settles
    Watch(OneJob),
    /// List jobs
    Jobs(Jobs),
    /// Describe a job
    Job(OneJob),
    /// List the tasks of a job with their attempts
    Tasks(Tasks),
    /// Fetch the published files of a job
    Get(Get),
    /// Cancel a job
    Cancel(Cancel),
    /// Queue failed or cancelled tasks again
    Retry(Retry),
    /// Leave tasks out; those that wait for them go on
    Skip(Retry),
    /// Start nothing new of a job
    Pause(OneOf),
    /// Go on with a paused job
    Resume(OneOf),
    /// Change a job's priority
    Update(Update),
    /// Say why tasks wait, and what would have to happen
    Why(Why),
    /// List workers and their devices
    Workers(Workers),
    /// Keep work from a worker
    Lock(Lock),
    /// Give a worker work again
    Unlock(OneOf),
    /// Let a worker run empty
    Drain(Lock),
    /// Keep work from this machine while its owner is there
    Nimby(Nimby),
    /// List shows and their shares, or set one
    Show(Show),
    /// List limits, or set one
    Limit(Limit),
    /// Print what ranks said: of failed attempts, and of running ones as they say it
    Logs(Logs),
    /// Say how much device time, and what else, shows and jobs used
    Usage(Usage),
    /// Say who leads, what is free and what waits
    Status(Status),
    /// Check published files against their sidecars
    Verify(Verify),
    /// Check this machine, a coordinator and an artifact store
    Doctor(Doctor),
    /// The farm's own authority: who may connect, and as what
    Certs(Certs),
    /// Say who did what, and what was refused
    Audit(Audit),
}

impl Command {
    /// Whether it tells people of its progress itself, so that only trouble is logged beside it.
    pub(crate) fn is_quiet(&self) -> bool {
        !matches!(self, Self::Coordinator(_) | Self::Worker(_) | Self::Rank(_))
    }
}

/// Where the coordinator is.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Client {
    /// The coordinator's address; several are tried in turn
    #[arg(long, env = "CROFT_COORDINATOR", value_name = "HOST:PORT[,…]")]
    pub(crate) coordinator: Option<String>,
    /// Speak plaintext; refused anywhere but on loopback addresses
    #[arg(long)]
    pub(crate) insecure: bool,
    #[command(flatten)]
    pub(crate) egress: Egress,
    #[command(flatten)]
    pub(crate) tls: Tls,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, ClapArgs)]
pub(crate) struct Output {
    /// `table` for people (tab-separated when piped), `json` for programs
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub(crate) output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Render {
    /// The job spec (YAML or JSON; `-` reads standard input); left out with --prompt
    #[arg(value_name = "FILE", required_unless_present = "prompt", conflicts_with_all = ["model", "prompt"])]
    pub(crate) file: Option<PathBuf>,
    /// Where the files go [default: out/JOB]
    #[arg(short, long = "out", value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Worker processes; the devices of this machine are shared out among them
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64), value_name = "N")]
    pub(crate) workers: u32,
    /// `auto`, or a list of `cpu`, `cpu:N` for N devices of each worker, `cuda`, `cuda:INDEX` and `cuda:UUID`
    /// [default: NVIDIA devices where there are some, else the cores]
    #[arg(long, env = "CROFT_DEVICES", value_name = "DEVICES")]
    pub(crate) devices: Option<String>,
    /// Lay a value over the spec: `params.steps=8`, `layers.0.params.size=96x96`
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    #[command(flatten)]
    pub(crate) clip: Clip,
    #[command(flatten)]
    pub(crate) telemetry: Telemetry,
}

/// One clip or picture without a spec file.
#[derive(Debug, Clone, ClapArgs)]
#[command(next_help_heading = "One clip without a spec")]
pub(crate) struct Clip {
    /// A model directory, or builtin://shapes
    #[arg(long, value_name = "DIR|builtin://NAME", requires = "prompt")]
    pub(crate) model: Option<String>,
    /// What the clip shows
    #[arg(long, requires = "model", requires = "out")]
    pub(crate) prompt: Option<String>,
    /// What it must not show
    #[arg(long, requires = "prompt", value_name = "PROMPT")]
    pub(crate) negative_prompt: Option<String>,
    /// The same seed gives the same picture [default: from the prompt]
    #[arg(long, requires = "prompt")]
    pub(crate) seed: Option<u64>,
    /// Denoise steps
    #[arg(long, requires = "prompt")]
    pub(crate) steps: Option<u32>,
    /// Guidance scale
    #[arg(long, requires = "prompt", allow_negative_numbers = true)]
    pub(crate) guidance: Option<f64>,
    /// Width and height, pixels
    #[arg(long, requires = "prompt", value_name = "WxH")]
    pub(crate) size: Option<String>,
    /// Frames of the clip
    #[arg(long, requires = "prompt", value_name = "F")]
    pub(crate) num_frames: Option<u32>,
    /// Frames a second
    #[arg(long, requires = "prompt")]
    pub(crate) fps: Option<f64>,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Spec {
    /// The job spec (YAML or JSON; `-` reads standard input)
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Lay a value over the spec: `params.steps=8`, `layers.0.params.size=96x96`
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) spec: Spec,
    /// Say how each layer would be split over the devices that this file describes (see examples/fleets)
    #[arg(long, value_name = "FILE", conflicts_with = "coordinator")]
    pub(crate) fleet: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) client: Client,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Submit {
    #[command(flatten)]
    pub(crate) spec: Spec,
    /// Follow the job; exit 7 when it fails
    #[arg(long)]
    pub(crate) watch: bool,
    /// A UUID; submitting again under the same one gives the same job
    #[arg(long, value_name = "UUID")]
    pub(crate) request_id: Option<uuid::Uuid>,
    #[command(flatten)]
    pub(crate) telemetry: Telemetry,
    #[command(flatten)]
    pub(crate) client: Client,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct OneJob {
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
    #[command(flatten)]
    pub(crate) client: Client,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Jobs {
    /// Only the jobs of this show
    #[arg(long)]
    pub(crate) show: Option<String>,
    #[command(flatten)]
    pub(crate) client: Client,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Tasks {
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

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Get {
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
    /// Where the files go [default: out/JOB]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) client: Client,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Cancel {
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
    /// Kill running attempts at once rather than let them end their denoise step
    #[arg(long)]
    pub(crate) now: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) client: Client,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Retry {
    /// JOB, JOB/LAYER or JOB/LAYER/TASK
    #[arg(value_name = "JOB[/LAYER[/TASK]]")]
    pub(crate) job: String,
    #[command(flatten)]
    pub(crate) selector: Selector,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) client: Client,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_clip_needs_model_prompt_and_folder_and_excludes_a_file() {
        let parses = |words: &str| Args::try_parse_from(words.split(' ')).is_ok();
        assert!(parses("croft render spec.yaml"));
        assert!(parses("croft render --model builtin://shapes --prompt circle --seed 7 -o out"));
        assert!(!parses("croft render"));
        assert!(!parses("croft render --prompt circle -o out"));
        assert!(!parses("croft render --model builtin://shapes --prompt circle"));
        assert!(!parses("croft render spec.yaml --model builtin://shapes --prompt circle -o out"));
        assert!(!parses("croft render spec.yaml --seed 7"));
    }
}
