//! A coordinator's settings: `coordinator.toml`, and what flags say over it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use croft_coordinator::EtcdTls;
use croft_core::split::Link;
use croft_proto::{channel::Files, identity::Folder, store::Reach};
use serde::Deserialize;

use super::{
    IDENTITY, LinkOf, Settings, absolute, authority_dir, data_home,
    egress::reach,
    file_url, from, link,
    security::{TlsFile, files},
    telemetry::{Telemetry, TelemetryFile},
};
use crate::{args, exit::Failed};

/// `coordinator.toml`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CoordinatorFile {
    listen: Option<SocketAddr>,
    data_dir: Option<PathBuf>,
    artifacts: Option<String>,
    artifacts_ca: Option<PathBuf>,
    allow_networks: Option<Vec<String>>,
    etcd: Option<Vec<String>>,
    farm: Option<String>,
    advertise: Option<String>,
    insecure: Option<bool>,
    lease_ms: Option<u64>,
    identity: Option<PathBuf>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    certs: Option<PathBuf>,
    revoked: Option<PathBuf>,
    etcd_ca: Option<PathBuf>,
    etcd_cert: Option<PathBuf>,
    etcd_key: Option<PathBuf>,
    metrics_listen: Option<SocketAddr>,
    telemetry: Option<TelemetryFile>,
    between: Option<LinkOf>,
}

impl Settings for CoordinatorFile {
    const KEYS: &'static [&'static str] = &[
        "listen",
        "data_dir",
        "artifacts",
        "artifacts_ca",
        "allow_networks",
        "etcd",
        "farm",
        "advertise",
        "insecure",
        "lease_ms",
        "identity",
        "ca",
        "cert",
        "key",
        "certs",
        "revoked",
        "etcd_ca",
        "etcd_cert",
        "etcd_key",
        "metrics_listen",
        "telemetry",
        "between",
    ];
}

/// A coordinator's settings, whole.
#[derive(Debug, Clone)]
pub(crate) struct Coordinator {
    pub(crate) listen: SocketAddr,
    pub(crate) data_dir: PathBuf,
    pub(crate) artifacts: String,
    pub(crate) reach: Reach,
    pub(crate) etcd: Vec<String>,
    pub(crate) farm: Option<String>,
    pub(crate) etcd_tls: EtcdTls,
    pub(crate) advertise: Option<String>,
    pub(crate) tls: Option<Files>,
    /// The authority's folder.
    pub(crate) certs: Option<PathBuf>,
    pub(crate) lease_ms: Option<u64>,
    pub(crate) metrics_listen: Option<SocketAddr>,
    pub(crate) telemetry: Telemetry,
    /// What lies between workers.
    pub(crate) between: Option<Link>,
}

/// The coordinator's settings.
pub(crate) fn coordinator(flags: args::Coordinator) -> Result<Coordinator, Failed> {
    let file: CoordinatorFile = from(flags.config.as_deref())?;
    let data_dir = absolute(match flags.data_dir.or(file.data_dir) {
        Some(dir) => dir,
        None => data_home("coordinator")?,
    })?;
    let artifacts = match flags.artifacts.or(file.artifacts) {
        Some(url) => url,
        None => file_url(&data_dir.join("artifacts"))?,
    };
    let insecure = flags.insecure || file.insecure.unwrap_or(false);
    let settings = TlsFile { identity: file.identity, ca: file.ca, cert: file.cert, key: file.key };
    let mut tls = files(&flags.tls, settings, Some(Folder(data_dir.join(IDENTITY))), insecure)?;
    let certs = match flags.certs.or(file.certs) {
        Some(dir) => Some(dir),
        None => authority_dir(None).ok().filter(|dir| tls.is_some() && dir.join("ca-key.pem").exists()),
    };
    if let Some(tls) = &mut tls {
        let lists = [flags.revoked.or(file.revoked), certs.as_ref().map(|dir| dir.join("revoked.pem"))];
        tls.revoked = lists.into_iter().flatten().collect();
    }
    let etcd_tls = EtcdTls {
        authority: flags.etcd_ca.or(file.etcd_ca),
        certificate: flags.etcd_cert.or(file.etcd_cert),
        key: flags.etcd_key.or(file.etcd_key),
    };
    Ok(Coordinator {
        tls,
        certs,
        etcd_tls,
        listen: flags.listen.or(file.listen).unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 7400))),
        data_dir,
        artifacts,
        reach: reach(flags.egress, flags.store, file.allow_networks, file.artifacts_ca)?,
        etcd: flags.etcd.or(file.etcd).unwrap_or_default(),
        farm: flags.farm.or(file.farm),
        advertise: flags.advertise.or(file.advertise),
        lease_ms: file.lease_ms,
        metrics_listen: flags.metrics_listen.or(file.metrics_listen),
        telemetry: Telemetry::of(flags.telemetry, file.telemetry)?,
        between: file.between.as_ref().map(link).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let dir = tempfile::tempdir().expect("scratch");
        let path = dir.path().join("coordinator.toml");
        fs::write(&path, "listen = '127.0.0.1:7500'\nlease_ms = 9000\n").expect("written");
        let flags = args::Coordinator {
            config: Some(path),
            listen: None,
            data_dir: Some("data".into()),
            artifacts: None,
            etcd: None,
            farm: None,
            advertise: None,
            insecure: false,
            egress: args::Egress::default(),
            store: args::Store::default(),
            tls: args::Tls::default(),
            certs: None,
            revoked: None,
            etcd_ca: None,
            etcd_cert: None,
            etcd_key: None,
            metrics_listen: None,
            telemetry: args::Telemetry::default(),
        };
        let settings = coordinator(flags).expect("good settings");
        assert_eq!(settings.listen.port(), 7500);
        assert_eq!(settings.lease_ms, Some(9000));
        assert!(settings.data_dir.is_absolute());
        assert!(
            settings.artifacts.starts_with("file:///") && settings.artifacts.ends_with("data/artifacts/")
        );
    }
}
