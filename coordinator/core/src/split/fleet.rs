//! Devices and what lies between them, as far as a split depends on it.

use serde::{Deserialize, Serialize};

use super::{Kind, Room};

/// What carries bytes from one device to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// As people call it: `NVLink`, `10 GbE`.
    pub name: String,
    /// What is delivered in one direction, bytes a second.
    pub bytes_per_s: f64,
    /// From the start of a message to its arrival, seconds.
    pub latency_s: f64,
}

/// A machine with devices of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    pub name: String,
    pub kind: Kind,
    /// The memory of each device, bytes; 0 for one that does not say.
    pub devices: Vec<u64>,
    /// What each device delivers, floating-point operations a second.
    pub flops: f64,
    /// Between its devices.
    pub link: Link,
    /// At which weights that are not resident come to a device.
    pub upload_bytes_per_s: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Fleet {
    pub hosts: Vec<Host>,
    /// Between the hosts.
    pub between: Link,
}

impl Host {
    /// `devices` alike, with what a device of its kind delivers where nobody says.
    #[must_use]
    pub fn new(name: &str, kind: Kind, devices: Vec<u64>) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            devices,
            flops: kind.flops(),
            link: Link::within(),
            upload_bytes_per_s: kind.upload_bytes_per_s(),
        }
    }

    /// Its devices, the largest first.
    pub(super) fn rooms(&self) -> Vec<Room> {
        let mut rooms: Vec<Room> =
            self.devices.iter().map(|memory| Room { kind: self.kind, memory_bytes: *memory }).collect();
        rooms.sort_by_key(Room::order);
        rooms
    }
}

impl Room {
    /// Sorts the largest first; one that does not say counts as such.
    pub(crate) fn order(&self) -> std::cmp::Reverse<u64> {
        std::cmp::Reverse(self.memory_bytes.wrapping_sub(1))
    }
}

impl Fleet {
    #[must_use]
    pub fn devices(&self) -> u32 {
        self.hosts.iter().map(|host| host.devices.len() as u32).sum()
    }
}

impl Link {
    /// Between devices of a host of which nobody says more: PCIe 4.
    #[must_use]
    pub fn within() -> Self {
        Self { name: "PCIe 4, assumed".to_owned(), bytes_per_s: 25e9, latency_s: 40e-6 }
    }

    /// Between hosts of which nobody says more: 10 GbE.
    #[must_use]
    pub fn between() -> Self {
        Self { name: "10 GbE, assumed".to_owned(), bytes_per_s: 1.15e9, latency_s: 150e-6 }
    }

    /// Seconds for so many bytes in so many messages, one after the other.
    pub(super) fn seconds(&self, bytes: f64, messages: f64) -> f64 {
        bytes / self.bytes_per_s + messages * self.latency_s
    }
}
