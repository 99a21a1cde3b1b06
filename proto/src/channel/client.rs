//! Dialling: one place for all of it.

use std::{error::Error as StdError, io, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::either::Either;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::{Address, Error, Keys, Security, keys};
use crate::egress::{self, Guard};

/// A server that does not finish a handshake within this is none of ours.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// How to dial.
#[derive(Debug, Clone)]
pub struct Dial {
    /// Lets the connection out.
    pub guard: Guard,
    pub security: Security,
    /// Trust the authority of this fingerprint, and show no certificate: for whoever is to get one.
    pub pinned: Option<String>,
    /// A server that does not take a connection within this is not there.
    pub connect: Duration,
    /// A silent connection is probed this often, and given up when the probe goes unanswered as long.
    pub keep_alive: Duration,
    /// Bytes that the other side may send ahead, where the default is too small.
    pub window: Option<u32>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub struct DialError {
    pub trouble: Trouble,
    words: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The address is none, or must not be dialled like this.
    Address,
    /// It lies where nothing of ours goes.
    Refused,
    /// Nobody is there.
    Unreachable,
    /// Somebody is there, and is not who it should be.
    Untrusted,
}

/// How one address is spoken to.
#[derive(Clone)]
enum Wire {
    Plain,
    Tls(Arc<Keys>),
    Pinned(Arc<ClientConfig>),
}

type Io = TokioIo<Either<TcpStream, TlsStream<TcpStream>>>;

/// A connection to `address`. It is made again by itself, with the certificate that is there then.
///
/// # Errors
/// Why there is none.
pub async fn dial(address: &Address, how: &Dial) -> Result<Channel, DialError> {
    let wire = wire(address, how)
        .map_err(|error| DialError { trouble: Trouble::Address, words: error.to_string() })?;
    let bad = |error: tonic::transport::Error| DialError::of(&error);
    let mut endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(bad)?
        .connect_timeout(how.connect)
        .http2_keep_alive_interval(how.keep_alive)
        .keep_alive_timeout(how.keep_alive)
        .keep_alive_while_idle(true);
    if let Some(window) = how.window {
        endpoint = endpoint.initial_stream_window_size(window);
    }
    let to = address.clone();
    let guard = how.guard.clone();
    let connector = service_fn(move |_| connect(guard.clone(), to.clone(), wire.clone()));
    endpoint.connect_with_connector(connector).await.map_err(bad)
}

fn wire(address: &Address, how: &Dial) -> Result<Wire, Error> {
    if let Some(fingerprint) = &how.pinned {
        return Ok(Wire::Pinned(keys::pinned(fingerprint)?));
    }
    how.security.allows(address)?;
    match &how.security {
        Security::Tls(keys) if address.tls != Some(false) => Ok(Wire::Tls(Arc::clone(keys))),
        Security::Tls(_) | Security::Plaintext => Ok(Wire::Plain),
    }
}

async fn connect(guard: Guard, address: Address, wire: Wire) -> io::Result<Io> {
    let config = match wire {
        Wire::Plain => None,
        Wire::Tls(keys) => Some(Arc::clone(&keys.current().client)),
        Wire::Pinned(config) => Some(config),
    };
    let tcp = guard.connect(&address.host, address.port).await?;
    tcp.set_nodelay(true)?;
    let Some(config) = config else {
        // A name such as `localhost` is only a name.
        if !tcp.peer_addr()?.ip().to_canonical().is_loopback() {
            return Err(io::Error::other(format!(
                "plaintext is for this machine, and '{}' is another",
                address.host
            )));
        }
        return Ok(TokioIo::new(Either::Left(tcp)));
    };
    let name = ServerName::try_from(address.host).map_err(io::Error::other)?;
    let shaken = timeout(HANDSHAKE, TlsConnector::from(config).connect(name, tcp)).await;
    let late = || io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake was not finished");
    Ok(TokioIo::new(Either::Right(shaken.map_err(|_| late())??)))
}

impl DialError {
    /// The transport's own words are "transport error"; why is in what it wraps.
    fn of(error: &tonic::transport::Error) -> Self {
        match egress::Error::within(error) {
            Some(egress::Error::Unknown { .. }) | None => {}
            Some(refused) => return Self { trouble: Trouble::Refused, words: refused.to_string() },
        }
        let mut inner: &(dyn StdError + 'static) = error;
        let mut tls = tls_of(inner);
        while let Some(source) = inner.source() {
            inner = source;
            tls = tls.or_else(|| tls_of(inner));
        }
        let Some(tls) = tls else {
            return Self { trouble: Trouble::Unreachable, words: inner.to_string() };
        };
        let words = match tls {
            rustls::Error::InvalidMessage(_) => {
                "it does not speak TLS; if it is a croft on this machine without certificates, add --insecure"
                    .to_owned()
            }
            rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer) => {
                "its certificate is not of this farm's authority".to_owned()
            }
            other => format!("TLS: {other}"),
        };
        Self { trouble: Trouble::Untrusted, words }
    }
}

/// An I/O error hides what it carries from `source`.
fn tls_of<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    error.downcast_ref::<rustls::Error>().or_else(|| {
        let carried: Option<&'a (dyn StdError + Send + Sync + 'static)> =
            error.downcast_ref::<io::Error>().and_then(|error| error.get_ref());
        carried.and_then(|carried| carried.downcast_ref::<rustls::Error>())
    })
}
