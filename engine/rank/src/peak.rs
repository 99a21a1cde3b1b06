//! The most memory that a rank has held of its device: of the machine, as the system counts it, or of an NVIDIA device.

use std::fs;

use croft_engine::{device::Device, place::Place};

/// Has the system forget the highest mark so far. Where that is not permitted the mark is that of the process, which is never
/// too low.
pub(crate) fn forget() {
    if let Err(error) = fs::write("/proc/self/clear_refs", "5") {
        tracing::debug!(%error, "the peak is counted from the start of the process");
    }
}

/// Since then; 0 where nobody says, so that nothing is compared with an estimate of other memory.
pub(crate) fn bytes(device: Device, place: Option<&Place>) -> u64 {
    match device {
        Device::Cpu => of_process(),
        Device::Cuda { .. } => place.and_then(of_device).unwrap_or(0),
    }
}

/// What the driver keeps of a device for a process that uses it: the context, and room for the kernels. Estimates count it too.
const CONTEXT: u64 = 512 << 20;

fn of_device(place: &Place) -> Option<u64> {
    place.most_held().map(|bytes| bytes + CONTEXT)
}

fn of_process() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB"));
    kib.and_then(|kib| kib.trim().parse::<u64>().ok()).unwrap_or(0) << 10
}
