//! What this machine has to offer, as the hello says it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use croft_proto::{channel::Address, egress::Guard, v1::DeviceInfo};

use crate::config::Config;

/// The host's name, made fit for a worker's: lower case, no characters that a path or a label would mind.
#[must_use]
pub fn host_name() -> String {
    let raw = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    named(raw.trim())
}

fn named(raw: &str) -> String {
    let fit = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '-' | '_' | '.') => c,
        _ => '-',
    };
    let name: String = raw.chars().map(fit).take(63).collect();
    let name = name.trim_start_matches(['-', '_', '.']);
    if name.is_empty() { "worker".to_owned() } else { name.to_owned() }
}

/// The processor, shared out among the worker's devices.
pub(crate) fn devices(config: &Config) -> Vec<DeviceInfo> {
    let (count, threads) = config.shares();
    let model = processor(&std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default());
    let memory = memory_bytes(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default());
    let device = |index| DeviceInfo {
        index,
        kind: "cpu".to_owned(),
        model: model.clone(),
        memory_bytes: config.memory_bytes.unwrap_or(memory / u64::from(count.max(1))),
        threads,
        resident_models: Vec::new(),
        gflops: config.gflops.unwrap_or(0),
    };
    (0..count).map(device).collect()
}

fn processor(cpuinfo: &str) -> String {
    let name = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

fn memory_bytes(meminfo: &str) -> u64 {
    let kib = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB"));
    kib.and_then(|kib| kib.trim().parse::<u64>().ok()).unwrap_or(0) << 10
}

/// The address of this machine from which the first of `coordinators` is dialled; loopback where there is no way.
pub(crate) async fn address_towards(coordinators: &[Address], guard: &Guard) -> IpAddr {
    let towards = |to: SocketAddr| -> std::io::Result<IpAddr> {
        // No packet is sent: the system only says which way it would go.
        let any: IpAddr =
            if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(to)?;
        Ok(socket.local_addr()?.ip())
    };
    let Some(first) = coordinators.first() else { return Ipv4Addr::LOCALHOST.into() };
    let found = guard.addresses(&first.host).await.unwrap_or_default();
    let ways = found.into_iter().filter_map(|address| towards((address, first.port).into()).ok());
    ways.into_iter().next().unwrap_or(Ipv4Addr::LOCALHOST.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_name_becomes_a_workers() {
        assert_eq!(named("WS-Kim.studio.lan"), "ws-kim.studio.lan");
        assert_eq!(named("_raum 7"), "raum-7");
        assert_eq!(named(""), "worker");
    }

    #[test]
    fn the_systems_words_are_read() {
        assert_eq!(processor("processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\n"), "Some CPU @ 3 GHz");
        assert_eq!(memory_bytes("MemTotal:       24576 kB\nMemFree: 1 kB\n"), 24 << 20);
        assert_eq!(memory_bytes(""), 0);
    }
}
