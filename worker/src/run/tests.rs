//! A worker's hands against a coordinator of a few lines: what must come again after a stream broke, and what ends it.

use std::{net::SocketAddr, time::Duration};

use croft_proto::{
    store::Reach,
    v1::{
        Assignment, Assignments, AttemptRef, CoordinatorMessage, Refused, Revoke, Welcome, WorkerMessage,
        coordinator_message::What as Tell,
        dispatch_server::{self, DispatchServer},
        worker_message::What,
    },
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

use super::*;
use crate::{attempt::Made, convert, device::Said};

/// Far beyond what any of this takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// The coordinator's end of one stream; dropping it ends the stream.
struct Stream {
    said: Streaming<WorkerMessage>,
    tell: mpsc::Sender<Result<CoordinatorMessage, Status>>,
}

impl Stream {
    /// What the worker says next, heartbeats aside.
    async fn says(&mut self) -> What {
        loop {
            let message = timeout(PATIENCE, self.said.message()).await.expect("in time").expect("whole");
            match message.expect("the stream goes on").what.expect("a known message") {
                What::Heartbeat(_) | What::Nimby(_) => {}
                what => return what,
            }
        }
    }

    async fn hello(&mut self) -> Hello {
        let What::Hello(hello) = self.says().await else { panic!("a stream begins with a hello") };
        hello
    }

    async fn tell(&self, what: Tell) {
        self.tell.send(Ok(CoordinatorMessage { what: Some(what) })).await.expect("it listens");
    }

    async fn welcome(&self) {
        let artifacts = "file:///no/such/folder".to_owned();
        let welcome = Welcome { protocol: PROTOCOL, lease_ms: 10_000, artifacts, ..Welcome::default() };
        self.tell(Tell::Welcome(welcome)).await;
    }
}

struct Streams(mpsc::Sender<Stream>);

#[tonic::async_trait]
impl dispatch_server::Dispatch for Streams {
    type SessionStream = ReceiverStream<Result<CoordinatorMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (tell, told) = mpsc::channel(8);
        let stream = Stream { said: request.into_inner(), tell };
        self.0.send(stream).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(told)))
    }
}

/// A worker with one device, which is played by the test.
struct House {
    streams: mpsc::Receiver<Stream>,
    assignments: mpsc::Receiver<Assignment>,
    say: mpsc::Sender<Said>,
    shutdown: CancellationToken,
    worker: JoinSet<Result<(), Error>>,
    _server: JoinSet<()>,
}

impl House {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address: SocketAddr = listener.local_addr().expect("bound");
        let (streams, arriving) = mpsc::channel(1);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let dispatch = DispatchServer::new(Streams(streams));
            let served = Server::builder().add_service(dispatch);
            served.serve_with_incoming(TcpListenerStream::new(listener)).await.expect("it serves");
        });
        let (orders, device::Inbox { assignments, .. }) = device::orders();
        let (say, said) = mpsc::channel(4);
        let hands = Hands {
            reach: Reach::default(),
            hello: Hello { worker: "ws-1".to_owned(), ..Hello::default() },
            devices: vec![orders],
            said,
            progress: mpsc::channel(4).1,
            nimby: watch::channel(None).1,
            target: watch::channel(None).0,
            running: std::collections::BTreeMap::new(),
            journal: Journal::default(),
            eyes: Arc::new(Eyes::new(std::path::Path::new("logs"), croft_proto::trace::Traces::default())),
        };
        let shutdown = CancellationToken::new();
        let mut worker = JoinSet::new();
        let token = shutdown.clone();
        worker.spawn(async move {
            hold(
                hands,
                &[address.to_string().parse().expect("an address")],
                &how(Guard::default(), Security::Plaintext),
                &token,
            )
            .await
        });
        Self { streams: arriving, assignments, say, shutdown, worker, _server: server }
    }

    async fn stream(&mut self) -> Stream {
        timeout(PATIENCE, self.streams.recv()).await.expect("in time").expect("the server lives")
    }

    /// A welcomed stream, on which the attempt with `fence` was assigned and begun.
    async fn running(&mut self, fence: u64) -> Stream {
        let mut stream = self.stream().await;
        assert_eq!(stream.hello().await.running, []);
        stream.welcome().await;
        let assignment = Assignment { attempt: Some(attempt(fence)), ..Assignment::default() };
        stream.tell(Tell::Assignments(Assignments { assignments: vec![assignment] })).await;
        let begun =
            timeout(PATIENCE, self.assignments.recv()).await.expect("in time").expect("an assignment");
        assert_eq!(begun.attempt, Some(attempt(fence)));
        stream
    }

    async fn done(&self, fence: u64) {
        let message = convert::done(&attempt(fence), Made::default());
        self.say.send(Said::Ended(attempt(fence), Box::new(message))).await.expect("it listens");
    }

    async fn end(mut self) -> Result<(), Error> {
        let ended = timeout(PATIENCE, self.worker.join_next()).await.expect("in time");
        ended.expect("a worker").expect("no panic")
    }
}

