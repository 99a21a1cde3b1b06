//! How two ranks know each other: what each says first, and nothing else is listened to before.

use std::{
    io::{Error, ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use sha2::{Digest, Sha256};

const MAGIC: &[u8; 8] = b"croft-r2";
const BYTES: usize = MAGIC.len() + 32 + 8 + 4 + 4;

/// The secret of one gang.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token(pub [u8; 32]);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

#[derive(Debug)]
pub(super) struct Hello {
    pub(super) token: Token,
    pub(super) generation: u64,
    pub(super) rank: usize,
    pub(super) ranks: usize,
}

impl Hello {
    pub(super) fn say(&self, stream: &mut TcpStream, wait: Duration) -> std::io::Result<()> {
        stream.set_write_timeout(Some(wait.max(Duration::from_millis(1))))?;
        stream.write_all(&self.bytes(self.rank))
    }

    /// The rank of whoever speaks, if it is of this gang.
    pub(super) fn hear(&self, stream: &mut TcpStream, wait: Duration) -> std::io::Result<usize> {
        stream.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
        let mut bytes = [0; BYTES];
        stream.read_exact(&mut bytes)?;
        let (_, last) = bytes.split_last_chunk::<4>().expect("it is longer");
        let rank = u32::from_le_bytes(*last) as usize;
        if bytes == self.bytes(rank) && rank < self.ranks && rank != self.rank {
            Ok(rank)
        } else {
            Err(Error::new(ErrorKind::PermissionDenied, "it is of another gang, generation or version"))
        }
    }

    /// What `rank` says. The token proves itself without being told: what is sent is made of it and of who sends it, so
    /// that what one rank said lets nobody speak as another.
    fn bytes(&self, rank: usize) -> [u8; BYTES] {
        let mut told = Vec::with_capacity(BYTES);
        let [generation, ranks, rank] = [
            self.generation.to_le_bytes().to_vec(),
            (self.ranks as u32).to_le_bytes().to_vec(),
            (rank as u32).to_le_bytes().to_vec(),
        ];
        let proof = Sha256::new()
            .chain_update(self.token.0)
            .chain_update(&generation)
            .chain_update(&ranks)
            .chain_update(&rank)
            .finalize();
        told.extend(MAGIC);
        told.extend(proof);
        told.extend(generation);
        told.extend(ranks);
        told.extend(rank);
        told.try_into().expect("as many bytes as it says")
    }
}
