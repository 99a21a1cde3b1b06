//! What this machine has to offer, as the hello says it.

mod cpu;
pub mod nvidia;
mod offer;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    num::NonZero,
    time::Duration,
};

use croft_proto::{channel::Address, egress::Guard};

use crate::{
    Error,
    config::{Config, DEVICES_MAX, RankProgram},
};
use cpu::Processor;
use nvidia::Seen;
pub use offer::{Chosen, choose};
pub(crate) use offer::{Offered, Place};

/// A process that was killed gives a device's memory back within seconds.
const LOOKS: u32 = 3;
const LOOK: Duration = Duration::from_secs(1);

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

/// What the worker has to offer; `nvidia-smi` is asked where its answer counts.
pub(crate) async fn look(config: &Config) -> Result<Offered, Error> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let cores = u32::try_from(cores).unwrap_or(DEVICES_MAX);
    let seen = if offer::asks(config) { settled(config).await } else { offer::unasked(config) };
    offer::offer(config, cores, &Processor::read(), &seen)
}

/// What there is of NVIDIA devices once the ranks of a worker before this one have let go of them.
async fn settled(config: &Config) -> Seen {
    let mut seen = nvidia::look().await;
    let RankProgram::Child { program, .. } = &config.rank else { return seen };
    for _ in 0..LOOKS {
        // Those of another worker that shares the devices stay.
        if !seen.is_held_by(program) {
            break;
        }
        tokio::time::sleep(LOOK).await;
        seen = nvidia::look().await;
    }
    seen
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
}
