//! Workers: each speaks for itself, and is gone when its certificate is.

use std::time::Duration;

use croft_proto::{
    PROTOCOL,
    channel::{Dial, Files, Security, dial},
    egress::Guard,
    identity::Folder,
    v1::{
        AttemptDone, AttemptRef, CoordinatorMessage, DeviceInfo, Hello, PutArtifactHeader,
        PutArtifactRequest, WorkerMessage, artifacts_client::ArtifactsClient, coordinator_message,
        dispatch_client::DispatchClient, put_artifact_request::Part, worker_message::What,
    },
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, transport::Channel};

use super::{PATIENCE, Studio, certs, until};
use crate::house::{ends, shapes};

/// A worker that says what the test says.
struct Hands {
    say: mpsc::Sender<WorkerMessage>,
    told: Streaming<CoordinatorMessage>,
    channel: Channel,
}

impl Hands {
    /// With `certificate`'s identity and the hello of `name`.
    async fn dial(studio: &Studio, certificate: &str, name: &str) -> Self {
        let files = Files::from(&Folder(studio.identity(certificate)));
        let how = Dial {
            guard: Guard::default(),
            security: Security::of(Some(files)).expect("an identity"),
            pinned: None,
            connect: Duration::from_secs(5),
            keep_alive: Duration::from_secs(5),
            window: None,
        };
        let channel = dial(&studio.at().parse().expect("an address"), &how).await.expect("it is there");
        let (say, saying) = mpsc::channel(8);
        let devices = vec![DeviceInfo { kind: "cpu".to_owned(), ..DeviceInfo::default() }];
        let hello = Hello {
            worker: name.to_owned(),
            protocol_min: PROTOCOL,
            protocol_max: PROTOCOL,
            devices,
            incarnation: name.to_owned(),
            ..Hello::default()
        };
        say.send(WorkerMessage { what: Some(What::Hello(hello)) }).await.expect("room");
        let mut client = DispatchClient::new(channel.clone());
        let told = client.session(ReceiverStream::new(saying)).await.expect("a worker's certificate");
        Self { say, told: told.into_inner(), channel }
    }

    async fn hears(&mut self) -> Result<coordinator_message::What, Status> {
        let heard = timeout(PATIENCE, self.told.message()).await.expect("in time")?;
        Ok(heard.expect("the stream goes on").what.expect("a known message"))
    }

    async fn is_given(&mut self) -> AttemptRef {
        loop {
            if let coordinator_message::What::Assignments(given) = self.hears().await.expect("a stream") {
                return given.assignments[0].attempt.clone().expect("an attempt");
            }
        }
    }

    async fn refusal(&mut self) -> Status {
        loop {
            if let Err(status) = self.hears().await {
                return status;
            }
        }
    }
}

#[tokio::test]
async fn a_worker_speaks_for_itself_only() {
    let studio = Studio::open();
    for name in ["ws-1", "ws-2"] {
        studio.issue(&[name, "--role", "worker"]);
    }
    let status = Hands::dial(&studio, "ws-2", "ws-1").await.refusal().await;
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    studio.asserts_refused("worker/ws-2 Dispatch/Session PERMISSION_DENIED OTHER_WORKER");

    ends(studio.by("sam", &["submit"]).arg(shapes(studio.dir.path(), "clips", 1, 1)), 0);
    let attempt = Hands::dial(&studio, "ws-1", "ws-1").await;
    let mut owner = attempt;
    let attempt = owner.is_given().await;
    let mut thief = Hands::dial(&studio, "ws-2", "ws-2").await;
    assert!(matches!(thief.hears().await, Ok(coordinator_message::What::Welcome(_))));

    // A file for it, and its end: both are the owner's to give.
    let header = PutArtifactHeader { attempt: Some(attempt.clone()), path: "s1/0001.png".to_owned() };
    let parts = [Part::Header(header), Part::Data(b"not a picture".to_vec().into())];
    let parts = parts.map(|part| PutArtifactRequest { part: Some(part) });
    let put = ArtifactsClient::new(thief.channel.clone()).put_artifact(tokio_stream::iter(parts)).await;
    assert_eq!(put.expect_err("another's attempt").code(), Code::PermissionDenied);
    let done = AttemptDone { attempt: Some(attempt), ..AttemptDone::default() };
    thief.say.send(WorkerMessage { what: Some(What::Done(done)) }).await.expect("room");
    let status = thief.refusal().await;
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    studio.asserts_refused("worker/ws-2 Artifacts/PutArtifact PERMISSION_DENIED OTHER_WORKER");
    let tasks = studio.json(&["tasks", "clips"]);
    assert_eq!(tasks["items"][0]["state"], "RUNNING", "{tasks}");
}

#[test]
fn a_revoked_worker_is_cut_off_and_its_clip_goes_elsewhere() {
    let mut studio = Studio::open();
    studio.worker("one");
    studio.worker("two");
    ends(studio.by("sam", &["submit"]).arg(shapes(studio.dir.path(), "clips", 1, 500)), 0);
    let running = |studio: &Studio| {
        let tasks = studio.json(&["tasks", "clips"]);
        let attempts = tasks["items"][0]["attempts"].as_array().cloned().expect("a list");
        let device = attempts.iter().rfind(|it| it["cause"] == "").map(|it| it["device"].clone());
        let device = device.and_then(|device| device.as_str().map(str::to_owned))?;
        device.split('/').nth(1).map(str::to_owned)
    };
    let mut first = None;
    until("somebody renders it", || {
        first = running(&studio);
        first.is_some()
    });
    let first = first.expect("just found");
    certs(studio.dir.path(), &["revoke", &format!("worker/{first}")]);
    until("the other renders it", || running(&studio).is_some_and(|now| now != first));
    until("its own log says why", || studio.house.log(&first).contains("was revoked"));
    studio.asserts_refused(&format!("? worker/{first} Dispatch/Session UNAUTHENTICATED CERTIFICATE_REVOKED"));
}
