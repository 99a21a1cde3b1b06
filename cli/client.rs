//! A client's connection to a coordinator, and the names that people type.

use std::time::Duration;

use croft_proto::{
    MESSAGE_BYTES_MAX,
    channel::{self, Address, Dial, Security, Trouble},
    egress::Guard,
    v1::{
        CoordinatorRole, GetFarmStatusRequest, TaskSelector, TaskState, artifacts_client::ArtifactsClient,
        farm_client::FarmClient, identity_client::IdentityClient, jobs_client::JobsClient,
    },
};
use futures::future::join_all;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Request, transport::Channel};

use crate::{
    args, config,
    exit::{Exit, Failed},
};

/// Where a coordinator listens when nothing else is said.
pub(crate) const DEFAULT_COORDINATOR: &str = "127.0.0.1:7400";

/// A coordinator that does not take a connection within this is not there.
const CONNECT: Duration = Duration::from_secs(5);

/// One answer may take this long: planning a million tasks takes seconds.
const ANSWER: Duration = Duration::from_secs(60);

/// A silent connection is probed this often, and given up when the probe goes unanswered as long.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Of several coordinators, one that does not say within this what it is is passed over.
const ROLE: Duration = Duration::from_millis(1_500);
/// While none of several leads, they are asked again for this long: an election takes a few seconds.
const ELECTION: Duration = Duration::from_secs(20);
const ELECTION_PAUSE: Duration = Duration::from_millis(200);

const NOBODY: &str = "start one with `croft coordinator`, or give its address by --coordinator or CROFT_COORDINATOR; if it speaks TLS, \
     this client needs an identity";

/// How a client dials.
pub(crate) fn how(guard: Guard, security: Security) -> Dial {
    Dial { guard, security, pinned: None, connect: CONNECT, keep_alive: KEEP_ALIVE, window: None }
}

/// A connection, cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Coordinator {
    channel: Channel,
    pub(crate) address: String,
    /// All addresses that it was chosen from.
    of: Vec<String>,
    how: Dial,
}

impl Coordinator {
    /// The coordinator of the flags, the environment, or `client.toml`; of several the one that leads.
    pub(crate) async fn find(client: &args::Client) -> Result<Self, Failed> {
        let settings = config::client(client)?;
        let security = Security::of(settings.tls.clone()).map_err(unusable)?;
        Self::leader(&listed(&settings), &how(settings.guard.clone(), security)).await
    }

    /// The one that leads now: this one, or another after it died.
    pub(crate) async fn again(&self) -> Result<Self, Failed> {
        Self::leader(&self.of, &self.how).await
    }

    async fn leader(addresses: &[String], how: &Dial) -> Result<Self, Failed> {
        if let [one] = addresses {
            return Self::dial(one, how).await;
        }
        let began = Instant::now();
        loop {
            let asked = join_all(addresses.iter().map(|address| Self::role(address, how))).await;
            let mut reasons = Vec::new();
            for asked in asked {
                match asked {
                    Ok((found, CoordinatorRole::Leader)) => {
                        return Ok(Self { of: addresses.to_vec(), ..found });
                    }
                    Ok((found, _)) => reasons.push(format!("{} does not lead", found.address)),
                    Err(failed) if matches!(failed.exit, Exit::Usage | Exit::Denied) => return Err(failed),
                    Err(failed) => reasons.push(failed.to_string()),
                }
            }
            if began.elapsed() > ELECTION {
                let text = format!("no coordinator leads: {}", reasons.join("; "));
                return Err(Failed::with(Exit::Unreachable, text)
                    .help("look at the coordinators' logs, and at their state store"));
            }
            sleep(ELECTION_PAUSE).await;
        }
    }

    /// One of several, and what it is.
    async fn role(address: &str, how: &Dial) -> Result<(Self, CoordinatorRole), Failed> {
        let silent = || Failed::with(Exit::Unreachable, format!("{address} does not answer"));
        let asked = async {
            let found = Self::dial(address, how).await?;
            let status = found.farm().get_farm_status(request(GetFarmStatusRequest {})).await?.into_inner();
            Ok((found, status.role()))
        };
        timeout(ROLE, asked).await.unwrap_or_else(|_| Err(silent()))
    }

    /// Connects to one address.
    pub(crate) async fn dial(address: &str, how: &Dial) -> Result<Self, Failed> {
        let to: Address = address.parse().map_err(|_| usage_of(address))?;
        let channel = channel::dial(&to, how).await.map_err(|error| match error.trouble {
            Trouble::Address | Trouble::Refused => Failed::with(Exit::Usage, error.to_string()),
            Trouble::Untrusted => Failed::with(Exit::Denied, format!("{address}: {error}"))
                .help("compare its certificate's names with the address, and both sides' ca.pem"),
            Trouble::Unreachable => {
                Failed::with(Exit::Unreachable, format!("no coordinator answers at {address}")).help(NOBODY)
            }
        })?;
        let of = vec![address.to_owned()];
        Ok(Self { channel, address: address.to_owned(), of, how: how.clone() })
    }

