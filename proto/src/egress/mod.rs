//! The guard through which every connection of ours goes out: to coordinators, etcd, the artifact store, a collector.
//!
//! What it lets through lies in the networks of the studio. A name is resolved once in a process and means the same
//! from then on, so that nobody who answers for it later sends us elsewhere; all that it means must be allowed, or none of it
//! is used. No proxy is asked for by the environment, and none is used.

mod names;
mod network;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::transport::Uri;
use tower::{Service, service_fn};

use names::Names;
pub use network::{Network, Networks};

/// Lets connections out, or does not. Cheap to clone; all clones know the same names.
#[derive(Debug, Clone, Default)]
pub struct Guard(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    networks: Networks,
    names: Names,
}

/// Why nothing is sent there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(
        "{} outside of the networks that may be reached (loopback, private, link-local and unique local ones{}); if it is the \
         studio's own, add it to `allow_networks`",
        lies(host, address),
        added(networks)
    )]
    Outside { host: String, address: IpAddr, networks: Networks },
    #[error("the name '{host}' means no address: {what}")]
    Unknown { host: String, what: String },
    #[error(
        "the name '{host}' meant {} when this process began and means {} now, and the first does not answer: nothing is sent \
         to the second; if the machine has moved, start this process again",
        list(was),
        list(is)
    )]
    Moved { host: String, was: Vec<IpAddr>, is: Vec<IpAddr> },
    #[error("this process has asked for {max} names already: '{host}' is not asked for")]
    TooMany { host: String, max: usize },
}

impl Guard {
    #[must_use]
    pub fn new(networks: Networks) -> Self {
        Self(Arc::new(Inner { networks, names: Names::default() }))
    }

    #[must_use]
    pub fn networks(&self) -> &Networks {
        &self.0.networks
    }

    /// Where `host` is: itself where it is an address, else what it meant when it was first asked for.
    ///
    /// # Errors
    /// When any of it lies outside of what is allowed, or the name is not known.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Error> {
        if let Ok(address) = bare(host).parse() {
            self.0.networks.check(host, address)?;
            return Ok(vec![address]);
        }
        self.0.names.first(host, &self.0.networks).await
    }

    /// Connects to the first address of `host` that answers.
    ///
    /// # Errors
    /// What the last address said, or an [`Error`] within.
    #[allow(clippy::disallowed_methods, reason = "the one place that connects")]
    pub async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let mut last = None;
        for address in self.addresses(host).await.map_err(io::Error::other)? {
            match TcpStream::connect(SocketAddr::new(address, port)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        self.unanswered(host).await.map_err(io::Error::other)?;
        Err(last.unwrap_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable)))
    }

    /// Nobody answers where `host` was. If that is because it has moved, whoever waits for it would wait for ever.
    ///
    /// # Errors
    /// When it has.
    pub async fn unanswered(&self, host: &str) -> Result<(), Error> {
        self.0.names.again(host).await
    }

    /// Makes the connections of an HTTP/2 client that is not ours.
    pub fn connector(
        &self,
    ) -> impl Service<
        Uri,
        Response = TokioIo<TcpStream>,
        Error = io::Error,
        Future = impl Future<Output = io::Result<TokioIo<TcpStream>>> + Send,
    > + Clone
    + Send
    + 'static {
        let guard = self.clone();
        service_fn(move |to: Uri| {
            let guard = guard.clone();
            async move {
                let host = to.host().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
                let usual = if to.scheme_str() == Some("https") { 443 } else { 80 };
                let stream = guard.connect(bare(host), to.port_u16().unwrap_or(usual)).await?;
                stream.set_nodelay(true)?;
                Ok(TokioIo::new(stream))
            }
        })
    }

    /// Returns when a name that this process needs has moved: it goes on only if it is started again.
    pub async fn moved(&self) -> Error {
        self.0.names.moved().await
    }
}

impl Error {
    /// What a connection failed for, if it was the guard.
    #[must_use]
    pub fn within<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            let carried = || error.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref::<Self>();
            if let Some(found) = error.downcast_ref::<Self>().or_else(carried) {
                return Some(found);
            }
            next = error.source();
        }
        None
    }
}

/// A host without the brackets that IPv6 has in an address.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

fn lies(host: &str, address: &IpAddr) -> String {
    if bare(host).parse() == Ok(*address) {
        format!("{address} lies")
    } else {
        format!("'{host}' is {address}, which lies")
    }
}

fn added(networks: &Networks) -> String {
    let more: Vec<String> = networks.added().iter().map(|network| format!(", {network}")).collect();
    more.concat()
}

fn list(addresses: &[IpAddr]) -> String {
    let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_outside_is_refused_by_address_and_named() {
        let guard = Guard::default();
        let refused = guard.connect("93.184.215.14", 443).await.expect_err("it is public");
        let error = Error::within(&refused).expect("by the guard");
        assert!(
            error.to_string().starts_with("93.184.215.14 lies outside")
                && error.to_string().contains("allow_networks"),
            "{error}"
        );
        // IPv4 in the clothes of IPv6, and a tunnel to it.
        for host in [
            "[::ffff:93.184.215.14]",
            "64:ff9b::5db8:d70e",
            "2002:5db8:d70e::1",
            "0.0.0.0",
            "::",
            "100.64.0.1",
        ] {
            assert!(matches!(guard.addresses(host).await, Err(Error::Outside { .. })), "{host}");
        }
        let wider = Guard::new("100.64.0.0/10".parse().expect("a network"));
        assert_eq!(wider.addresses("100.64.0.1").await, Ok(vec!["100.64.0.1".parse().expect("an address")]));
        let told = wider.addresses("8.8.8.8").await.expect_err("it is public").to_string();
        assert!(told.contains("unique local ones, 100.64.0.0/10"), "{told}");
    }

    #[tokio::test]
    async fn a_client_that_is_not_ours_goes_by_the_guard_as_well() {
        let mut connector = Guard::default().connector();
        let refused =
            connector.call(Uri::from_static("http://203.0.113.5:2379")).await.expect_err("it is public");
        assert!(matches!(Error::within(&refused), Some(Error::Outside { .. })));
        let nobody =
            connector.call(Uri::from_static("http://127.0.0.1:1")).await.expect_err("nobody listens");
        assert!(Error::within(&nobody).is_none(), "{nobody}");
    }
}
