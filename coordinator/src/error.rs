//! Why a coordinator cannot start or go on.

use std::net::SocketAddr;

/// An end of the coordinator that nobody asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(
        "{listen}: plaintext is refused anywhere but on loopback; give this coordinator a certificate: `croft certs \
         init`, then `croft certs issue --role coordinator NAME --host HOST --install`"
    )]
    PlaintextRefused { listen: SocketAddr },
    #[error("cannot listen on {listen}: {source}")]
    Listen { listen: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Store(#[from] croft_proto::store::Error),
    #[error("artifact store {url}: its id '.croft/store-id' can neither be read nor written: {source}")]
    StoreId { url: String, source: object_store::Error },
    #[error(transparent)]
    Moved(#[from] croft_proto::egress::Error),
    #[error(transparent)]
    Identity(#[from] croft_proto::identity::Error),
    #[error(transparent)]
    State(#[from] crate::state::Error),
    #[error(transparent)]
    Records(#[from] croft_core::record::Error),
    #[error("the data folder '{place}' cannot be made: {source}")]
    DataFolder { place: String, source: std::io::Error },
    #[error("this croft was built without etcd: build it with `--features etcd`, or leave --etcd out")]
    NoEtcd,
    #[error("the server failed: {0}")]
    Serve(#[from] tonic::transport::Error),
    #[error("the page of metrics failed: {0}")]
    Metrics(std::io::Error),
    #[error("server reflection cannot describe the services: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    #[error("a part of the coordinator panicked: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}