    pub(crate) fn jobs(&self) -> JobsClient<Channel> {
        JobsClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn artifacts(&self) -> ArtifactsClient<Channel> {
        ArtifactsClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn identity(&self) -> IdentityClient<Channel> {
        IdentityClient::new(self.channel.clone())
    }

    pub(crate) fn farm(&self) -> FarmClient<Channel> {
        FarmClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

/// The addresses of the flags, the environment, or `client.toml`.
pub(crate) fn addresses(client: &args::Client) -> Result<Vec<String>, Failed> {
    Ok(listed(&config::client(client)?))
}

fn listed(settings: &config::Client) -> Vec<String> {
    settings.coordinator.split(',').map(|address| address.trim().to_owned()).collect()
}

fn unusable(error: channel::Error) -> Failed {
    Failed::with(Exit::Usage, error.to_string()).help("see the files of --identity, --ca, --cert and --key")
}

/// A request whose answer is waited for with an end. Not for streams: theirs is the end of the job.
pub(crate) fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(ANSWER);
    request
}

fn usage_of(address: &str) -> Failed {
    Failed::with(Exit::Usage, format!("'{address}' is not an address of a coordinator"))
        .help(format!("give HOST:PORT, such as {DEFAULT_COORDINATOR}"))
}

/// What a person points at: a job, a layer of it, or one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) job: String,
    pub(crate) layer: Option<String>,
    pub(crate) task: Option<String>,
}

impl Target {
    /// Reads `JOB[/LAYER[/TASK]]`, or a resource name as the API prints it.
    pub(crate) fn parse(text: &str) -> Result<Self, Failed> {
        let parts: Vec<&str> = text.split('/').collect();
        let (job, layer, task) = match parts[..] {
            ["jobs", job] | [job] => (job, None, None),
            ["jobs", job, "layers", layer] | [job, layer] => (job, Some(layer), None),
            ["jobs", job, "layers", layer, "tasks", task] | [job, layer, task] => {
                (job, Some(layer), Some(task))
            }
            _ => ("", None, None),
        };
        if job.is_empty() || [layer, task].contains(&Some("")) {
            return Err(Failed::with(Exit::Usage, format!("'{text}' names no job")).help(
                "give JOB, JOB/LAYER or JOB/LAYER/TASK, as `croft jobs` and `croft tasks` print them",
            ));
        }
        Ok(Self { job: job.to_owned(), layer: layer.map(str::to_owned), task: task.map(str::to_owned) })
    }

    /// The job's resource name.
    pub(crate) fn job_name(&self) -> String {
        format!("jobs/{}", self.job)
    }

    /// This target and `selector`, as the API takes them.
    pub(crate) fn select(&self, selector: &args::Selector) -> Result<TaskSelector, Failed> {
        if let (Some(a), Some(b)) = (&self.layer, &selector.layer)
            && a != b
        {
            return Err(Failed::with(Exit::Usage, format!("two layers are named: {a} and --layer {b}")));
        }
        let layer = self.layer.clone().or_else(|| selector.layer.clone()).unwrap_or_default();
        let tasks =
            self.task.iter().map(|task| format!("jobs/{}/layers/{layer}/tasks/{task}", self.job)).collect();
        Ok(TaskSelector {
            states: selector.state.iter().map(|&s| s.into()).collect(),
            r#where: selector.axes.iter().cloned().collect(),
            layer,
            tasks,
        })
    }
}

/// Every item of a list: `page` gives those behind a token, and the token of the next page, empty behind the last.
pub(crate) async fn all<T>(
    mut page: impl AsyncFnMut(String) -> Result<(Vec<T>, String), Failed>,
) -> Result<Vec<T>, Failed> {
    let mut items = Vec::new();
    let mut token = String::new();
    loop {
        let (found, next) = page(token).await?;
        items.extend(found);
        if next.is_empty() {
            return Ok(items);
        }
        token = next;
    }
}

/// `jobs/J/layers/L/tasks/T` as people say it: `J/L/T`.
pub(crate) fn short(name: &str) -> String {
    match name.split('/').collect::<Vec<_>>()[..] {
        ["jobs", job] => job.to_owned(),
        ["jobs", job, "layers", layer, "tasks", task] => format!("{job}/{layer}/{task}"),
        ["workers", worker] => worker.to_owned(),
        ["workers", worker, "devices", device] => format!("{worker}:{device}"),
        _ => name.to_owned(),
    }
}

/// Reads a task's state as people write it.
pub(crate) fn task_state(text: &str) -> Result<TaskState, String> {
    TaskState::from_str_name(&format!("TASK_STATE_{}", text.to_ascii_uppercase()))
        .filter(|&s| s != TaskState::Unspecified)
        .ok_or_else(|| {
            "states are waiting, queued, running, publishing, succeeded, failed and cancelled".to_owned()
        })
}

/// Reads `key=value`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("give AXIS=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn plaintext_goes_to_loopback_only() {
        for refused in
            ["10.0.0.7:7400", "farm.studio:7400", "https://127.0.0.1:7400", "127.0.0.1", "[::1]", ":x"]
        {
            let failed = Coordinator::dial(refused, &how(Guard::default(), Security::Plaintext))
                .await
                .expect_err(refused);
            assert_eq!(failed.exit, Exit::Usage, "{refused}");
        }
    }

    #[test]
    fn targets_are_read_in_both_spellings() {
        let task = Target::parse("a/draft/0007").expect("short");
        assert_eq!(task, Target::parse("jobs/a/layers/draft/tasks/0007").expect("long"));
        assert_eq!(
            task.select(&args::Selector::default()).expect("one layer").tasks,
            ["jobs/a/layers/draft/tasks/0007"]
        );
        for bad in ["", "/", "a//b", "a/b/c/d"] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }
}
