//! What a worker is told at its start.

use std::{net::IpAddr, num::NonZero, path::PathBuf, str::FromStr};

use croft_proto::{channel::Security, store::Reach, trace::Traces, v1::Link};

/// Devices of one worker at most.
pub(crate) const DEVICES_MAX: u32 = 256;

/// Settings of a worker. `Default` shares this machine's cores out as one device each.
#[derive(Debug, Clone)]
pub struct Config {
    /// `HOST:PORT` of coordinators, tried in turn.
    pub coordinators: Vec<String>,
    /// Its name on the farm.
    pub name: String,
    /// Its own folder: attempts in the making. One worker at a time works in it.
    pub data_dir: PathBuf,
    pub devices: Devices,
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
    /// Memory that it offers of each device, bytes; by default what the machine has, shared out.
    pub memory_bytes: Option<u64>,
    /// What a device delivers, billions of floating-point operations a second, for the choice of how to split a model.
    pub gflops: Option<u64>,
    /// What lies between its devices, for the same.
    pub link: Option<Link>,
    /// The address of this machine on which ranks of a gang reach each other, in the clear; by default the one from which
    /// the coordinator is dialled.
    pub gang_address: Option<IpAddr>,
    /// Who takes the spans of its ranks, if anybody.
    pub traces: Traces,
}

/// Which devices a worker offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devices {
    /// What the machine has.
    Auto,
    /// So many shares of its processor.
    Cpu(u32),
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

impl Config {
    /// Devices and the threads of each.
    pub(crate) fn shares(&self) -> (u32, u32) {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let cores = u32::try_from(cores).unwrap_or(DEVICES_MAX);
        let devices = match self.devices {
            // Clips side by side keep cores busier than threads on one clip.
            Devices::Auto => cores.min(DEVICES_MAX),
            Devices::Cpu(devices) => devices,
        };
        (devices, self.threads_per_device.unwrap_or(cores / devices.max(1)).max(1))
    }
}

impl FromStr for Devices {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let count = text.strip_prefix("cpu:").and_then(|count| count.parse().ok());
        match count {
            Some(count) if (1..=DEVICES_MAX).contains(&count) => Ok(Self::Cpu(count)),
            _ => Err(format!("neither `auto` nor `cpu:N` with N of 1 to {DEVICES_MAX}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_auto_or_a_number_of_shares() {
        assert_eq!("auto".parse(), Ok(Devices::Auto));
        assert_eq!("cpu:3".parse(), Ok(Devices::Cpu(3)));
        for bad in ["", "cpu", "cpu:0", "cpu:-1", "cpu:257", "gpu:1"] {
            assert!(bad.parse::<Devices>().is_err(), "{bad}");
        }
    }
}
