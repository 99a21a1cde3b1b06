//! A coordinator on a free port with a store of its own, and a worker that does as the test says.

use std::time::Duration;

use croft_coordinator::{Config, Coordinator, Error};
use croft_proto::v1::{
    self, artifacts_client::ArtifactsClient, coordinator_message, dispatch_client::DispatchClient,
    farm_client::FarmClient, jobs_client::JobsClient, worker_message,
};
use tokio::{sync::mpsc, task::JoinHandle, task::JoinSet, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming, transport::Channel};

/// Whatever takes longer hangs.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct House {
    pub(crate) store: tempfile::TempDir,
    pub(crate) channel: Channel,
    stop: CancellationToken,
    role: JoinSet<Result<(), Error>>,
}

impl House {
    pub(crate) async fn open() -> Self {
        let store = tempfile::tempdir().unwrap();
        let config =
            Config { artifacts: url::Url::from_directory_path(store.path()).unwrap(), ..Config::default() };
        let coordinator = Coordinator::bind(config).await.unwrap();
        let address = format!("http://{}", coordinator.local_addr());
        let stop = CancellationToken::new();
        let mut role = JoinSet::new();
        role.spawn(coordinator.run(stop.clone()));
        let channel = Channel::from_shared(address).unwrap().connect().await.unwrap();
        Self { store, channel, stop, role }
    }

    pub(crate) fn jobs(&self) -> JobsClient<Channel> {
        let max = 200 << 20;
        JobsClient::new(self.channel.clone()).max_encoding_message_size(max).max_decoding_message_size(max)
    }

    pub(crate) fn artifacts(&self) -> ArtifactsClient<Channel> {
        ArtifactsClient::new(self.channel.clone())
    }

    pub(crate) fn farm(&self) -> FarmClient<Channel> {
        FarmClient::new(self.channel.clone())
    }

    pub(crate) async fn create(&self, spec: String) -> v1::Job {
        let request = v1::CreateJobRequest { spec, ..v1::CreateJobRequest::default() };
        self.jobs().create_job(request).await.unwrap().into_inner()
    }

    pub(crate) async fn watch(
        &self,
        name: &str,
        resume_token: &str,
    ) -> Result<Streaming<v1::JobEvent>, Status> {
        let request = v1::WatchJobRequest { name: name.to_owned(), resume_token: resume_token.to_owned() };
        Ok(self.jobs().watch_job(request).await?.into_inner())
    }

    /// Waits for the job's end, as a client does: by watching it.
    pub(crate) async fn settled(&self, name: &str) -> v1::Job {
        let mut events = self.watch(name, "").await.unwrap();
        let mut last = None;
        while let Some(event) = timeout(SOON, events.message()).await.unwrap().unwrap() {
            if let Some(v1::job_event::What::Job(job)) = event.what {
                last = Some(job);
            }
        }
        last.unwrap()
    }

    /// Ends it, and says how it ended.
    pub(crate) async fn close(mut self) -> Result<(), Error> {
        self.stop.cancel();
        timeout(SOON, self.role.join_next()).await.unwrap().unwrap().unwrap()
    }
}

/// `tasks` tasks that make nothing.
pub(crate) fn nothing(name: &str, tasks: u32) -> String {
    format!(
        "apiVersion: croft/v1\nkind: Job\nname: {name}\naxes:\n  seed: {{from: 0, count: {tasks}}}\nlayers:\n  \
         - name: main\n    model: builtin://noop\n    prompt: nothing\n    output: \"{{job}}/s{{seed}}\"\n"
    )
}

/// A worker's end of its stream.
pub(crate) struct Worker {
    said: mpsc::Sender<v1::WorkerMessage>,
    told: Streaming<v1::CoordinatorMessage>,
}

pub(crate) fn hello(name: &str, devices: u32) -> v1::Hello {
    let device = |index| v1::DeviceInfo { index, kind: "cpu".into(), ..v1::DeviceInfo::default() };
    v1::Hello {
        worker: name.into(),
        host: "here".into(),
        version: "0.0.0".into(),
        protocol_min: croft_proto::PROTOCOL,
        protocol_max: croft_proto::PROTOCOL,
        devices: (0..devices).map(device).collect(),
        incarnation: name.into(),
        ..v1::Hello::default()
    }
}

impl Worker {
    pub(crate) async fn dial(house: &House, hello: v1::Hello) -> Self {
        let (said, saying) = mpsc::channel(64);
        let told =
            DispatchClient::new(house.channel.clone()).session(ReceiverStream::new(saying)).await.unwrap();
        let worker = Self { said, told: told.into_inner() };
        worker.say(worker_message::What::Hello(hello)).await;
        worker
    }

    /// One that was welcomed.
    pub(crate) async fn join(house: &House, name: &str, devices: u32) -> (Self, v1::Welcome) {
        let mut worker = Self::dial(house, hello(name, devices)).await;
        let Some(coordinator_message::What::Welcome(welcome)) = worker.hear().await else {
            panic!("a welcome")
        };
        (worker, welcome)
    }

    pub(crate) async fn say(&self, what: worker_message::What) {
        // A stream that ended shows when something is heard.
        let _ = self.said.send(v1::WorkerMessage { what: Some(what) }).await;
    }

    /// The next message, `None` at the stream's end.
    pub(crate) async fn hear(&mut self) -> Option<coordinator_message::What> {
        let heard = timeout(SOON, self.told.message()).await.unwrap();
        heard.ok().flatten().and_then(|message| message.what)
    }

    pub(crate) async fn assignments(&mut self) -> Vec<v1::Assignment> {
        match self.hear().await {
            Some(coordinator_message::What::Assignments(packed)) => packed.assignments,
            other => panic!("no assignments but {other:?}"),
        }
    }

    pub(crate) async fn done(&self, attempt: Option<v1::AttemptRef>) {
        self.say(worker_message::What::Done(v1::AttemptDone { attempt, ..v1::AttemptDone::default() })).await;
    }

    /// Does everything it is given until its stream ends.
    pub(crate) fn work(mut self) -> JoinHandle<u32> {
        #[allow(clippy::disallowed_methods, reason = "the test owns it by its handle")]
        tokio::task::spawn(async move {
            let mut did = 0;
            while let Some(what) = self.hear().await {
                let coordinator_message::What::Assignments(packed) = what else { continue };
                for assignment in packed.assignments {
                    self.done(assignment.attempt).await;
                    did += 1;
                }
            }
            did
        })
    }
}
