//! NVIDIA devices, as `nvidia-smi` tells of them: what there is, what others hold of it, and why one is not used.
//!
//! It comes with every driver and says the same as the driver's own library, which this process so need not load: a driver
//! in trouble takes `nvidia-smi` with it, and not the worker.

mod links;
mod smi;
mod speed;
mod table;

use std::path::Path;

pub use links::{Links, Wire};
pub use smi::{Trouble, look};
pub(crate) use speed::gflops;

/// The least that kernels are made for: Ampere.
const COMPUTE_MIN: (u32, u32) = (8, 0);
/// The first driver of CUDA 13.
const DRIVER_MIN: u32 = 580;
/// Left to a desktop that opens another window, and to what the driver rounds up. What a rank's own context and libraries
/// take is part of the estimate for each clip, and is not taken off here a second time.
const MARGIN_BYTES: u64 = 256 << 20;
/// Below it there is no room for a rank's context, let alone a model.
const OFFER_BYTES_MIN: u64 = 1 << 30;
/// Processes that are named.
const NAMED_MAX: usize = 3;

/// What was seen of NVIDIA devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    pub gpus: Vec<Gpu>,
    pub links: Links,
    /// Why not all is known.
    pub trouble: Option<Trouble>,
    /// Devices of NVIDIA in the machine's slots, whether or not there is a driver for them.
    pub slots: usize,
    /// Files of the driver that are not there. Ranks start no program, so that they cannot have them made.
    pub missing: Vec<String>,
}

/// One device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gpu {
    pub index: u32,
    pub uuid: String,
    pub name: String,
    /// Its compute capability.
    pub compute: Option<(u32, u32)>,
    pub driver: String,
    pub bus: String,
    /// `None` where it shares the machine's.
    pub memory_bytes: Option<u64>,
    /// The driver's own part of that.
    pub reserved_bytes: u64,
    /// Held by all processes and the desktop.
    pub used_bytes: u64,
    pub temperature_c: Option<u32>,
    /// Whether it is cut into instances.
    pub is_split: bool,
    pub mode: ComputeMode,
    pub shows_desktop: bool,
    /// Bits that memory lost since the driver was loaded.
    pub lost_bits: Option<u64>,
    /// Generation and lanes of its slot.
    pub pcie: Option<(u32, u32)>,
    /// What it says in place of a number.
    pub sick: Option<String>,
    /// Those that compute on it now.
    pub processes: Vec<Process>,
}

/// Who may compute on a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ComputeMode {
    #[default]
    Any,
    OneProcess,
    Nobody,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// 0 where it is not told, as in a container.
    pub pid: u32,
    pub name: String,
    pub memory_bytes: Option<u64>,
}

/// Why a device is not used, and what somebody can do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub why: String,
    pub remedy: String,
}

impl Refusal {
    #[must_use]
    pub fn new(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { why: why.into(), remedy: remedy.into() }
    }
}

impl Seen {
    /// How many there are, without a word of any driver.
    #[must_use]
    pub fn unasked() -> Self {
        Self { slots: smi::slots(), ..Self::default() }
    }

    /// Whether processes of `program` hold some of a device.
    pub(crate) fn is_held_by(&self, program: &Path) -> bool {
        let name = program.file_name();
        let mut processes = self.gpus.iter().flat_map(|gpu| &gpu.processes);
        name.is_some() && processes.any(|process| Path::new(&process.name).file_name() == name)
    }

    /// Why no rank can render on any of its devices.
    #[must_use]
    pub fn refused(&self) -> Option<Refusal> {
        (!self.missing.is_empty()).then(|| {
            Refusal::new(
                format!("the driver's files are not there: {}", self.missing.join(", ")),
                "run `nvidia-modprobe -c 0 -u` as root, or enable nvidia-persistenced, which makes them at each start",
            )
        })
    }
}

