//! One stream to one coordinator, from the hello to its end. Assignments go to devices, what devices say goes out.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use croft_proto::{
    PROTOCOL,
    store::Reach,
    v1::{
        Assignments, AttemptRef, CoordinatorMessage, DeviceInfo, GangJoin, Hello, LogWish, Revoke, Welcome,
        WorkerMessage, coordinator_message::What, dispatch_client::DispatchClient,
        worker_message::What as ToCoordinator,
    },
};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming, transport::Channel};

use crate::{
    convert,
    device::{Orders, Said},
    eyes::Eyes,
    journal::Journal,
    nimby,
    target::Target,
};

/// Messages on their way out; a coordinator that does not take them is as good as gone.
const QUEUE: usize = 256;
/// A message that cannot be put into the queue for this long ends the stream.
const STUCK: Duration = Duration::from_secs(20);
/// What a coordinator gets to answer a hello. One that recovers a large farm takes longer, and is dialled again.
const ANSWER: Duration = Duration::from_secs(3);
/// What a coordinator gets to hear a goodbye and end the stream.
const FAREWELL: Duration = Duration::from_secs(2);
/// Heartbeats within one lease.
const BEATS: u32 = 4;

/// What lives from stream to stream.
#[derive(Debug)]
pub(crate) struct Hands {
    pub(crate) hello: Hello,
    pub(crate) devices: Vec<Orders>,
    pub(crate) said: mpsc::Receiver<Said>,
    pub(crate) progress: mpsc::Receiver<WorkerMessage>,
    /// Why its owner wants no work on this machine.
    pub(crate) nimby: watch::Receiver<nimby::Reason>,
    /// How the store is reached, where it can be.
    pub(crate) reach: Reach,
    pub(crate) target: watch::Sender<Option<Target>>,
    /// What runs, by fence and rank, and on which device.
    pub(crate) running: BTreeMap<(u64, u32), (AttemptRef, u32)>,
    pub(crate) journal: Journal,
    pub(crate) eyes: Arc<Eyes>,
}

/// How a stream ended.
#[derive(Debug)]
pub(crate) enum End {
    /// It broke; another may follow. Whether it had been welcomed.
    Broken {
        welcomed: bool,
        why: String,
    },
    Refused {
        reason: String,
    },
    /// Whatever it says, its certificate does not allow it.
    Denied {
        reason: String,
    },
    Shutdown,
}

impl Hands {
    /// Holds one stream until it ends.
    pub(crate) async fn session(&mut self, channel: Channel, shutdown: &CancellationToken) -> End {
        let (out, outgoing) = mpsc::channel(QUEUE);
        let opened = shutdown.run_until_cancelled(self.open(channel, &out, outgoing)).await;
        let (welcome, mut told) = match opened {
            Some(Ok(opened)) => opened,
            Some(Err(end)) => return end,
            None => return End::Shutdown,
        };
        tracing::info!(lease_ms = welcome.lease_ms, "welcomed");
        match self.serve(&welcome, &out, &mut told, shutdown).await {
            Ok(End::Shutdown) => {
                drop(out);
                // A stream dropped at once would take the goodbye with it.
                let heard = async { while let Ok(Some(_)) = told.message().await {} };
                let _ = timeout(FAREWELL, heard).await;
                End::Shutdown
            }
            Ok(end) => end,
            // What runs, runs on: whether it is still wanted is said on the next stream, and fences see to the rest.
            Err(why) => End::Broken { welcomed: true, why },
        }
    }

