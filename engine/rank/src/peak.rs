//! The most memory that this process has held, as the system counts it.

use std::fs;

/// Has the system forget the highest mark so far. Where that is not permitted the mark is that of the process, which is never
/// too low.
pub(crate) fn forget() {
    if let Err(error) = fs::write("/proc/self/clear_refs", "5") {
        tracing::debug!(%error, "the peak is counted from the start of the process");
    }
}

/// Since then; 0 where the system does not say.
pub(crate) fn bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB"));
    kib.and_then(|kib| kib.trim().parse::<u64>().ok()).unwrap_or(0) << 10
}
