//! What a coordinator is told at its start.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use croft_core::split::Link;
use croft_proto::{channel::Security, store::Reach, trace::Traces};
use url::Url;

use crate::metrics::SpanCounts;

/// Settings of a coordinator. `Default` is a private one: loopback, any port, outputs in the temporary folder.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where outputs go: `file:///DIR`, which must exist, or `s3://BUCKET[/PREFIX]`.
    pub artifacts: Url,
    /// Where its connections may go, and by whom a store's certificate may be signed.
    pub reach: Reach,
    /// How clients and workers are spoken to; in plaintext on loopback only.
    pub security: Security,
    /// The folder of the farm's authority, for the coordinator that lets machines join.
    pub authority: Option<PathBuf>,
    /// A worker silent for this long is lost and its attempts are broken, milliseconds.
    pub lease_ms: u64,
    /// Where the coordinator keeps its state, in `state.redb`; without it the state is in memory and ends with it.
    pub data_dir: Option<PathBuf>,
    /// Members of an etcd cluster that keeps the state instead, `http://HOST:PORT`; several coordinators may share it.
    pub etcd: Vec<String>,
    /// Files for etcd members that are reached by `https://`.
    pub etcd_tls: EtcdTls,
    /// The name of the farm: keys in etcd begin with it.
    pub farm: String,
    /// How clients and workers reach this coordinator; where it listens, when left out.
    pub advertise: Option<String>,
    /// What lies between workers, for the choice of how to split a model.
    pub between: Link,
    /// Publications that run at once.
    pub publications: usize,
    /// Who takes the spans of its traces, if anybody.
    pub traces: Traces,
    /// What became of those spans, for the metrics.
    pub span_counts: Option<Arc<dyn SpanCounts>>,
    /// Where `/metrics` is served, in the clear: a loopback address; nowhere by default.
    pub metrics_listen: Option<SocketAddr>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            artifacts: Url::from_directory_path(std::env::temp_dir())
                .expect("the temporary folder is an absolute path"),
            reach: Reach::default(),
            security: Security::Plaintext,
            authority: None,
            lease_ms: 10_000,
            data_dir: None,
            etcd: Vec::new(),
            etcd_tls: EtcdTls::default(),
            farm: "croft".to_owned(),
            advertise: None,
            between: Link::between(),
            publications: 16,
            traces: Traces::default(),
            span_counts: None,
            metrics_listen: None,
        }
    }
}

/// PEM files by which an etcd cluster and this coordinator know each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EtcdTls {
    /// The authority that the members' certificates are of.
    pub authority: Option<PathBuf>,
    /// What this coordinator shows, and its key.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
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
