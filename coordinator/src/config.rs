//! What a coordinator is told at its start.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use croft_core::split::Link;
use url::Url;

/// Settings of a coordinator. `Default` is a private one: loopback, any port, outputs in the temporary folder.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where outputs go: `file:///DIR`, which must exist, or `s3://BUCKET[/PREFIX]`.
    pub artifacts: Url,
    /// Asks for plaintext. On loopback it changes nothing, and anywhere else plaintext is refused all the same.
    pub insecure: bool,
    /// A worker silent for this long is lost and its attempts are broken, milliseconds.
    pub lease_ms: u64,
    /// Where the coordinator keeps its state, in `state.redb`; without it the state is in memory and ends with it.
    pub data_dir: Option<PathBuf>,
    /// Members of an etcd cluster that keeps the state instead, `http://HOST:PORT`; several coordinators may share it.
    pub etcd: Vec<String>,
    /// The name of the farm: keys in etcd begin with it.
    pub farm: String,
    /// How clients and workers reach this coordinator; where it listens, when left out.
    pub advertise: Option<String>,
    /// What lies between workers, for the choice of how to split a model.
    pub between: Link,
    /// Publications that run at once.
    pub publications: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            artifacts: Url::from_directory_path(std::env::temp_dir())
                .expect("the temporary folder is an absolute path"),
            insecure: false,
            lease_ms: 10_000,
            data_dir: None,
            etcd: Vec::new(),
            farm: "croft".to_owned(),
            advertise: None,
            between: Link::between(),
            publications: 16,
        }
    }
}

/// A store's address for people and workers: without the user and password that somebody may have put into it.
pub(crate) fn without_secrets(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for addresses that cannot have either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.to_string()
}
