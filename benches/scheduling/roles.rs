//! What each process does: coordinator, worker, or a collector of spans.

use std::{
    io::{Read, Write as _},
    path::Path,
};

use anyhow::{Context, Result};
use croft_proto::{
    channel::{Files, Security},
    identity::Folder,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use tokio_util::sync::CancellationToken;

use crate::DEVICES;

/// Serves until standard input closes; its first line of output is its address.
pub(crate) async fn coordinator(store: &str, state: &str) -> Result<()> {
    let artifacts = url::Url::from_directory_path(store).ok().context("an absolute folder")?;
    let mut config = croft_coordinator::Config { artifacts, ..croft_coordinator::Config::default() };
    match state {
        "memory" => {}
        "redb" => config.data_dir = Some(Path::new(store).join("coordinator")),
        etcd => config.etcd = vec![etcd.to_owned()],
    }
    let coordinator = croft_coordinator::Coordinator::bind(config).await?;
    println!("{}", coordinator.local_addr());
    std::io::stdout().flush()?;
    coordinator.run(until_stdin_closes()).await?;
    Ok(())
}

/// Takes spans and throws them away, until standard input closes; its first line of output is its address.
pub(crate) async fn collector() -> Result<()> {
    struct Nowhere;
    #[tonic::async_trait]
    impl TraceService for Nowhere {
        async fn export(
            &self,
            _: tonic::Request<ExportTraceServiceRequest>,
        ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
            Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
        }
    }
    let incoming = tonic::transport::server::TcpIncoming::bind("127.0.0.1:0".parse()?)?;
    println!("{}", incoming.local_addr()?);
    std::io::stdout().flush()?;
    let service = TraceServiceServer::new(Nowhere);
    let stop = until_stdin_closes();
    tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
        .await?;
    Ok(())
}

pub(crate) async fn worker(address: &str, folder: &str, identity: Option<&Path>) -> Result<()> {
    let config = croft_worker::Config {
        coordinators: vec![address.to_owned()],
        name: "bench".to_owned(),
        data_dir: folder.into(),
        devices: format!("cpu:{DEVICES}").parse().ok().context("devices")?,
        security: security(identity)?,
        rank: croft_worker::RankProgram::Noop,
        ..croft_worker::Config::default()
    };
    croft_worker::run(config, until_stdin_closes()).await?;
    Ok(())
}

fn until_stdin_closes() -> CancellationToken {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    std::thread::spawn(move || {
        // Any end of it will do.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stopped.cancel();
    });
    stop
}

/// TLS by the files in a folder, or plaintext.
pub(crate) fn security(identity: Option<&Path>) -> Result<Security> {
    Ok(Security::of(identity.map(|folder| Files::from(&Folder(folder.to_owned()))))?)
}
