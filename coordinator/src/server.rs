//! The coordinator as a whole: bound, run, and taken down in good order. It owns every task that it starts.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Duration};

use croft_core::farm::Farm;
use croft_proto::{
    DESCRIPTORS, MESSAGE_BYTES_MAX,
    channel::{Incoming, Security},
    identity::Authority,
    v1,
};
use object_store::ObjectStore;
use tokio::{
    net::TcpListener,
    runtime,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::transport::{Server, server::Router};
use tower::layer::util::{Identity, Stack};

use crate::{
    api::{self, Book, GateLayer, TooLarge},
    clock::Clock,
    config::{Config, without_secrets},
    effects::Effects,
    error::Error,
    handle::{self, Handle},
    logs::{Keeper, Listeners},
    metrics::{self, Metrics},
    publish::Publisher,
    run::{Desk, Loop},
    sessions::{Greeting, Sessions},
    state::{Embedded, Memory, Seat, Standing},
    store_id, sweep,
    trace::{Started, Tracer},
    updates::Updates,
};

/// Requests of one connection at once.
const REQUESTS: usize = 1_024;
/// Bytes of a message of somebody who may have no certificate.
const SMALL: usize = 32 << 10;
/// Bytes of what a worker says at once; its longest is the list of a clip's files. Two bytes on the wire may be a device
/// of a hundred in memory.
const SAID: usize = 1 << 20;
/// A connection is probed this often, and dropped when the probe goes unanswered as long.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// The mind's timers want no finer one.
const TICK: Duration = Duration::from_millis(croft_core::step::TICK_MS);
/// Publications in flight at the end may take this long.
const LAST_PUBLICATIONS: Duration = Duration::from_secs(10);
/// Open requests at the end may take this long.
const LAST_REQUESTS: Duration = Duration::from_secs(2);

/// A coordinator that listens already and runs when told.
#[derive(Debug)]
pub struct Coordinator {
    config: Config,
    listener: TcpListener,
    address: SocketAddr,
    store: Arc<dyn ObjectStore>,
    store_id: String,
    seat: Seat,
    authority: Option<Arc<Authority>>,
    metrics: Option<TcpListener>,
}

impl Coordinator {
    /// Opens the store and the port; a client may dial from here on and is served once it runs.
    ///
    /// # Errors
    /// When the address is not loopback in plaintext, is taken, or the store can neither be read nor written.
    pub async fn bind(config: Config) -> Result<Self, Error> {
        let listen = config.listen;
        if !listen.ip().is_loopback() && matches!(config.security, Security::Plaintext) {
            return Err(Error::PlaintextRefused { listen });
        }
        let url = without_secrets(&config.artifacts);
        let store = croft_proto::store::open(&config.artifacts, &config.reach).await?;
        let store_id = store_id::of(&*store).await.map_err(|source| Error::StoreId { url, source })?;
        let listener = TcpListener::bind(listen).await.map_err(|source| Error::Listen { listen, source })?;
        let address = listener.local_addr().map_err(|source| Error::Listen { listen, source })?;
        let metrics = listen_for_metrics(&config).await?;
        let seat = take_seat(&config, advertised(&config, address)).await?;
        let authority = config.authority.as_deref().map(Authority::open).transpose()?;
        let authority = authority.map(Arc::new);
        Ok(Self { config, listener, address, store, store_id, seat, authority, metrics })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`; then ends every stream, lets publications in flight finish, and returns when all that
    /// it started has ended.
    ///
    /// # Errors
    /// When the state store fails, the server fails, or a part of it panics.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let clock = Clock::start();
        let tracer = Tracer::new(self.config.traces.clone(), clock);
        let metrics = Arc::new(Metrics::new(self.metrics.is_some(), self.config.span_counts.clone()));
        let listeners = Arc::<Listeners>::default();
        let tasks = TaskTracker::new();
        let (handle, inbox) = handle::inbox();
        // Ends the streams of workers and watchers, and the server. The guards are for a caller that drops this future.
        let closing = CancellationToken::new();
        let _closing_guard = closing.clone().drop_guard();

        let seed = clock.seed();
        let farm_config = croft_core::farm::Config {
            lease_ms: self.config.lease_ms,
            between: self.config.between.clone(),
            ..croft_core::farm::Config::default()
        };
        let greeting = Greeting {
            lease_ms: self.config.lease_ms,
            artifacts: without_secrets(&self.config.artifacts),
            store_id: self.store_id.clone(),
        };
        // Until the store says otherwise nobody leads, and nothing is taken.
        let desk = Desk {
            farm: Farm::new(farm_config.clone(), seed),
            sessions: Sessions::new(greeting),
            updates: Updates::new(seed),
            clock,
            standing: Standing::Follower { leader: None },
            trouble: None,
            tracer: tracer.clone(),
            metrics: metrics.clone(),
            listeners: listeners.clone(),
            started: Started::default(),
        };
        let publisher = Publisher::new(self.store.clone(), self.config.publications);
        tasks.spawn(sweep::run(handle.clone(), self.store.clone(), publisher.clone(), closing.clone()));
        let effects = Effects {
            publisher,
            handle: handle.weak(),
            tasks: tasks.clone(),
            runtime: runtime::Handle::current(),
        };
        let router = self.router(&handle, &tasks, &closing, seed, tracer, (&metrics, &listeners))?;
        let mut parts = JoinSet::new();
        let brain = Loop {
            desk,
            inbox,
            seat: self.seat,
            effects,
            config: farm_config,
            pending: None,
            backlog: VecDeque::new(),
            unbooked: VecDeque::new(),
            looked: None,
        };
        parts.spawn_blocking(move || brain.run());
        let ticking = handle.clone();
        parts.spawn(async move {
            let mut beat = interval(TICK);
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = beat.tick() => ticking.tick(),
                    () = ticking.ended() => return Ok(()),
                }
            }
        });

        if let Some(listener) = self.metrics {
            parts.spawn(metrics::serve(listener, metrics, closing.clone()));
        }
        let incoming = Incoming::new(self.listener, self.config.security.clone());
        let stopping = closing.clone();
        parts.spawn(async move {
            let serve = router.serve_with_incoming_shutdown(incoming, stopping.clone().cancelled_owned());
            let overdue = async {
                stopping.cancelled().await;
                sleep(LAST_REQUESTS).await;
            };
            tokio::select! {
                served = serve => served.map_err(Error::from),
                () = overdue => Ok(()),
            }
        });
        tracing::info!(address = %self.address, artifacts = without_secrets(&self.config.artifacts), "listening");

        // Neither part ends by itself: one that did takes the other with it.
        let mut outcome = tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            ended = parts.join_next() => flatten(ended),
        };
        closing.cancel();
        tasks.close();
        if timeout(LAST_PUBLICATIONS, tasks.wait()).await.is_err() {
            tracing::warn!(left = tasks.len(), "publications were cut off; their tasks are rendered again");
        }
        handle.stop().await;
        while let Some(ended) = parts.join_next().await {
            outcome = outcome.and(flatten(Some(ended)));
        }
        outcome
    }

    fn router(
        &self,
        handle: &Handle,
        tasks: &TaskTracker,
        end: &CancellationToken,
        first_session: u64,
        tracer: Tracer,
        (metrics, listeners): (&Arc<Metrics>, &Arc<Listeners>),
    ) -> Result<Router<Stack<GateLayer, Identity>>, Error> {
        let book = Book::new(handle.clone());
        let reading = api::Reading::new(handle.clone(), listeners.clone(), self.store.clone(), end.clone());
        let jobs = api::Jobs::new(handle.clone(), end.clone(), reading, tracer);
        let artifacts = api::Artifacts::new(handle.clone(), self.store.clone());
        let farm = api::Farm {
            handle: handle.clone(),
            artifacts: without_secrets(&self.config.artifacts),
            advertise: advertised(&self.config, self.address),
            state_store: self.seat.kind,
        };
        let identity = api::Identity::new(handle.clone(), book.clone(), self.authority.clone());
        let hears = api::Hears {
            listeners: listeners.clone(),
            keeper: Keeper::new(self.store.clone(), tasks.clone()),
            metrics: metrics.clone(),
            book: book.clone(),
        };
        let dispatch = api::Dispatch::new(handle.clone(), tasks.clone(), end.clone(), first_session, hears);
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .build_v1()?;
        // Python's reflection client still asks the older one.
        let reflection_before_v1 = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .build_v1alpha()?;
        // Healthy means that it answers: a coordinator that cannot commit ends.
        let (_reporter, health) = tonic_health::server::health_reporter();
        let max = MESSAGE_BYTES_MAX;
        Ok(Server::builder()
            .layer(GateLayer(book))
            .concurrency_limit_per_connection(REQUESTS)
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .http2_keepalive_timeout(Some(KEEP_ALIVE))
            .add_service(health)
            .add_service(reflection)
            .add_service(reflection_before_v1)
            .add_service(TooLarge(v1::jobs_server::JobsServer::new(jobs).max_decoding_message_size(max)))
            .add_service(v1::artifacts_server::ArtifactsServer::new(artifacts).max_decoding_message_size(max))
            .add_service(v1::farm_server::FarmServer::new(farm))
            .add_service(v1::identity_server::IdentityServer::new(identity).max_decoding_message_size(SMALL))
            .add_service(v1::dispatch_server::DispatchServer::new(dispatch).max_decoding_message_size(SAID)))
    }
}

/// In the clear, so for this machine only; who scrapes from elsewhere goes through something that is not.
async fn listen_for_metrics(config: &Config) -> Result<Option<TcpListener>, Error> {
    let Some(listen) = config.metrics_listen else { return Ok(None) };
    if !listen.ip().is_loopback() {
        return Err(Error::PlaintextRefused { listen });
    }
    let listener = TcpListener::bind(listen).await.map_err(|source| Error::Listen { listen, source })?;
    tracing::info!(metrics = %listener.local_addr().unwrap_or(listen), "metrics are served");
    Ok(Some(listener))
}

/// How others reach this coordinator.
fn advertised(config: &Config, address: SocketAddr) -> String {
    config.advertise.clone().unwrap_or_else(|| address.to_string())
}

/// Opens the state store that the settings name.
async fn take_seat(config: &Config, advertise: String) -> Result<Seat, Error> {
    if !config.etcd.is_empty() {
        return etcd_seat(config, advertise).await;
    }
    let Some(folder) = &config.data_dir else {
        return Ok(Seat::alone(Box::<Memory>::default(), "memory"));
    };
    std::fs::create_dir_all(folder)
        .map_err(|source| Error::DataFolder { place: folder.display().to_string(), source })?;
    let path = folder.join("state.redb");
    // A database is opened with a few system calls, once.
    Ok(Seat::alone(Box::new(Embedded::open(&path)?), "redb"))
}

#[cfg(feature = "etcd")]
async fn etcd_seat(config: &Config, advertise: String) -> Result<Seat, Error> {
    let settings = crate::state::EtcdConfig {
        members: config.etcd.clone(),
        tls: config.etcd_tls.clone(),
        guard: config.reach.guard.clone(),
        farm: config.farm.clone(),
        advertise,
    };
    Ok(crate::state::Etcd::seat(settings).await?)
}

#[cfg(not(feature = "etcd"))]
async fn etcd_seat(_config: &Config, _advertise: String) -> Result<Seat, Error> {
    Err(Error::NoEtcd)
}

fn flatten(ended: Option<Result<Result<(), Error>, tokio::task::JoinError>>) -> Result<(), Error> {
    match ended {
        Some(Ok(outcome)) => outcome,
        Some(Err(panicked)) => Err(panicked.into()),
        None => Ok(()),
    }
}