impl Gpu {
    /// Why no rank can render on it; `None` where one can.
    #[must_use]
    pub fn refused(&self) -> Option<Refusal> {
        let index = self.index;
        if let Some(said) = &self.sick {
            return Some(Refusal::new(
                format!("it does not answer: {said}"),
                format!("run `nvidia-smi --gpu-reset -i {index}` as root, or restart the machine"),
            ));
        }
        let Some(compute) = self.compute else {
            return Some(Refusal::new("it does not say what it computes", newer_driver()));
        };
        if compute < COMPUTE_MIN {
            return Some(Refusal::new(
                format!(
                    "its compute capability is {}.{}, and kernels are made for {}.{} and newer",
                    compute.0, compute.1, COMPUTE_MIN.0, COMPUTE_MIN.1
                ),
                "use a device of the generation Ampere (2020) or newer, or the cores: --devices cpu",
            ));
        }
        // Of a driver that does not say, CUDA will.
        if self.driver_major().is_some_and(|major| major < DRIVER_MIN) {
            return Some(Refusal::new(
                format!("its driver is {}, and CUDA 13 needs {DRIVER_MIN}", self.driver),
                newer_driver(),
            ));
        }
        if self.is_split {
            return Some(Refusal::new(
                "it is cut into instances (MIG), which ranks do not use",
                format!("run `nvidia-smi -i {index} -mig 0` as root to have it whole"),
            ));
        }
        match self.mode {
            ComputeMode::Any => {}
            ComputeMode::OneProcess if self.processes.is_empty() => {}
            ComputeMode::OneProcess => {
                return Some(Refusal::new(
                    format!("it is for one process at a time, and has one: {}", self.held_by()),
                    "end that process, or let several in by `nvidia-smi -c DEFAULT`",
                ));
            }
            ComputeMode::Nobody => {
                return Some(Refusal::new(
                    "its owner lets nobody compute on it",
                    format!("run `nvidia-smi -i {index} -c DEFAULT` as root"),
                ));
            }
        }
        let left = self.memory_bytes.map(|_| self.offered_bytes());
        left.filter(|left| *left < OFFER_BYTES_MIN).map(|_| {
            Refusal::new(
                format!(
                    "others hold {} of its {}: {}",
                    gib(self.used_bytes),
                    gib(self.memory()),
                    self.held_by()
                ),
                "end what holds it, then start the worker again",
            )
        })
    }

    /// Its memory but for what others hold of it; 0 where it does not say how much it has.
    #[must_use]
    pub fn offered_bytes(&self) -> u64 {
        let taken = self.reserved_bytes.saturating_add(self.used_bytes).saturating_add(MARGIN_BYTES);
        self.memory().saturating_sub(taken)
    }

    /// The most that its owner may offer of it, whoever holds some of it now.
    pub(crate) fn offered_bytes_max(&self) -> u64 {
        self.memory().saturating_sub(self.reserved_bytes.saturating_add(MARGIN_BYTES))
    }

    fn memory(&self) -> u64 {
        self.memory_bytes.unwrap_or(0)
    }

    fn driver_major(&self) -> Option<u32> {
        self.driver.split('.').next()?.parse().ok()
    }

    /// Its generation, as NVIDIA calls it.
    #[must_use]
    pub fn architecture(&self) -> &'static str {
        match self.compute {
            Some((5, _)) => "Maxwell",
            Some((6, _)) => "Pascal",
            Some((7, 0 | 2)) => "Volta",
            Some((7, _)) => "Turing",
            Some((8, 9)) => "Ada",
            Some((8, _)) => "Ampere",
            Some((9, _)) => "Hopper",
            Some((10..=12, _)) => "Blackwell",
            Some(_) => "another generation",
            None => "of a generation that it does not say",
        }
    }

    /// Whose memory is held, the most first.
    #[must_use]
    pub fn held_by(&self) -> String {
        let mut processes: Vec<&Process> = self.processes.iter().collect();
        processes.sort_by_key(|process| std::cmp::Reverse(process.memory_bytes));
        let mut words: Vec<String> =
            processes.iter().take(NAMED_MAX).map(|process| process.words()).collect();
        if processes.len() > NAMED_MAX {
            words.push(format!("{} more", processes.len() - NAMED_MAX));
        }
        if self.shows_desktop {
            words.push("the desktop".to_owned());
        }
        if words.is_empty() { "nobody that is named".to_owned() } else { words.join(", ") }
    }
}

impl Process {
    fn words(&self) -> String {
        let name = self.name.rsplit('/').next().unwrap_or_default();
        let name = if name.is_empty() { "a process" } else { name };
        let pid = if self.pid == 0 { String::new() } else { format!(" ({})", self.pid) };
        let memory = self.memory_bytes.map_or_else(String::new, |bytes| format!(" {}", gib(bytes)));
        format!("{name}{pid}{memory}")
    }
}

fn newer_driver() -> String {
    format!("install the driver {DRIVER_MIN} or a newer one, and restart the machine")
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

#[cfg(test)]
mod tests;
