//! Devices and what lies between them, as far as a split depends on it.

/// What carries bytes from one device to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// As people call it: `NVLink`, `10 GbE`.
    pub name: String,
    /// What is delivered in one direction, bytes a second.
    pub bytes_per_s: f64,
    /// From the start of a message to its arrival, seconds.
    pub latency_s: f64,
}

/// A machine with devices that are alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    pub name: String,
    pub devices: u32,
    /// Of each device.
    pub memory_bytes: u64,
    /// What each device delivers, floating-point operations a second.
    pub flops: f64,
    /// Between its devices.
    pub link: Link,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Fleet {
    pub hosts: Vec<Host>,
    /// Between the hosts.
    pub between: Link,
    /// Bytes of a number of the weights: 2 for bf16, 4 for f32.
    pub number_bytes: u64,
}

impl Fleet {
    #[must_use]
    pub fn devices(&self) -> u32 {
        self.hosts.iter().map(|host| host.devices).sum()
    }
}

impl Link {
    /// Seconds for so many bytes in so many messages, one after the other.
    pub(super) fn seconds(&self, bytes: f64, messages: f64) -> f64 {
        bytes / self.bytes_per_s + messages * self.latency_s
    }
}
