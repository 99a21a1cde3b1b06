//! Serving: connections as they come in, each with what its other side has shown. One whose certificate is revoked or
//! expires while it lasts is cut within a second.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, Stream, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Interval, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{
    either::Either,
    sync::{CancellationToken, WaitForCancellationFutureOwned},
};
use tonic::transport::server::Connected;

use super::{
    Keys, Security,
    keys::Loaded,
    trust::{Proof, judge},
};

/// A client that does not finish its handshake within this is sent away.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at once; more wait in the system's queue.
const HANDSHAKES: usize = 256;
/// How often open connections are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// After an error of the listener, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections of a listener, secured.
pub struct Incoming {
    listener: TcpListener,
    security: Security,
    shaking: FuturesUnordered<BoxFuture<'static, Option<Connection>>>,
    open: VecDeque<Weak<Side>>,
    look: Interval,
    pause: Option<BoxFuture<'static, ()>>,
}

/// Who is at the other end of a connection, with every request that comes over it.
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: Option<SocketAddr>,
    side: Arc<Side>,
}

/// The other side of one connection.
#[derive(Debug)]
struct Side {
    keys: Option<Arc<Keys>>,
    chain: Vec<CertificateDer<'static>>,
    judged: Mutex<Option<Judged>>,
    cut: CancellationToken,
}

#[derive(Debug)]
struct Judged {
    by: Arc<Loaded>,
    until: UnixTime,
    proof: Proof,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    io: Either<TcpStream, Box<TlsStream<TcpStream>>>,
    peer: Peer,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Incoming {
    pub fn new(listener: TcpListener, security: Security) -> Self {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (shaking, open) = (FuturesUnordered::new(), VecDeque::new());
        Self { listener, security, shaking, open, look, pause: None }
    }

    /// Cuts connections whose certificate counts no more, and forgets those that are gone.
    fn look_at_open(&mut self) {
        self.open.retain(|side| {
            let Some(side) = side.upgrade() else { return false };
            // Looking is what cuts it.
            side.proof();
            !side.cut.is_cancelled()
        });
    }

    fn taken(&mut self, tcp: TcpStream, address: SocketAddr) {
        let security = self.security.clone();
        self.shaking.push(shake(tcp, address, security).boxed());
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        while this.look.poll_tick(context).is_ready() {
            this.look_at_open();
        }
        loop {
            if let Poll::Ready(Some(shaken)) = this.shaking.poll_next_unpin(context) {
                // Whoever failed a handshake is nobody to talk to.
                let Some(connection) = shaken else { continue };
                if !connection.peer.side.chain.is_empty() {
                    this.open.push_back(Arc::downgrade(&connection.peer.side));
                }
                return Poll::Ready(Some(Ok(connection)));
            }
            if let Some(pause) = &mut this.pause {
                if pause.poll_unpin(context).is_pending() {
                    return Poll::Pending;
                }
                this.pause = None;
            }
            if this.shaking.len() >= HANDSHAKES {
                return Poll::Pending;
            }
            match this.listener.poll_accept(context) {
                Poll::Ready(Ok((tcp, address))) => this.taken(tcp, address),
                Poll::Ready(Err(error)) => {
                    tracing::warn!(%error, "no connection is taken for a moment");
                    this.pause = Some(sleep(PAUSE).boxed());
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

async fn shake(tcp: TcpStream, address: SocketAddr, security: Security) -> Option<Connection> {
    // A connection that cannot be set up so is slower and no worse.
    let _ = tcp.set_nodelay(true);
    let (io, keys, chain) = match security {
        Security::Plaintext => (Either::Left(tcp), None, Vec::new()),
        Security::Tls(keys) => {
            let acceptor = TlsAcceptor::from(Arc::clone(&keys.current().server));
            let shaken = timeout(HANDSHAKE, acceptor.accept(tcp)).await;
            let tls = match shaken {
                Ok(Ok(tls)) => tls,
                Ok(Err(error)) => {
                    tracing::debug!(%address, %error, "no handshake");
                    return None;
                }
                Err(_) => return None,
            };
            let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
            let chain = chain.iter().map(|shown| shown.clone().into_owned()).collect();
            (Either::Right(Box::new(tls)), Some(keys), chain)
        }
    };
    let cut = CancellationToken::new();
    let waits = Box::pin(cut.clone().cancelled_owned());
    let side = Arc::new(Side { keys, chain, judged: Mutex::new(None), cut });
    Some(Connection { io, peer: Peer { address: Some(address), side }, cut: waits })
}

impl Peer {
    /// What the other side has shown, and what it is worth now.
    pub fn proof(&self) -> Proof {
        self.side.proof()
    }
}

impl Side {
    fn proof(&self) -> Proof {
        let Some(keys) = &self.keys else { return Proof::Plaintext };
        if self.chain.is_empty() {
            return Proof::Nothing;
        }
        let (loaded, now) = (keys.current(), UnixTime::now());
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = judged.as_ref().filter(|it| Arc::ptr_eq(&it.by, &loaded) && now < it.until) {
            return last.proof.clone();
        }
        let proof = judge(&*loaded.verifier, &self.chain, now);
        // Time changes it at one moment only: when the certificate ends. What does not count is looked at anew.
        let ends = crate::identity::Facts::of(&self.chain[0]).map_or(0, |facts| facts.not_after);
        let until = match &proof {
            Proof::Good { .. } => Duration::from_secs(u64::try_from(ends).unwrap_or(0)),
            Proof::Plaintext | Proof::Nothing | Proof::Doubtful { .. } => Duration::ZERO,
        };
        let until = UnixTime::since_unix_epoch(until);
        let is_good = |proof: &Proof| matches!(proof, Proof::Good { .. });
        let was_good = judged.as_ref().is_some_and(|last| is_good(&last.proof));
        if was_good && !is_good(&proof) {
            // Whatever runs over it ends; who comes again is told why.
            self.cut.cancel();
        }
        *judged = Some(Judged { by: loaded, until, proof: proof.clone() });
        proof
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut.poll_unpin(context).is_ready() {
            let why = "the certificate of the other side counts no more";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, why)));
        }
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
