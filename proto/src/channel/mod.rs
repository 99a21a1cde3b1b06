//! Connections between the farm's processes: every one of ours is dialled here and every listener of ours serves here,
//! so that there is one place that decides how it is secured; the guard of [`crate::egress`] decides where it may go.
//!
//! Two kinds: TLS with a certificate on both sides, and plaintext, which stays on this machine. A server tells a client
//! whose certificate does not count why, by the status of each call; so the handshake itself lets it in, and `Peer` says
//! what it is worth.

mod address;
mod client;
mod keys;
mod server;
mod trust;

pub use address::Address;
pub use client::{Dial, DialError, Trouble, dial};
pub use keys::{Files, Keys};
pub use server::{Connection, Incoming, Peer};
pub use trust::{Doubt, Proof};

use std::{path::PathBuf, sync::Arc};

/// How a process secures its connections.
#[derive(Debug, Clone, Default)]
pub enum Security {
    /// To and from this machine only.
    #[default]
    Plaintext,
    Tls(Arc<Keys>),
}

impl Security {
    /// TLS by these files, or plaintext without any.
    ///
    /// # Errors
    /// When the files are there and are not what they should be.
    pub fn of(files: Option<Files>) -> Result<Self, Error> {
        files.map_or(Ok(Self::Plaintext), |files| Ok(Self::Tls(Keys::open(files)?)))
    }

    /// Whether `address` may be spoken to like this: what crosses a network in plaintext would be readable there.
    ///
    /// # Errors
    /// When it would.
    pub fn allows(&self, address: &Address) -> Result<(), Error> {
        let is_tls = matches!(self, Self::Tls(_)) && address.tls != Some(false);
        if is_tls || (address.tls != Some(true) && address.is_loopback()) {
            return Ok(());
        }
        Err(Error::Plaintext { address: address.to_string() })
    }
}

/// Why connections cannot be secured as they should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{}: {what}", path.display())]
    Odd { path: PathBuf, what: String },
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("'{address}' is not an address: give HOST:PORT")]
    Address { address: String },
    #[error(
        "{address}: plaintext is refused anywhere but on loopback; give this machine an identity (`croft worker join`, \
         `croft certs issue`)"
    )]
    Plaintext { address: String },
}
