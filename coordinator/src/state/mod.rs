//! Where the mind's writes become durable. The trait is all that the coordinator knows of a store.
//!
//! One coordinator at a time may write: whoever leads holds an epoch, and a commit with another one is refused. That
//! check is in the store and does not depend on anybody's clock.

pub mod conformance;
mod embedded;
#[cfg(feature = "etcd")]
mod etcd;
mod memory;

pub use embedded::Embedded;
#[cfg(feature = "etcd")]
pub use etcd::{Etcd, EtcdConfig};
pub use memory::Memory;
use tokio::sync::watch;

use croft_core::step::Write;

/// Who may write: a number that rises with each leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// What a store cannot do, and what that means for the coordinator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Somebody else leads. Nothing was written.
    #[error("another coordinator leads")]
    Deposed,
    /// Nobody knows whether it was written; the same commit may be sent again.
    #[error("the {store} state store does not answer: {what}")]
    Unavailable { store: &'static str, what: String },
    /// Its address is none of the studio's.
    #[error("the {store} state store: {source}")]
    Unreachable { store: &'static str, source: croft_proto::egress::Error },
    /// Nothing was written, and nothing will be until there is room.
    #[error("the {store} state store is full: {what}")]
    Full { store: &'static str, what: String },
    /// Another process holds it.
    #[error("{place} is in use by another coordinator; stop that one, or give this one another --data-dir")]
    InUse { place: String },
    #[error(
        "{place} was written by a newer croft (format {found}, this one knows {known}); it was left as it is"
    )]
    Newer { place: String, found: u64, known: u64 },
    #[error(
        "{place} cannot be read as a state store ({what}); it was left as it is: restore it from a copy, or move it \
         away to start empty"
    )]
    Damaged { place: String, what: String },
}

/// A durable map from keys to bytes, written by whoever leads.
///
/// Its methods are called on the farm's own thread and may block there; the commands of a batch wait for its commit.
pub trait StateStore: std::fmt::Debug + Send {
    /// All keys and values, in the order of the keys.
    ///
    /// # Errors
    /// When it cannot be read.
    fn load(&mut self) -> Result<Vec<(String, Vec<u8>)>, Error>;

    /// Makes all of `writes` durable or none of them; a write without a value removes its key. Of two writes to one
    /// key the later counts. Sending the same writes again changes nothing.
    ///
    /// # Errors
    /// [`Error::Deposed`] when `epoch` is not that of the leader.
    fn commit(&mut self, epoch: Epoch, writes: &[Write]) -> Result<(), Error>;

    /// A number that moves when somebody wrote: who only reads looks again then.
    ///
    /// # Errors
    /// When the store does not answer.
    fn revision(&mut self) -> Result<u64, Error>;

    /// This coordinator ends in good order: another may lead at once.
    fn resign(&mut self) {}
}

/// What this coordinator is just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Leader {
        epoch: Epoch,
    },
    /// With the address of the one that leads, when it is known.
    Follower {
        leader: Option<String>,
    },
}

/// A store, and the news of who leads.
#[derive(Debug)]
pub struct Seat {
    pub store: Box<dyn StateStore>,
    pub standing: watch::Receiver<Standing>,
    /// `memory`, `redb` or `etcd`.
    pub kind: &'static str,
}

impl Seat {
    /// Of a store that nobody else can write: its only user leads from the start.
    #[must_use]
    pub fn alone(store: Box<dyn StateStore>, kind: &'static str) -> Self {
        let (_, standing) = watch::channel(Standing::Leader { epoch: ALONE });
        Self { store, standing, kind }
    }
}

/// The epoch of a store that has one user.
pub(crate) const ALONE: Epoch = Epoch(1);
