//! A worker's life: claim the folder, start the devices, dial, hold the stream, dial again.

use std::{sync::Arc, time::Duration};

use croft_proto::{
    MESSAGE_BYTES_MAX, PROTOCOL,
    channel::{Address, Dial, Security, Trouble, dial},
    egress::Guard,
    v1::Hello,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Config, Error,
    backoff::Backoff,
    device::{self, Device},
    eyes::Eyes,
    inventory,
    journal::Journal,
    nimby, renew,
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
    let addresses = addresses(&config)?;
    let guard = &config.reach.guard;
    let how = how(guard.clone(), config.security.clone());
    let offered = inventory::look(&config).await?;
    for words in &offered.words {
        tracing::warn!("{words}");
    }
    let gang_address = match config.gang_address {
        Some(address) => address,
        None => inventory::address_towards(&addresses, guard).await,
    };
    let scratch = Arc::new(Scratch::claim(&config.data_dir)?);
    let eyes = Arc::new(Eyes::new(scratch.logs(), config.traces.clone()));
    let (target, targets) = watch::channel(None);
    let (said, devices_said) = mpsc::channel(SAID);
    let (progress, steps) = mpsc::channel(SAID);
    let stop = shutdown.child_token();
    let worker: Arc<str> = config.name.as_str().into();
    let mut tasks = JoinSet::new();
    let mut devices = Vec::new();
    let mut infos = Vec::new();
    for offer in offered.devices {
        let (told, inbox) = device::orders();
        devices.push(told);
        let device = Device {
            index: offer.info.index,
            worker: Arc::clone(&worker),
            threads: offer.info.threads,
            place: offer.place,
            program: config.rank.clone(),
            scratch: Arc::clone(&scratch),
            target: targets.clone(),
            said: said.clone(),
            progress: progress.clone(),
            shutdown: stop.clone(),
            checkpoint_ms: config.checkpoint_ms,
            memory_bytes: config.memory_bytes,
            gang_address,
            networks: guard.networks().clone(),
            eyes: Arc::clone(&eyes),
        };
        infos.push(offer.info);
        tasks.spawn(device.run(inbox));
    }
    let (owner, nimby) = watch::channel(nimby::read(&config.data_dir));
    tasks.spawn(nimby::look(config.data_dir.clone(), owner));
    let hands = Hands {
        nimby,
        eyes,
        hello: Hello {
            worker: config.name.clone(),
            host: inventory::host_name(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol_min: PROTOCOL,
            protocol_max: PROTOCOL,
            devices: infos,
            tags: config.tags.clone(),
            running: Vec::new(),
            incarnation: Uuid::new_v4().to_string(),
            link: offered.link,
        },
        devices,
        said: devices_said,
        progress: steps,
        reach: config.reach.clone(),
        target,
        running: std::collections::BTreeMap::new(),
        journal: Journal::default(),
    };
    let mut renewing = JoinSet::new();
    renewing.spawn(renew::run(addresses.clone(), how.clone()));
    let outcome = hold(hands, &addresses, &how, &shutdown).await;
    stop.cancel();
    renewing.shutdown().await;
    let _ = timeout(END, async { while tasks.join_next().await.is_some() {} }).await;
    outcome
}

/// Dials and holds streams until the end.
async fn hold(
    mut hands: Hands,
    addresses: &[Address],
    how: &Dial,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    let mut backoff = Backoff::of(addresses.len());
    for address in addresses.iter().cycle() {
        let end = match shutdown.run_until_cancelled(dial(address, how)).await {
            Some(Ok(channel)) => hands.session(channel, shutdown).await,
            Some(Err(error)) if error.trouble == Trouble::Refused => {
                return Err(Error::Guarded { address: address.clone(), source: error });
            }
            Some(Err(error)) => End::Broken { welcomed: false, why: error.to_string() },
            None => End::Shutdown,
        };
        match end {
            End::Shutdown => return Ok(()),
            End::Refused { reason } => return Err(Error::Refused { reason }),
            End::Denied { reason } => return Err(Error::Denied { reason }),
            End::Broken { welcomed, why } => {
                if welcomed {
                    backoff.reset();
                }
                let chance = f64::from(Uuid::new_v4().as_bytes()[0]) / 255.0;
                let wait = backoff.next(chance);
                tracing::warn!(%address, wait_ms = wait.as_millis(), "no stream: {why}");
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

/// How coordinators are dialled.
fn how(guard: Guard, security: Security) -> Dial {
    Dial {
        guard,
        security,
        pinned: None,
        connect: CONNECT,
        keep_alive: KEEP_ALIVE,
        window: Some(u32::try_from(MESSAGE_BYTES_MAX).expect("16 MiB")),
    }
}

fn addresses(config: &Config) -> Result<Vec<Address>, Error> {
    let parsed = config.coordinators.iter().map(|text| {
        let address: Address = text.parse()?;
        config.security.allows(&address)?;
        Ok(address)
    });
    parsed.collect()
}

#[cfg(test)]
mod tests;