    /// Says hello and hears the welcome; then devices know where to save.
    async fn open(
        &self,
        channel: Channel,
        out: &mpsc::Sender<WorkerMessage>,
        outgoing: mpsc::Receiver<WorkerMessage>,
    ) -> Result<(Welcome, Streaming<CoordinatorMessage>), End> {
        let broken = |why: String| End::Broken { welcomed: false, why };
        push(out, convert::hello(self.hello())).await.map_err(broken)?;
        let mut client = DispatchClient::new(channel.clone());
        let opened = timeout(ANSWER, client.session(ReceiverStream::new(outgoing))).await;
        let mut told = match opened {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return Err(ended(&status, false)),
            Err(_) => return Err(broken("no answer to the hello".to_owned())),
        };
        let welcome = match timeout(ANSWER, told.message()).await {
            Ok(Ok(Some(CoordinatorMessage { what: Some(What::Welcome(welcome)) }))) => welcome,
            Ok(Ok(Some(CoordinatorMessage { what: Some(What::Refused(refused)) }))) => {
                return Err(End::Refused { reason: refused.reason });
            }
            Ok(Ok(_)) => return Err(broken("the coordinator said no welcome".to_owned())),
            Ok(Err(status)) => return Err(ended(&status, false)),
            Err(_) => return Err(broken("no answer to the hello".to_owned())),
        };
        if welcome.protocol != PROTOCOL {
            let reason =
                format!("it speaks protocol {}, this worker {PROTOCOL}: update one", welcome.protocol);
            return Err(End::Refused { reason });
        }
        let target = Target::choose(&welcome, channel, &self.reach).await;
        self.target.send_replace(Some(target));
        Ok((welcome, told))
    }

    fn hello(&self) -> Hello {
        let running = self.running.values().map(|(attempt, _)| attempt).chain(self.journal.attempts());
        Hello { running: running.cloned().collect(), ..self.hello.clone() }
    }

    /// Everything after the welcome. `Err` says why the stream is of no more use.
    async fn serve(
        &mut self,
        welcome: &Welcome,
        out: &mpsc::Sender<WorkerMessage>,
        told: &mut Streaming<CoordinatorMessage>,
        shutdown: &CancellationToken,
    ) -> Result<End, String> {
        self.eyes.logs.nobody_listens();
        for message in self.journal.messages() {
            push(out, message.clone()).await?;
        }
        for info in &self.hello.devices {
            push(out, convert::resident(info.index, info.resident_models.clone())).await?;
        }
        // Said with every stream: what was said on another may not have arrived.
        let reason = self.nimby.borrow_and_update().clone();
        push(out, convert::nimby(reason)).await?;
        let mut beat = interval(Duration::from_millis(welcome.lease_ms.max(100)) / BEATS);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let eyes = Arc::clone(&self.eyes);
        loop {
            tokio::select! {
                message = told.message() => match message {
                    Ok(Some(CoordinatorMessage { what: Some(what) })) => {
                        if let Some(end) = self.take(what, out).await? {
                            return Ok(end);
                        }
                    }
                    // Of a newer coordinator.
                    Ok(Some(CoordinatorMessage { what: None })) => {}
                    Ok(None) => return Err("the coordinator ended the stream".to_owned()),
                    Err(status) => return Ok(ended(&status, true)),
                },
                Some(said) = self.said.recv() => {
                    self.say_logs(out);
                    let message = self.note(said);
                    push(out, message).await?;
                }
                () = eyes.logs.stirred() => self.say_logs(out),
                Some(progress) = self.progress.recv() => push(out, progress).await?,
                Ok(()) = self.nimby.changed() => {
                    let reason = self.nimby.borrow_and_update().clone();
                    push(out, convert::nimby(reason)).await?;
                }
                _ = beat.tick() => {
                    self.say_logs(out);
                    push(out, convert::heartbeat(self.eyes.figures())).await?;
                }
                () = shutdown.cancelled() => {
                    // Said in good order, so that nobody waits for the lease.
                    push(out, convert::goodbye()).await?;
                    return Ok(End::Shutdown);
                }
            }
        }
    }

