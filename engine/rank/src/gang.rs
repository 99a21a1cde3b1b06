//! A rank among others: it says where it can be reached, hears where they are, and connects.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use croft_engine::device::Device;
use croft_engine::parallel::{Broken, Group, Listener, Mode, Peer, Roll, Split, Token};
use croft_proto::v1::{ExitCause, RankFailed, RankGang, SplitMode};

use crate::halfway::Tells;

/// What the others get to load their parts.
const GATHER: Duration = Duration::from_secs(600);
/// What they get to connect once all have.
const CONNECT: Duration = Duration::from_secs(10);

/// Ranks of one gang: no spec may ask for more.
const RANKS_MAX: u32 = 64;

/// Its part of the model.
///
/// # Errors
/// In words, when there is no such gang.
pub(crate) fn split(gang: Option<&RankGang>) -> Result<Split, String> {
    match gang {
        Some(gang) if gang.ranks > RANKS_MAX => Err(format!("{} ranks; {RANKS_MAX} at most", gang.ranks)),
        Some(gang) if gang.ranks > 1 && gang.rank < gang.ranks => {
            Ok(Split::uneven(gang.rank as usize, shares(gang)).by(match gang.mode() {
                SplitMode::Tensor | SplitMode::Unspecified => Mode::Tensor,
                SplitMode::Layers => Mode::Layers,
                SplitMode::Guidance => Mode::Guidance,
            }))
        }
        _ => Ok(Split::whole()),
    }
}

/// By rank, what each takes.
fn shares(gang: &RankGang) -> Vec<u32> {
    if gang.shares.len() == gang.ranks as usize { gang.shares.clone() } else { vec![1; gang.ranks as usize] }
}

/// Connects with the others, all of whom have loaded by then.
pub(crate) fn join(
    gang: Option<&RankGang>,
    id: u64,
    split: &Split,
    device: Device,
    tells: &mut dyn Tells,
) -> Result<Group, RankFailed> {
    let Some(gang) = gang.filter(|_| !split.is_whole()) else { return Ok(Group::solo()) };
    let fail = |cause: ExitCause, message: String, remedy: &str| RankFailed {
        id,
        cause: cause.into(),
        message,
        remedy: remedy.to_owned(),
        ..RankFailed::default()
    };
    let listen = || -> Result<(Listener, SocketAddr), String> {
        let host: IpAddr = gang.host.parse().map_err(|_| "it is no IP address".to_owned())?;
        let listener = Listener::bind(host).map_err(|error| error.to_string())?;
        let address = listener.address().map_err(|error| error.to_string())?;
        Ok((listener, address))
    };
    let (listener, address) = listen().map_err(|why| {
        let message = format!("other ranks cannot reach this one at '{}': {why}", gang.host);
        fail(ExitCause::Internal, message, "give the worker a `gang_address` of its own machine")
    })?;
    let Ok(token) = <[u8; 32]>::try_from(&gang.token[..]) else {
        return Err(fail(ExitCause::Internal, "a gang without a token".to_owned(), "update the coordinator"));
    };
    tells.listens(&address.to_string());
    let Some(addresses) = tells.joined(GATHER) else {
        if tells.cancelled() {
            return Err(fail(ExitCause::Cancelled, "cancelled".to_owned(), ""));
        }
        let message = format!("the other ranks were not ready after {} s", GATHER.as_secs());
        return Err(fail(ExitCause::CollectiveTimeout, message, "see what they say of themselves"));
    };
    let peers: Vec<Peer> = addresses
        .iter()
        .zip(shares(gang))
        .filter_map(|(a, share)| Some(Peer { address: a.parse().ok()?, share }))
        .collect();
    if peers.len() != split.ranks() {
        let message = format!("{} of {} ranks have an address", peers.len(), split.ranks());
        return Err(fail(ExitCause::Internal, message, "update the coordinator"));
    }
    let roll = Roll { rank: split.rank(), peers, token: Token(token), generation: gang.generation };
    let joined = listener.join(&roll, CONNECT).map(|group| group.by(split.mode()));
    joined.and_then(|group| by_nccl(group, device)).map_err(|broken| {
        fail(
            ExitCause::CollectiveTimeout,
            format!("the gang did not come together: {broken}"),
            "let the workers reach each other at their `gang_address`, on any port",
        )
    })
}

/// Ranks that share every layer, each on an NVIDIA device of a machine with NCCL, sum from device to device. All must want it.
fn by_nccl(mut group: Group, device: Device) -> Result<Group, Broken> {
    if group.split().mode() != Mode::Tensor {
        return Ok(group);
    }
    let mine = nccl(device);
    let mut votes = [if mine.is_some() { 1.0_f32 } else { 0.0 }];
    group.all_reduce(&mut votes)?;
    match mine {
        Some(ordinal) if votes[0] as usize == group.ranks() => over_nccl(group, ordinal),
        _ => Ok(group),
    }
}

/// The device, if NCCL can reach it.
fn nccl(device: Device) -> Option<usize> {
    let Device::Cuda { ordinal } = device else { return None };
    #[cfg(feature = "nccl")]
    match croft_engine::parallel::nccl::version() {
        Ok(_) => return Some(ordinal),
        Err(trouble) => tracing::info!(%trouble, "ranks sum by way of the host"),
    }
    let _ = ordinal;
    None
}

#[cfg(feature = "nccl")]
fn over_nccl(group: Group, ordinal: usize) -> Result<Group, Broken> {
    group.over_nccl(ordinal)
}

#[cfg(not(feature = "nccl"))]
fn over_nccl(group: Group, _: usize) -> Result<Group, Broken> {
    Ok(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gang_of_billions_takes_no_memory() {
        let gang = RankGang { rank: 1, ranks: u32::MAX, ..RankGang::default() };
        assert_eq!(split(Some(&gang)).expect_err("too many"), "4294967295 ranks; 64 at most");
        let gang = RankGang { ranks: 2, ..gang };
        assert_eq!(split(Some(&gang)), Ok(Split::equal(1, 2)));
    }
}
