//! A gang whose ranks are threads, over real connections.

use std::{
    net::{IpAddr, Ipv4Addr},
    thread,
    time::Duration,
};

use croft_engine::parallel::{Group, Listener, Peer, Roll, Token};

const SOON: Duration = Duration::from_secs(60);

pub(crate) fn tcp(ranks: usize) -> Vec<Group> {
    let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let listeners: Vec<Listener> = (0..ranks).map(|_| Listener::bind(host).unwrap()).collect();
    let peers: Vec<Peer> =
        listeners.iter().map(|l| Peer { address: l.address().unwrap(), share: 1 }).collect();
    let joining: Vec<_> = listeners
        .into_iter()
        .enumerate()
        .map(|(rank, listener)| {
            let roll = Roll { rank, peers: peers.clone(), token: Token([9; 32]), generation: 1 };
            thread::spawn(move || listener.join(&roll, SOON).unwrap())
        })
        .collect();
    joining.into_iter().map(|rank| rank.join().unwrap()).collect()
}
