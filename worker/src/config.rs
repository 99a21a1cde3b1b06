//! What a worker is told at its start.

mod devices;

use std::{net::IpAddr, path::PathBuf};

use croft_proto::{channel::Security, store::Reach, trace::Traces, v1::Link};

use crate::inventory::nvidia::Refusal;
pub(crate) use devices::DEVICES_MAX;
pub use devices::{Cpu, Cuda, Devices, Pick};

/// Settings of a worker. `Default` offers what the machine has.
#[derive(Debug, Clone)]
pub struct Config {
    /// `HOST:PORT` of coordinators, tried in turn.
    pub coordinators: Vec<String>,
    /// Its name on the farm.
    pub name: String,
    /// Its own folder: attempts in the making. One worker at a time works in it.
    pub data_dir: PathBuf,
    pub devices: Devices,
    /// Whether ranks of its program render on NVIDIA devices, or why not.
    pub cuda: Result<(), Refusal>,
    /// What `CUDA_VISIBLE_DEVICES` says, whose bounds are kept; `None` where it is not set.
    pub visible: Option<String>,
    /// Threads of each device; by default the cores are shared out.
    pub threads_per_device: Option<u32>,
    pub tags: Vec<String>,
    /// How coordinators are spoken to; in plaintext on loopback only.
    pub security: Security,
    /// Where its connections may go, and by whom a store's certificate may be signed.
    pub reach: Reach,
    pub rank: RankProgram,
    /// A render keeps a step when the last one that it kept is older than this, milliseconds; 0 for never.
    pub checkpoint_ms: u64,
    /// Memory that it offers of each device, bytes; by default what the machine has, shared out, and of an NVIDIA device
    /// what others leave of it.
    pub memory_bytes: Option<u64>,
    /// What a device delivers (an NVIDIA device, where there are any), billions of floating-point operations a second, for the choice of how to split a model.
    pub gflops: Option<u64>,
    /// What lies between its devices, for the same.
    pub link: Option<Link>,
    /// The address of this machine on which ranks of a gang reach each other, in the clear; by default the one from which
    /// the coordinator is dialled.
    pub gang_address: Option<IpAddr>,
    /// Who takes the spans of its ranks, if anybody.
    pub traces: Traces,
}

/// What renders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RankProgram {
    /// A child process for each device; `--fd N --threads N` is added to its arguments.
    Child {
        program: PathBuf,
        args: Vec<String>,
        /// On top of the worker's own environment.
        environment: Vec<(String, String)>,
    },
    /// Nothing: every task is done at once. For measuring the farm around it.
    Noop,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            coordinators: vec!["127.0.0.1:7400".to_owned()],
            name: crate::inventory::host_name(),
            data_dir: std::env::temp_dir().join("croft-worker"),
            devices: Devices::Auto,
            cuda: Err(Refusal::new("nobody said that its ranks can", "start it by `croft worker`")),
            visible: None,
            threads_per_device: None,
            tags: Vec::new(),
            security: Security::Plaintext,
            reach: Reach::default(),
            rank: RankProgram::Noop,
            checkpoint_ms: 3_000,
            memory_bytes: None,
            gflops: None,
            link: None,
            gang_address: None,
            traces: Traces::default(),
        }
    }
}
