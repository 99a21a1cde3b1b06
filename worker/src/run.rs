//! A worker's life: claim the folder, start the devices, dial, hold the stream, dial again.

use std::{net::IpAddr, sync::Arc, time::Duration};

use croft_proto::{MESSAGE_BYTES_MAX, PROTOCOL, v1::Hello};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use crate::{
    Config, Error,
    backoff::Backoff,
    config::DEVICES_MAX,
    device::{Device, Orders, WAITING},
    inventory,
    journal::Journal,
    nimby,
    scratch::Scratch,
    session::{End, Hands},
};

/// Words of devices that wait to be said.
const SAID: usize = 1024;
/// A coordinator that does not take a connection within this is not there.
const CONNECT: Duration = Duration::from_secs(2);
/// A silent connection is probed this often, and given up when the probe goes unanswered as long: a leader that hangs
/// must not keep its workers from the next one.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// What devices get to end their ranks.
const END: Duration = Duration::from_secs(5);

/// Works until `shutdown`, through every interruption of the connection.
///
/// # Errors
/// What no waiting would mend: a bad address, a folder that cannot be used, a coordinator that refuses this worker.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let addresses: Vec<String> =
        config.coordinators.iter().map(|address| url(address)).collect::<Result<_, _>>()?;
    let (count, threads) = config.shares();
    if count == 0 || count > DEVICES_MAX {
        return Err(Error::NoDevices { max: DEVICES_MAX });
    }
    let gang_address =
        config.gang_address.unwrap_or_else(|| inventory::address_towards(&config.coordinators));
    let scratch = Arc::new(Scratch::claim(&config.data_dir)?);
    let (target, targets) = watch::channel(None);
    let (said, devices_said) = mpsc::channel(SAID);
    let (progress, steps) = mpsc::channel(SAID);
    let stop = shutdown.child_token();
    let worker: Arc<str> = config.name.as_str().into();
    let mut tasks = JoinSet::new();
    let mut devices = Vec::new();
    for index in 0..count {
        let (assignments, given) = mpsc::channel(WAITING);
        let (revokes, revoked) = mpsc::channel(WAITING);
        let (joins, joined) = watch::channel(None);
        devices.push(Orders { assignments, revokes, joins });
        let device = Device {
            index,
            worker: Arc::clone(&worker),
            threads,
            program: config.rank.clone(),
            scratch: Arc::clone(&scratch),
            target: targets.clone(),
            assignments: given,
            revokes: revoked,
            joins: joined,
            said: said.clone(),
            progress: progress.clone(),
            shutdown: stop.clone(),
            checkpoint_ms: config.checkpoint_ms,
            memory_bytes: config.memory_bytes,
            gang_address,
        };
        tasks.spawn(device.run());
    }
    let (owner, nimby) = watch::channel(nimby::read(&config.data_dir));
    tasks.spawn(nimby::look(config.data_dir.clone(), owner));
    let hands = Hands {
        nimby,
        hello: Hello {
            worker: config.name.clone(),
            host: inventory::host_name(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol_min: PROTOCOL,
            protocol_max: PROTOCOL,
            devices: inventory::devices(&config),
            tags: config.tags.clone(),
            running: Vec::new(),
            incarnation: Uuid::new_v4().to_string(),
            link: config.link.clone(),
        },
        devices,
        said: devices_said,
        progress: steps,
        target,
        running: std::collections::BTreeMap::new(),
        journal: Journal::default(),
    };
    let outcome = dial(hands, &addresses, &shutdown).await;
    stop.cancel();
    let _ = timeout(END, async { while tasks.join_next().await.is_some() {} }).await;
    outcome
}

/// Dials and holds streams until the end.
async fn dial(mut hands: Hands, addresses: &[String], shutdown: &CancellationToken) -> Result<(), Error> {
    let mut backoff = Backoff::of(addresses.len());
    for address in addresses.iter().cycle() {
        let end = match shutdown.run_until_cancelled(connect(address)).await {
            Some(Ok(channel)) => hands.session(channel, shutdown).await,
            Some(Err(error)) => End::Broken { welcomed: false, why: words(&error) },
            None => End::Shutdown,
        };
        match end {
            End::Shutdown => return Ok(()),
            End::Refused { reason } => return Err(Error::Refused { reason }),
            End::Broken { welcomed, why } => {
                if welcomed {
                    backoff.reset();
                }
                let chance = f64::from(Uuid::new_v4().as_bytes()[0]) / 255.0;
                let wait = backoff.next(chance);
                tracing::warn!(address, wait_ms = wait.as_millis(), "no stream: {why}");
                let waited = async {
                    let over = sleep(wait);
                    tokio::pin!(over);
                    loop {
                        // Devices work on meanwhile, and must not be held up by a queue that nobody reads.
                        tokio::select! {
                            () = &mut over => return,
                            Some(said) = hands.said.recv() => drop(hands.note(said)),
                            Some(_) = hands.progress.recv() => {}
                        }
                    }
                };
                tokio::select! {
                    () = waited => {}
                    () = shutdown.cancelled() => return Ok(()),
                }
            }
        }
    }
    Ok(())
}

async fn connect(url: &str) -> Result<Channel, tonic::transport::Error> {
    Endpoint::from_shared(url.to_owned())?
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .initial_stream_window_size(u32::try_from(MESSAGE_BYTES_MAX).expect("16 MiB"))
        .connect()
        .await
}

/// The transport's own words are "transport error"; why is in what it wraps.
fn words(error: &tonic::transport::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// Plaintext goes to this machine only.
fn url(address: &str) -> Result<String, Error> {
    let bad = || Error::Address { address: address.to_owned() };
    let bare = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
    let (host, port) = bare.rsplit_once(':').ok_or_else(bad)?;
    port.parse::<u16>().map_err(|_| bad())?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || host.contains("://") {
        return Err(bad());
    }
    let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if is_loopback {
        Ok(format!("http://{bare}"))
    } else {
        Err(Error::Plaintext { address: address.to_owned() })
    }
}

#[cfg(test)]
mod tests;
