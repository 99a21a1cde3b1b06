//! The members of a cluster, one connection each: what one does not answer in time, the next is asked.

use std::{path::PathBuf, time::Duration};

use croft_proto::egress::{self, Guard};
use etcd_client::{Channel, Client, Error as EtcdError};
use tokio::time::timeout;
use tonic::{
    Code,
    transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Uri},
};

use crate::{config::EtcdTls, state::Error};

const CONNECT: Duration = Duration::from_secs(1);
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Rounds over all members before it counts as no answer.
const ROUNDS: usize = 2;
const STORE: &str = "etcd";

#[derive(Clone)]
pub(super) struct Members {
    clients: Vec<Client>,
    names: Vec<String>,
    /// The one that answered last.
    at: usize,
    /// A member that has not answered by then is passed over.
    patience: Duration,
}

impl std::fmt::Debug for Members {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Members").field("names", &self.names).field("at", &self.at).finish_non_exhaustive()
    }
}

impl Members {
    /// Connects when it is first asked, so a member that is down now is no error; one that must not be reached is.
    pub(super) async fn new(
        members: &[String],
        files: &EtcdTls,
        guard: &Guard,
        patience: Duration,
    ) -> Result<Self, Error> {
        let mut clients = Vec::new();
        for member in members {
            let unusable =
                |what: String| Error::Unavailable { store: STORE, what: format!("'{member}': {what}") };
            let odd = || {
                unusable(
                    "it is no address of a member; give http://HOST:PORT or https://HOST:PORT".to_owned(),
                )
            };
            let uri: Uri = member.parse().map_err(|_| odd())?;
            let (Some(scheme @ ("http" | "https")), Some(host)) = (uri.scheme_str(), uri.host()) else {
                return Err(odd());
            };
            match guard.addresses(host).await {
                // A member whose name is not known now may be there later.
                Ok(_) | Err(egress::Error::Unknown { .. }) => {}
                Err(error) => return Err(Error::Unreachable { store: STORE, source: error }),
            }
            let mut endpoint = Endpoint::from(uri.clone())
                .connect_timeout(CONNECT)
                .keep_alive_while_idle(true)
                .http2_keep_alive_interval(KEEP_ALIVE)
                .keep_alive_timeout(KEEP_ALIVE);
            if scheme == "https" {
                endpoint = endpoint.tls_config(tls(files)?).map_err(|error| unusable(error.to_string()))?;
            }
            let channel = Channel::Tonic(endpoint.connect_with_connector_lazy(guard.connector()));
            clients.push(
                Client::from_channel(channel, None).await.map_err(|error| unusable(error.to_string()))?,
            );
        }
        Ok(Self { clients, names: members.to_vec(), at: 0, patience })
    }

    /// The same connections with another patience.
    pub(super) fn patient_for(&self, patience: Duration) -> Self {
        Self { patience, ..self.clone() }
    }

    /// Asks one member after the other until one answers.
    pub(super) async fn run<T, F: Future<Output = Result<T, EtcdError>>>(
        &mut self,
        ask: impl Fn(Client) -> F,
    ) -> Result<T, Error> {
        let mut last = String::new();
        for _ in 0..ROUNDS * self.clients.len() {
            let at = self.at;
            last = match timeout(self.patience, ask(self.clients[at].clone())).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => {
                    if let Some(full) = full(&error) {
                        return Err(full);
                    }
                    error.to_string()
                }
                Err(_) => format!("{} does not answer", self.names[at]),
            };
            self.at = (at + 1) % self.clients.len();
        }
        Err(Error::Unavailable { store: STORE, what: last })
    }
}

/// Trusts the one authority that is named, and shows a certificate where there is one.
fn tls(files: &EtcdTls) -> Result<ClientTlsConfig, Error> {
    let read = |path: &PathBuf| {
        let what = |error| format!("{}: {error}", path.display());
        std::fs::read(path).map_err(|error| Error::Unavailable { store: STORE, what: what(error) })
    };
    let Some(authority) = &files.authority else {
        let what = "https:// needs --etcd-ca FILE, the authority of the members' certificates".to_owned();
        return Err(Error::Unavailable { store: STORE, what });
    };
    let mut options = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(authority)?));
    if let (Some(certificate), Some(key)) = (&files.certificate, &files.key) {
        options = options.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(options)
}

/// The alarm that refuses every write until somebody makes room.
fn full(error: &EtcdError) -> Option<Error> {
    let EtcdError::GRpcStatus(status) = error else { return None };
    let is_full = status.code() == Code::ResourceExhausted && status.message().contains("space exceeded");
    is_full.then(|| Error::Full {
        store: STORE,
        what: format!(
            "{}: compact and defragment it, raise --quota-backend-bytes, then `etcdctl alarm disarm`",
            status.message()
        ),
    })
}
