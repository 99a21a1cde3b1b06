//! What each of two ranks says first, once both have shown the gang's key: who it is.

use std::{
    io::{Error, ErrorKind},
    time::Instant,
};

use super::sealed::Sealed;

const BYTES: usize = 4 + 4;

#[derive(Debug)]
pub(super) struct Hello {
    pub(super) rank: usize,
    pub(super) ranks: usize,
}

impl Hello {
    pub(super) fn say(&self, to: &mut Sealed, until: Instant) -> std::io::Result<()> {
        to.say(&self.bytes(self.rank), until)
    }

    /// The rank of whoever speaks. One that hears its own words, for somebody has led its connection back to it, hears nobody.
    pub(super) fn hear(&self, from: &mut Sealed, until: Instant) -> std::io::Result<usize> {
        let mut bytes = [0; BYTES];
        from.hear(&mut bytes, until)?;
        let (_, last) = bytes.split_last_chunk::<4>().expect("it is longer");
        let rank = u32::from_le_bytes(*last) as usize;
        if bytes == self.bytes(rank) && rank < self.ranks && rank != self.rank {
            Ok(rank)
        } else {
            Err(Error::new(ErrorKind::PermissionDenied, "it is no other rank of this gang"))
        }
    }

    fn bytes(&self, rank: usize) -> [u8; BYTES] {
        let [ranks, rank] = [self.ranks, rank].map(|number| (number as u32).to_le_bytes());
        [ranks, rank].concat().try_into().expect("as many bytes as it says")
    }
}