fn attempt(fence: u64) -> AttemptRef {
    AttemptRef { fence, attempt: 1, ..AttemptRef::default() }
}

fn is_done(what: &What, fence: u64) -> bool {
    matches!(what, What::Done(done) if done.attempt == Some(attempt(fence)))
}

#[tokio::test]
async fn a_report_made_while_disconnected_is_sent_after_reconnect() {
    let mut house = House::new().await;
    drop(house.running(7).await);
    house.done(7).await;
    let mut stream = house.stream().await;
    assert_eq!(stream.hello().await.running, [attempt(7)], "else it would be thought lost");
    stream.welcome().await;
    assert!(is_done(&stream.says().await, 7));
}

#[tokio::test]
async fn a_report_that_a_breaking_stream_swallowed_is_sent_again_until_it_is_answered() {
    let mut house = House::new().await;
    let mut stream = house.running(7).await;
    house.done(7).await;
    assert!(is_done(&stream.says().await, 7));
    drop(stream);
    let mut stream = house.stream().await;
    assert_eq!(stream.hello().await.running, [attempt(7)]);
    stream.welcome().await;
    assert!(is_done(&stream.says().await, 7));
    stream.tell(Tell::Revoke(Revoke { attempt: Some(attempt(7)), now: true })).await;
    drop(stream);
    assert_eq!(house.stream().await.hello().await.running, [], "it was answered");
}

#[tokio::test]
async fn what_still_runs_is_told_to_the_next_coordinator() {
    let mut house = House::new().await;
    drop(house.running(7).await);
    let mut stream = house.stream().await;
    assert_eq!(stream.hello().await.running, [attempt(7)]);
}

#[tokio::test]
async fn an_ending_worker_says_goodbye_and_waits_until_it_is_heard() {
    let mut house = House::new().await;
    let mut stream = house.running(7).await;
    house.shutdown.cancel();
    assert!(matches!(stream.says().await, What::Goodbye(_)));
    drop(stream);
    house.end().await.expect("a good end");
}

#[tokio::test]
async fn a_refused_worker_ends_and_says_why() {
    let mut house = House::new().await;
    let stream = house.stream().await;
    stream.tell(Tell::Refused(Refused { reason: "protocol 9".to_owned() })).await;
    let refused = house.end().await.expect_err("it cannot go on");
    assert!(matches!(&refused, Error::Refused { reason } if reason == "protocol 9"), "{refused}");
}

#[test]
fn plaintext_goes_to_loopback_only() {
    let dials = |text: &str| addresses(&Config { coordinators: vec![text.to_owned()], ..Config::default() });
    assert!(dials("127.0.0.1:7400").is_ok() && dials("http://localhost:1/").is_ok());
    for refused in ["farm.studio:7400", "https://127.0.0.1:7400", "127.0.0.1", ":7400", "a:b"] {
        assert!(matches!(dials(refused), Err(Error::Channel(_))), "{refused}");
    }
}
