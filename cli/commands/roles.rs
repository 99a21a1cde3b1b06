//! `croft coordinator` and `croft worker`: the roles, from their settings to their end.

use std::path::Path;

use croft_proto::channel::{Files, Security};
use croft_worker::Devices;
use tokio_util::sync::CancellationToken;

use crate::{
    args, config, cuda,
    exit::{Exit, Failed},
    interrupt::Interrupts,
    telemetry::Otlp,
};

pub(super) async fn coordinator(args: args::Coordinator) -> Result<Exit, Failed> {
    let settings = config::coordinator(args)?;
    let otlp = Otlp::start("croft-coordinator", &settings.telemetry, &settings.reach.guard)?;
    let defaults = croft_coordinator::Config::default();
    if settings.artifacts.starts_with("file:") {
        make_store_folder(&settings.artifacts)?;
    }
    let config = croft_coordinator::Config {
        listen: settings.listen,
        artifacts: settings
            .artifacts
            .parse()
            .map_err(|e| Failed::with(Exit::Usage, format!("artifacts '{}': {e}", settings.artifacts)))?,
        reach: settings.reach.clone(),
        security: security(settings.tls)?,
        authority: settings.certs,
        etcd_tls: settings.etcd_tls,
        lease_ms: settings.lease_ms.unwrap_or(defaults.lease_ms),
        data_dir: Some(settings.data_dir),
        etcd: settings.etcd,
        farm: settings.farm.unwrap_or(defaults.farm.clone()),
        advertise: settings.advertise,
        metrics_listen: settings.metrics_listen,
        traces: otlp.traces(),
        span_counts: otlp.counts(),
        between: settings.between.unwrap_or_else(|| defaults.between.clone()),
        ..defaults
    };
    let mut interrupts = Interrupts::listen()?;
    let role = croft_coordinator::Coordinator::bind(config).await.map_err(|e| Failed::new(e.to_string()))?;
    tracing::info!(address = %role.local_addr(), artifacts = %settings.artifacts, "coordinator listens");
    let stop = CancellationToken::new();
    let run = role.run(stop.clone());
    tokio::pin!(run);
    let outcome = tokio::select! {
        outcome = &mut run => outcome,
        _ = interrupts.next() => {
            tracing::info!("coordinator ends");
            stop.cancel();
            run.await
        }
        moved = settings.reach.guard.moved() => {
            stop.cancel();
            tracing::error!("{moved}");
            run.await.and(Err(moved.into()))
        }
    };
    otlp.finish().await;
    outcome.map_err(|e| Failed::new(e.to_string()))?;
    Ok(Exit::Ok)
}

pub(super) async fn worker(args: args::Worker) -> Result<Exit, Failed> {
    if let Some(args::WorkerWish::Join(join)) = args.join {
        return super::certs::join_worker(join).await;
    }
    let until_stdin_closes = args.until_stdin_closes;
    let settings = config::worker(args)?;
    let otlp = Otlp::start("croft-worker", &settings.telemetry, &settings.reach.guard)?;
    let program = std::env::current_exe()
        .map_err(|e| Failed::new(format!("cannot find this program to start ranks from: {e}")))?;
    let defaults = croft_worker::Config::default();
    let security = security(settings.tls)?;
    // A worker is called what its certificate says.
    let certified = match &security {
        Security::Tls(keys) => keys.facts().name.map(|name| name.bare().to_owned()),
        Security::Plaintext => None,
    };
    let devices: Devices = devices(&settings.devices)?;
    let cuda = match &devices {
        Devices::Named { cuda: None, .. } => defaults.cuda.clone(),
        Devices::Named { .. } | Devices::Auto => cuda::probe().await.map(drop),
    };
    let config = croft_worker::Config {
        coordinators: settings.coordinators,
        name: settings.name.or(certified).unwrap_or(defaults.name),
        data_dir: settings.data_dir,
        devices,
        cuda,
        visible: config::visible_devices(),
        threads_per_device: settings.threads.or(defaults.threads_per_device),
        tags: settings.tags,
        security,
        reach: settings.reach.clone(),
        rank: croft_worker::RankProgram::Child {
            program,
            args: vec!["rank".to_owned()],
            environment: settings.environment,
        },
        checkpoint_ms: settings.checkpoint_ms.unwrap_or(defaults.checkpoint_ms),
        gang_address: settings.gang_address,
        traces: otlp.traces(),
        memory_bytes: settings.memory_bytes,
        gflops: settings.gflops,
        link: settings.link.map(|link| croft_proto::v1::Link {
            name: link.name,
            bytes_per_s: link.bytes_per_s as u64,
            latency_ns: (link.latency_s * 1e9) as u64,
        }),
    };
    let mut interrupts = Interrupts::listen()?;
    let stop = CancellationToken::new();
    let run = croft_worker::run(config, stop.clone());
    tokio::pin!(run);
    let outcome = tokio::select! {
        outcome = &mut run => outcome,
        _ = interrupts.next() => {
            stop.cancel();
            run.await
        }
        moved = settings.reach.guard.moved() => {
            stop.cancel();
            tracing::error!("{moved}");
            run.await.and(Err(moved.into()))
        }
        () = stdin_closed(), if until_stdin_closes => {
            stop.cancel();
            run.await
        }
    };
    otlp.finish().await;
    outcome.map_err(|error| match error {
        croft_worker::Error::Denied { .. } => Failed::with(Exit::Denied, error.to_string()).help(
            "a worker's certificate is for its own name: leave --name out, or join with a token for this one",
        ),
        croft_worker::Error::Device { what, remedy } => Failed::with(Exit::Usage, what).help(remedy),
        croft_worker::Error::Channel(_) | croft_worker::Error::Guarded { .. } => {
            Failed::with(Exit::Usage, error.to_string())
        }
        _ => Failed::new(error.to_string()),
    })?;
    Ok(Exit::Ok)
}

/// Devices as their owner writes them.
pub(super) fn devices(text: &str) -> Result<Devices, Failed> {
    text.parse().map_err(|e| {
        Failed::with(Exit::Usage, format!("devices '{text}': {e}")).help(
            "give `auto`, or some of `cpu`, `cpu:N`, `cuda`, `cuda:INDEX` and `cuda:GPU-…`, with commas",
        )
    })
}

fn security(files: Option<Files>) -> Result<Security, Failed> {
    Security::of(files).map_err(|error| Failed::with(Exit::Usage, error.to_string()))
}

/// Returns when nobody holds the other end of standard input any more.
async fn stdin_closed() {
    // The thread owns nothing that must be finished: the runtime leaves it behind at its end.
    let read = || std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
    if let Err(panic) = tokio::task::spawn_blocking(read).await {
        tracing::warn!(%panic, "standard input");
    }
}

fn make_store_folder(url: &str) -> Result<(), Failed> {
    let path = url::Url::parse(url).ok().and_then(|u| u.to_file_path().ok()).ok_or_else(|| {
        Failed::with(Exit::Usage, format!("artifacts '{url}' is no absolute folder"))
            .help("give file:///DIR or s3://BUCKET[/PREFIX]")
    })?;
    make(&path)
}

fn make(path: &Path) -> Result<(), Failed> {
    std::fs::create_dir_all(path).map_err(|e| Failed::new(format!("{}: {e}", path.display())))
}
