//! How the ranks of a gang find each other: each says where it can be reached, and when all have, each is told of all.
//!
//! Nothing of it is stored: a rank says its address until it is answered, so a leader that takes over hears it again.

use std::{collections::BTreeMap, net::SocketAddr};

use croft_core::{
    farm::Farm,
    ids::{AttemptId, SessionId},
};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Who is told of which addresses.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) ranks: Vec<(SessionId, u32)>,
    /// By rank.
    pub(crate) addresses: Vec<String>,
}

/// Addresses of gangs that are gathering, and the secret that their tokens are made of.
#[derive(Debug)]
pub(crate) struct Rendezvous {
    secret: [u8; 16],
    /// By attempt and rank. Those of attempts that are over go with the next address that comes.
    gathering: BTreeMap<AttemptId, BTreeMap<u32, String>>,
}

impl Rendezvous {
    pub(crate) fn new() -> Self {
        Self { secret: Uuid::new_v4().into_bytes(), gathering: BTreeMap::new() }
    }

    /// What the ranks of an attempt know each other by; nobody else can make it.
    pub(crate) fn token(&self, attempt: &AttemptId) -> [u8; 32] {
        let fence = attempt.fence.0.to_le_bytes();
        Sha256::new().chain_update(self.secret).chain_update(fence).finalize().into()
    }

    /// A rank of `session` can be reached at `address`. When all ranks of its gang can, those to tell, with all addresses.
    pub(crate) fn heard(
        &mut self,
        farm: &Farm,
        session: SessionId,
        attempt: &AttemptId,
        rank: u32,
        address: String,
    ) -> Option<Told> {
        self.gathering.retain(|attempt, _| farm.current(attempt));
        let seats = farm.seats(attempt)?;
        // Only the worker that has the rank says where it is, and it says an address.
        if seats.get(rank as usize) != Some(&Some(session)) || address.parse::<SocketAddr>().is_err() {
            return None;
        }
        let known = self.gathering.entry(attempt.clone()).or_default();
        let is_news = known.insert(rank, address.clone()) != Some(address);
        if known.len() < seats.len() {
            return None;
        }
        let addresses = known.values().cloned().collect();
        // One who asks again has missed it; the others have not.
        let told = (0..).zip(seats).filter(|(seat, _)| is_news || *seat == rank);
        Some(Told { ranks: told.filter_map(|(rank, session)| Some((session?, rank))).collect(), addresses })
    }
}
