//! The words of the farm's own processes: coordinator, worker, rank.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args as ClapArgs;

use super::{Egress, Store, Telemetry, Tls, WorkerWish};

#[derive(Debug, ClapArgs)]
pub(crate) struct Coordinator {
    /// Settings (TOML); flags win over it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where to listen [default: 127.0.0.1:7400]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Where the coordinator keeps what is its own [default: ~/.local/share/croft/coordinator]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The artifact store: file:///DIR or s3://BUCKET[/PREFIX] [default: a folder of the data directory]
    #[arg(long, value_name = "URL")]
    pub(crate) artifacts: Option<String>,
    /// Members of the etcd cluster that keeps the state [default: a file in the data directory]
    #[arg(long, value_delimiter = ',', value_name = "URL,…")]
    pub(crate) etcd: Option<Vec<String>>,
    /// The farm's name: keys in etcd begin with it [default: croft]
    #[arg(long, value_name = "NAME")]
    pub(crate) farm: Option<String>,
    /// The authority that the etcd members' certificates are of (PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) etcd_ca: Option<PathBuf>,
    /// What this coordinator shows etcd (PEM)
    #[arg(long, value_name = "FILE", requires = "etcd_key")]
    pub(crate) etcd_cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "etcd_cert")]
    pub(crate) etcd_key: Option<PathBuf>,
    /// The folder of `croft certs init`: with it machines can join here [default: ~/.local/share/croft/certs]
    #[arg(long, value_name = "DIR")]
    pub(crate) certs: Option<PathBuf>,
    /// A revocation list to heed; read again when it changes [default: that of --certs]
    #[arg(long, value_name = "FILE")]
    pub(crate) revoked: Option<PathBuf>,
    /// How clients and workers reach this coordinator [default: where it listens]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) advertise: Option<String>,
    /// Where to serve /metrics, in the clear: a loopback address [default: nowhere]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) metrics_listen: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) telemetry: Telemetry,
    /// Speak plaintext; refused anywhere but on loopback addresses
    #[arg(long)]
    pub(crate) insecure: bool,
    #[command(flatten)]
    pub(crate) egress: Egress,
    #[command(flatten)]
    pub(crate) store: Store,
    #[command(flatten)]
    pub(crate) tls: Tls,
}

#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Worker {
    #[command(subcommand)]
    pub(crate) join: Option<WorkerWish>,
    /// Settings (TOML); flags win over it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The coordinator's address; several are tried in turn
    #[arg(long, env = "CROFT_COORDINATOR", value_name = "HOST:PORT[,…]")]
    pub(crate) coordinator: Option<String>,
    /// Scratch space [default: ~/.local/share/croft/worker]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// `auto`, or a list of `cpu`, `cpu:N` for N devices that share this machine's cores, `cuda`, `cuda:INDEX` and
    /// `cuda:UUID` [default: NVIDIA devices where there are some, else the cores]
    #[arg(long, env = "CROFT_DEVICES", value_name = "DEVICES")]
    pub(crate) devices: Option<String>,
    /// Threads of each CPU device [default: the cores shared out among the devices]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<u32>,
    /// Memory offered of each device, GiB [default: what the machine has, shared out]
    #[arg(long, value_name = "GIB")]
    pub(crate) device_memory: Option<f64>,
    /// Its name on the farm [default: the host's name]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Tags, by which layers choose workers
    #[arg(long, value_delimiter = ',', value_name = "TAG,…")]
    pub(crate) tags: Option<Vec<String>>,
    /// Speak plaintext; refused anywhere but on loopback addresses
    #[arg(long)]
    pub(crate) insecure: bool,
    #[command(flatten)]
    pub(crate) egress: Egress,
    #[command(flatten)]
    pub(crate) store: Store,
    #[command(flatten)]
    pub(crate) tls: Tls,
    /// End when standard input does: how `croft render` takes its workers with it, whatever ends it
    #[arg(long, hide = true)]
    pub(crate) until_stdin_closes: bool,
    #[command(flatten)]
    pub(crate) telemetry: Telemetry,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Rank {
    /// The inherited end of the socket to the worker
    #[arg(long)]
    pub(crate) fd: i32,
    /// The one folder below which it writes
    #[arg(long)]
    pub(crate) scratch: PathBuf,
    /// Reach the ranks of other workers; without it there is no network
    #[arg(long)]
    pub(crate) gang: bool,
    /// Threads of the engine
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) threads: u32,
    /// What it computes on: `cpu`, or `cuda:N` of the devices that CUDA shows it
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    pub(crate) device: croft_rank::Device,
}