    /// Acts on one message of the coordinator.
    async fn take(&mut self, what: What, out: &mpsc::Sender<WorkerMessage>) -> Result<Option<End>, String> {
        match what {
            What::Assignments(Assignments { assignments }) => {
                for assignment in assignments {
                    let Some(attempt) = assignment.attempt.clone() else { continue };
                    let device = assignment.device;
                    self.running.insert((attempt.fence, attempt.rank), (attempt.clone(), device));
                    let given = match self.devices.get(device as usize) {
                        Some(orders) => orders.assignments.try_send(assignment).map_err(|e| e.to_string()),
                        None => Err("there is no such device".to_owned()),
                    };
                    if let Err(why) = given {
                        let failure = convert::failure(
                            &self.hello.worker,
                            device,
                            attempt.rank,
                            croft_proto::v1::ExitCause::Yielded,
                            format!("device {device} takes no assignment: {why}"),
                            "",
                        );
                        let message = self.note(Said::Ended(
                            attempt.clone(),
                            Box::new(convert::failed(&attempt, failure, Bytes::new())),
                        ));
                        push(out, message).await?;
                    }
                }
            }
            What::Revoke(revoke) => self.revoke(&revoke),
            What::Join(join) => self.join(join),
            What::LogWish(LogWish { attempt, on }) => {
                self.eyes.logs.wish(attempt.map_or(0, |attempt| attempt.fence), on);
            }
            What::Refused(refused) => return Ok(Some(End::Refused { reason: refused.reason })),
            What::Welcome(_) => return Err("a second welcome".to_owned()),
        }
        Ok(None)
    }

    /// All ranks of an attempt that are here are revoked.
    fn revoke(&mut self, revoke: &Revoke) {
        let fence = revoke.attempt.as_ref().map_or(0, |attempt| attempt.fence);
        // Whatever it is, the coordinator has heard of its end or wants no more of it.
        self.journal.heard(fence);
        for (_, device) in self.running.range((fence, 0)..=(fence, u32::MAX)).map(|(_, at)| at) {
            if let Some(orders) = self.devices.get(*device as usize) {
                // A full queue means that as many revokes are being acted on already.
                let _ = orders.revokes.try_send(revoke.clone());
            }
        }
    }

    fn join(&mut self, join: GangJoin) {
        let Some(rank) = join.attempt.as_ref().map(|attempt| (attempt.fence, attempt.rank)) else { return };
        let device = self.running.get(&rank).map(|(_, device)| *device);
        if let Some(orders) = device.and_then(|device| self.devices.get(device as usize)) {
            // What does not go in is said again.
            let _ = orders.joins.try_send(join);
        }
    }

    /// Hands on what ranks said, as far as there is room. A log never makes the stream wait: what is left goes with the
    /// next line or heartbeat, or is dropped for newer lines.
    fn say_logs(&self, out: &mpsc::Sender<WorkerMessage>) {
        self.eyes.logs.pieces(|piece| {
            out.capacity() > QUEUE / 2 && out.try_send(convert::message(ToCoordinator::Log(piece))).is_ok()
        });
    }

    /// Remembers what a device said; gives the message that tells it.
    pub(crate) fn note(&mut self, said: Said) -> WorkerMessage {
        match said {
            Said::Ended(attempt, message) => {
                self.running.remove(&(attempt.fence, attempt.rank));
                self.eyes.logs.close(&attempt);
                self.journal.ended(attempt, (*message).clone());
                *message
            }
            Said::Resident(index, models) => {
                if let Some(info) = device(&mut self.hello.devices, index) {
                    info.resident_models.clone_from(&models);
                }
                convert::resident(index, models)
            }
        }
    }
}

fn device(devices: &mut [DeviceInfo], index: u32) -> Option<&mut DeviceInfo> {
    devices.iter_mut().find(|device| device.index == index)
}

/// A certificate that has run out may be renewed or replaced while the worker waits; one of another worker stays that.
fn ended(status: &Status, welcomed: bool) -> End {
    let why = status.message().to_owned();
    match status.code() {
        Code::PermissionDenied => End::Denied { reason: why },
        _ => End::Broken { welcomed, why },
    }
}

async fn push(out: &mpsc::Sender<WorkerMessage>, message: WorkerMessage) -> Result<(), String> {
    match timeout(STUCK, out.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err("the stream is closed".to_owned()),
        Err(_) => Err("the coordinator takes no messages".to_owned()),
    }
}
