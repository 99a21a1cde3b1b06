//! Ranks that are processes, on one machine or several: a connection between each two of them.
//!
//! Each is TLS 1.3, and counts once both sides have shown that they have the gang's token and are of one generation: a rank
//! of an earlier attempt, or anybody else, is not listened to, and whoever is on the way between two ranks reads nothing
//! and changes nothing unseen. He sees how much is said, and when, and can cut the connection.

mod hello;
mod link;
mod sealed;
mod trust;

use std::{
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use super::{Broken, Fault, Group, Split};
use hello::Hello;
use link::Link;
use sealed::Sealed;
pub use trust::Token;
use trust::Trust;

/// Between two tries to reach a rank that is not up yet, or to be reached.
const AGAIN: Duration = Duration::from_millis(20);
/// Whoever connects and does not show the gang's key is not waited for longer.
const HELLO: Duration = Duration::from_secs(2);

/// Where a rank can be reached by the others.
#[derive(Debug)]
pub struct Listener(TcpListener);

/// Another rank, or this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub address: SocketAddr,
    /// How much it takes of what is split, in any unit.
    pub share: u32,
}

/// All that a rank must know of its gang; the same for all ranks but for `rank`.
#[derive(Clone, Debug)]
pub struct Roll {
    pub rank: usize,
    pub peers: Vec<Peer>,
    /// Made for this gang and known to nobody else.
    pub token: Token,
    /// The attempt's fence: a rank of an earlier one is refused.
    pub generation: u64,
}

/// Connections to all others.
#[derive(Debug)]
pub(super) struct Mesh {
    /// By rank; none for one's own.
    links: Vec<Option<Link>>,
}

#[derive(Clone, Debug)]
pub(super) struct End(std::sync::Arc<[TcpStream]>);

impl End {
    pub(super) fn end(&self) {
        for stream in self.0.iter() {
            // One that is closed already needs no closing.
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Listener {
    /// Listens on the interface that has `address`, on a port of the system's choice.
    ///
    /// # Errors
    /// When this machine has no such interface.
    pub fn bind(address: IpAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind((address, 0))?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Connects all ranks of `roll` with each other: this one dials those before it and is dialled by those after it.
    ///
    /// # Errors
    /// Names a rank that is not there within `wait`.
    pub fn join(self, roll: &Roll, wait: Duration) -> Result<Group, Broken> {
        let until = Instant::now() + wait;
        let ranks = roll.peers.len();
        let trust = Trust::new(&roll.token, roll.generation);
        let me = Hello { rank: roll.rank, ranks };
        let mut links: Vec<Option<Link>> = std::iter::repeat_with(|| None).take(ranks).collect();
        for (rank, link) in links.iter_mut().enumerate().take(roll.rank) {
            *link = Some(dial(roll.peers[rank].address, rank, (&trust, &me), until, wait)?);
        }
        while let Some(rank) = (roll.rank + 1..ranks).find(|rank| links[*rank].is_none()) {
            if Instant::now() >= until {
                return Err(Broken { rank, fault: Fault::Late(wait) });
            }
            match self.0.accept() {
                Ok((stream, _)) => {
                    if let Some((rank, link)) = answered(stream, &trust, &me)
                        && let Some(seat @ None) = links.get_mut(rank)
                        && rank > roll.rank
                    {
                        *seat = Some(link);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => std::thread::sleep(AGAIN),
                Err(error) => return Err(Broken::lost(rank, error)),
            }
        }
        let shares = roll.peers.iter().map(|peer| peer.share).collect();
        let mesh = Mesh { links };
        Ok(Group::tcp(Split::uneven(roll.rank, shares), mesh))
    }
}

/// Reaches `rank`, which may not be listening yet.
#[allow(
    clippy::disallowed_methods,
    reason = "its worker asks the guard before it tells a rank where the others are"
)]
fn dial(
    at: SocketAddr,
    rank: usize,
    (trust, me): (&Trust, &Hello),
    until: Instant,
    wait: Duration,
) -> Result<Link, Broken> {
    let hello = |stream: TcpStream| {
        let mut sealed = Sealed::dial(stream, trust, until)?;
        me.say(&mut sealed, until)?;
        let found = me.hear(&mut sealed, until)?;
        Ok((found, sealed))
    };
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Broken { rank, fault: Fault::Late(wait) });
        }
        match TcpStream::connect_timeout(&at, left) {
            Ok(stream) => {
                let (found, sealed) =
                    hello(stream).map_err(|error: std::io::Error| Broken::lost(rank, error))?;
                if found != rank {
                    return Err(Broken::out_of_step(rank, format!("rank {found} answers at {at}")));
                }
                return Link::new(rank, sealed).map_err(|error| Broken::lost(rank, error));
            }
            Err(_) => std::thread::sleep(AGAIN.min(left)),
        }
    }
}

/// Who dialled, if it is one of the gang.
fn answered(stream: TcpStream, trust: &Trust, me: &Hello) -> Option<(usize, Link)> {
    let until = Instant::now() + HELLO;
    let hello = || {
        stream.set_nonblocking(false)?;
        let mut sealed = Sealed::answer(stream, trust, until)?;
        let rank = me.hear(&mut sealed, until)?;
        me.say(&mut sealed, until)?;
        Ok((rank, Link::new(rank, sealed)?))
    };
    hello()
        .inspect_err(|error: &std::io::Error| {
            tracing::warn!(%error, "somebody who is not of this gang was sent away");
        })
        .ok()
}

#[cfg(feature = "nccl")]
impl Mesh {
    /// A rank whose connection was closed, if there is one; does not wait.
    pub(super) fn gone(&self) -> Option<Broken> {
        self.links.iter().flatten().find_map(Link::gone)
    }
}

impl Mesh {
    pub(super) fn end(&self) -> End {
        End(self.links.iter().flatten().filter_map(Link::stream).collect())
    }

