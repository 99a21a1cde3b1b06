//! Where connections may go.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use croft_proto::egress::Network;

/// Networks that may be reached.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct Egress {
    /// Networks that connections may go to beside loopback and private ones, as 192.0.2.0/24
    #[arg(long, env = "CROFT_ALLOW_NETWORKS", value_delimiter = ',', value_name = "ADDRESS/BITS,…")]
    pub(crate) allow_networks: Option<Vec<Network>>,
}

/// How the artifact store is reached.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct Store {
    /// The authority that the certificate of an S3 store is of (PEM) [default: AWS_CA_BUNDLE, or those of the system]
    #[arg(long, value_name = "FILE")]
    pub(crate) artifacts_ca: Option<PathBuf>,
}
