//! What lies between the devices of a machine: `nvidia-smi topo -m` as values, and what such a link delivers.

use std::{cmp::Reverse, collections::BTreeMap};

use croft_proto::v1::Link;

use super::Gpu;

/// Of each NVLink between two devices, one direction, billions of bytes a second; four fifths of what Ampere and Hopper name.
const NVLINK_GB_PER_S: u64 = 20;
const NVLINK_LATENCY_NS: u64 = 20_000;
/// Of sixteen lanes of PCIe 3, one direction; each generation doubles it.
const PCIE_3_GB_PER_S: u64 = 12;
const PCIE_LATENCY_NS: u64 = 40_000;
const LANES: u32 = 16;

/// What carries bytes from one device to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// So many NVLinks.
    Nvlink(u32),
    /// PCIe without the processor.
    Switch,
    /// PCIe through the processor.
    Processor,
    /// PCIe from one processor, or its half, to another.
    Sockets,
}

/// By the indexes of two devices, the smaller first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links(BTreeMap<(u32, u32), Wire>);

impl Links {
    /// Reads the matrix; what is not understood is left out.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let text = plain(text);
        let mut lines = text.lines().map(|line| line.split('\t').map(str::trim).collect::<Vec<_>>());
        let Some(head) = lines.find(|cells| cells.iter().any(|cell| gpu(cell).is_some())) else {
            return Self::default();
        };
        // The first column names the rows.
        let columns: Vec<Option<u32>> = head.iter().map(|cell| gpu(cell)).collect();
        let mut links = BTreeMap::new();
        for row in lines {
            let Some(from) = row.first().and_then(|cell| gpu(cell)) else { continue };
            for (cell, to) in row.iter().zip(&columns).skip(1) {
                if let (Some(to), Some(wire)) = (*to, wire(cell)) {
                    links.insert((from.min(to), from.max(to)), wire);
                }
            }
        }
        Self(links)
    }

    /// The worst wire among `gpus`; `None` where one pair is not known.
    #[must_use]
    pub fn worst(&self, gpus: &[&Gpu]) -> Option<Wire> {
        let pairs = gpus
            .iter()
            .enumerate()
            .flat_map(|(at, a)| gpus[at + 1..].iter().map(move |b| (a.index, b.index)));
        let wires: Option<Vec<Wire>> =
            pairs.map(|(a, b)| self.0.get(&(a.min(b), a.max(b))).copied()).collect();
        wires?.into_iter().max_by_key(|wire| wire.slowness())
    }

    /// What ranks on `gpus` can count on; `None` for one device, and where nothing is known.
    #[must_use]
    pub fn between(&self, gpus: &[&Gpu]) -> Option<Link> {
        if gpus.len() < 2 {
            return None;
        }
        let wire = self.worst(gpus)?;
        let slot = gpus.iter().map(|gpu| gpu.pcie).collect::<Option<Vec<_>>>();
        let slowest = slot.and_then(|slots| slots.into_iter().min_by_key(|slot| pcie_mb_per_s(*slot)));
        let (name, mb_per_s, latency_ns) = match (wire, slowest) {
            (Wire::Nvlink(links), _) => {
                (format!("NVLink x{links}"), u64::from(links) * NVLINK_GB_PER_S * 1_000, NVLINK_LATENCY_NS)
            }
            (_, None) => return None,
            // Such bytes go through the memory of both processors.
            (Wire::Sockets, Some(slot)) => {
                (format!("PCIe {}, two sockets", slot.0), pcie_mb_per_s(slot) / 2, 2 * PCIE_LATENCY_NS)
            }
            (Wire::Switch | Wire::Processor, Some(slot)) => {
                (format!("PCIe {}", slot.0), pcie_mb_per_s(slot), PCIE_LATENCY_NS)
            }
        };
        Some(Link { name, bytes_per_s: mb_per_s * 1_000_000, latency_ns })
    }
}

impl Wire {
    /// Sorts the best first.
    fn slowness(self) -> (u8, Reverse<u32>) {
        match self {
            Self::Nvlink(links) => (0, Reverse(links)),
            Self::Switch => (1, Reverse(0)),
            Self::Processor => (2, Reverse(0)),
            Self::Sockets => (3, Reverse(0)),
        }
    }
}

fn pcie_mb_per_s((generation, lanes): (u32, u32)) -> u64 {
    let whole = PCIE_3_GB_PER_S * 1_000;
    let whole =
        if generation >= 3 { whole << (generation - 3).min(4) } else { whole >> (3 - generation).min(2) };
    whole * u64::from(lanes.min(LANES)) / u64::from(LANES)
}

/// `GPU7`
fn gpu(cell: &str) -> Option<u32> {
    cell.strip_prefix("GPU").filter(|rest| rest.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
}

fn wire(cell: &str) -> Option<Wire> {
    if let Some(links) = cell.strip_prefix("NV") {
        return links.parse().ok().filter(|links| *links > 0).map(Wire::Nvlink);
    }
    match cell {
        "PIX" | "PXB" => Some(Wire::Switch),
        "PHB" => Some(Wire::Processor),
        "NODE" | "SYS" => Some(Wire::Sockets),
        _ => None,
    }
}

/// Without the underline of the head.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, escaped)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = escaped.split_once('m').map_or("", |(_, after)| after);
    }
    plain + rest
}