    /// Hands `part` to another rank, and does not wait for it. A gang that broke is shut down: the others need not wait to
    /// see it.
    pub(super) fn pass(&mut self, to: usize, part: &[u8], wait: Duration) -> Result<(), Broken> {
        let passed = self.link(to).send(part, wait);
        self.or_end(passed)
    }

    /// What another rank has passed, if it is there.
    pub(super) fn try_take(&mut self, from: usize) -> Option<Result<Vec<u8>, Broken>> {
        let taken = self.link(from).try_take()?;
        Some(self.or_end(taken))
    }

    /// What another rank passes. All ranks are told meanwhile that this one waits, and `waits` is called as often.
    pub(super) fn take(
        &mut self,
        from: usize,
        wait: Duration,
        mut waits: impl FnMut(),
    ) -> Result<Vec<u8>, Broken> {
        // It tells the others while it listens to this one.
        let mut link = self.links[from].take().expect("nobody takes anything from himself");
        let taken = link.take(wait, || {
            link_waits(&self.links);
            waits();
        });
        self.links[from] = Some(link);
        self.or_end(taken)
    }

    /// Tells all ranks that this one waits.
    pub(super) fn waits(&self) {
        link_waits(&self.links);
    }

    /// Until when `rank` is known to have waited.
    pub(super) fn waited(&self, rank: usize) -> Option<Instant> {
        self.links[rank].as_ref().map(Link::waited)
    }

    /// Nothing more is said to anybody.
    pub(super) fn finish(&mut self) {
        self.links.iter_mut().flatten().for_each(Link::finish);
    }

    fn link(&mut self, to: usize) -> &mut Link {
        self.links[to].as_mut().expect("nobody passes anything to himself")
    }

    fn or_end<T>(&self, done: Result<T, Broken>) -> Result<T, Broken> {
        done.inspect_err(|_| self.end().end())
    }
}

impl Drop for Mesh {
    /// All hear the end before any of them is waited for.
    fn drop(&mut self) {
        self.finish();
    }
}

fn link_waits(links: &[Option<Link>]) {
    links.iter().flatten().for_each(Link::waits);
}
