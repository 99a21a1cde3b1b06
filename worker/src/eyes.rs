//! What lets others watch this worker: the logs of its ranks, their figures, and the spans of their attempts.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use croft_proto::{trace::Traces, v1::DeviceFigures};

use crate::logs::Logs;

#[derive(Debug)]
pub(crate) struct Eyes {
    pub(crate) logs: Arc<Logs>,
    pub(crate) traces: Traces,
    /// The process of each device's rank.
    ranks: Mutex<BTreeMap<u32, u32>>,
}

impl Eyes {
    pub(crate) fn new(logs: &Path, traces: Traces) -> Self {
        Self { logs: Arc::new(Logs::new(logs)), traces, ranks: Mutex::default() }
    }

    /// A device has a rank from now on, or none.
    pub(crate) fn rank(&self, device: u32, process: Option<u32>) {
        let mut ranks = self.ranks.lock().unwrap_or_else(PoisonError::into_inner);
        match process {
            Some(process) => drop(ranks.insert(device, process)),
            None => drop(ranks.remove(&device)),
        }
    }

    /// What the ranks take of the machine now. A few reads of what the kernel keeps in memory: no disk is touched.
    pub(crate) fn figures(&self) -> Vec<DeviceFigures> {
        let ranks = self.ranks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let figures = |(index, process): (u32, u32)| {
            // One that is gone takes nothing.
            let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
            DeviceFigures {
                index,
                memory_used_bytes: bytes(&status, "VmRSS:"),
                memory_peak_bytes: bytes(&status, "VmHWM:"),
            }
        };
        ranks.into_iter().map(figures).collect()
    }
}

fn bytes(status: &str, key: &str) -> u64 {
    let kib = status.lines().find_map(|line| line.strip_prefix(key)?.trim().strip_suffix("kB"));
    kib.and_then(|kib| kib.trim().parse::<u64>().ok()).unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ranks_memory_is_what_the_system_says() {
        let eyes = Eyes::new(Path::new("logs"), Traces::default());
        assert!(eyes.figures().is_empty());
        eyes.rank(2, Some(std::process::id()));
        let figures = eyes.figures();
        assert_eq!(figures[0].index, 2);
        assert!(figures[0].memory_used_bytes > 1 << 20, "{figures:?}");
        assert!(figures[0].memory_peak_bytes >= figures[0].memory_used_bytes, "{figures:?}");
        eyes.rank(2, None);
        assert!(eyes.figures().is_empty());
    }
}
