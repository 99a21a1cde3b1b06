//! The tables that `nvidia-smi` prints, as values. A cell that says nothing is no reason to do without the others, and a line
//! that is not understood none to do without the device above it.

use super::{ComputeMode, Gpu, Process};

/// What is asked of each device, the most first: an older driver refuses the whole question for one name that it lacks.
pub(super) const QUESTIONS: [&[&str]; 3] = [
    &[
        "index",
        "uuid",
        "name",
        "compute_cap",
        "driver_version",
        "memory.total",
        "memory.reserved",
        "memory.used",
        "temperature.gpu",
        "pci.bus_id",
        "mig.mode.current",
        "compute_mode",
        "display_active",
        "ecc.errors.uncorrected.volatile.total",
        "pcie.link.gen.max",
        "pcie.link.width.max",
    ],
    &[
        "index",
        "uuid",
        "name",
        "compute_cap",
        "driver_version",
        "memory.total",
        "memory.used",
        "temperature.gpu",
        "pci.bus_id",
        "mig.mode.current",
        "compute_mode",
    ],
    &[
        "index",
        "uuid",
        "name",
        "driver_version",
        "memory.total",
        "memory.used",
        "temperature.gpu",
        "pci.bus_id",
    ],
];
/// Of each process that computes.
pub(super) const PROCESSES: &str = "gpu_uuid,pid,process_name,used_memory";

/// What stands for a number that is not known, and is no sign of trouble.
const UNKNOWN: [&str; 4] = ["[N/A]", "N/A", "[Not Supported]", "[Not Found]"];

/// The devices, and the first line that is none.
pub(super) fn gpus(fields: &[&str], text: &str) -> (Vec<Gpu>, Option<String>) {
    let (mut gpus, mut odd) = (Vec::new(), None);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match gpu(fields, line) {
            Some(gpu) => gpus.push(gpu),
            None => odd = odd.or_else(|| Some(line.to_owned())),
        }
    }
    (gpus, odd)
}

fn gpu(fields: &[&str], line: &str) -> Option<Gpu> {
    let cells: Vec<&str> = line.split(',').map(str::trim).collect();
    if cells.len() != fields.len() {
        return None;
    }
    let raw = |field: &str| fields.iter().position(|known| *known == field).map_or("", |at| cells[at]);
    let said = |field: &str| Some(raw(field)).filter(|cell| !cell.is_empty() && !cell.starts_with('['));
    let number = |field: &str| said(field)?.parse::<u64>().ok();
    let small = |field: &str| number(field).and_then(|number| u32::try_from(number).ok());
    let bytes = |field: &str| number(field).map(|mib| mib.saturating_mul(1 << 20));
    let uuid = said("uuid").filter(|uuid| uuid.starts_with("GPU-"))?;
    let compute = said("compute_cap").and_then(|text| text.split_once('.'));
    let sick =
        ["memory.total", "memory.used", "temperature.gpu"].into_iter().map(raw).find(|cell| is_sick(cell));
    Some(Gpu {
        index: small("index")?,
        uuid: uuid.to_owned(),
        name: said("name").unwrap_or("NVIDIA device").to_owned(),
        compute: compute.and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?))),
        driver: said("driver_version").unwrap_or_default().to_owned(),
        bus: said("pci.bus_id").unwrap_or_default().to_owned(),
        memory_bytes: bytes("memory.total"),
        reserved_bytes: bytes("memory.reserved").unwrap_or(0),
        used_bytes: bytes("memory.used").unwrap_or(0),
        temperature_c: small("temperature.gpu"),
        is_split: raw("mig.mode.current") == "Enabled",
        mode: match raw("compute_mode") {
            "Prohibited" => ComputeMode::Nobody,
            "Exclusive_Process" | "Exclusive_Thread" => ComputeMode::OneProcess,
            _ => ComputeMode::Any,
        },
        shows_desktop: raw("display_active") == "Enabled",
        lost_bits: number("ecc.errors.uncorrected.volatile.total"),
        pcie: small("pcie.link.gen.max").zip(small("pcie.link.width.max")),
        sick: sick.map(|cell| cell.trim_matches(['[', ']']).to_owned()),
        processes: Vec::new(),
    })
}

/// Whether a cell says that the device is in trouble: `[GPU requires reset]`, `[Unknown Error]`.
fn is_sick(cell: &str) -> bool {
    cell.starts_with('[') && !UNKNOWN.contains(&cell)
}

/// The processes, each with the device that it computes on.
pub(super) fn processes(text: &str) -> Vec<(String, Process)> {
    text.lines().filter_map(process).collect()
}

/// A name may have commas in it.
fn process(line: &str) -> Option<(String, Process)> {
    let (uuid, rest) = line.trim().split_once(',')?;
    let (pid, rest) = rest.split_once(',')?;
    let (name, memory) = rest.rsplit_once(',')?;
    if !uuid.starts_with("GPU-") {
        return None;
    }
    let name = Some(name.trim()).filter(|name| !name.starts_with('[')).unwrap_or_default();
    let process = Process {
        pid: pid.trim().parse().unwrap_or(0),
        name: name.to_owned(),
        memory_bytes: memory.trim().parse::<u64>().ok().map(|mib| mib.saturating_mul(1 << 20)),
    };
    Some((uuid.to_owned(), process))
}
