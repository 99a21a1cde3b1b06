//! Settings files and the environment: the one place that reads either. Flags win over a file, a file over defaults.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

mod coordinator;
mod egress;
#[cfg(test)]
mod examples;
mod nccl;
mod security;
mod telemetry;

#[cfg(test)]
use coordinator::CoordinatorFile;
pub(crate) use coordinator::coordinator;
use croft_core::split::Link;
use croft_proto::{channel::Files, egress::Guard, identity::Folder, store::Reach};
pub(crate) use egress::guard;
use egress::reach;
use security::{TlsFile, files};
pub(crate) use security::{authority_dir, client_identity, write_client, write_worker};
use serde::{Deserialize, de::DeserializeOwned};
pub(crate) use telemetry::Telemetry;
use telemetry::TelemetryFile;

use crate::{
    args, client,
    exit::{Exit, Failed},
    fleet::{LinkOf, MEMORY_GIB_MAX},
};

/// A settings file is a page of text; what is larger is another file given by mistake.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// How far a misspelt key may be from a real one to be suggested.
const NEAREST_MIN: f64 = 0.7;

/// The folder, within that of a role, that says who it is.
pub(crate) const IDENTITY: &str = "identity";
pub(crate) const WORKER_FILE: &str = "worker.toml";

/// What a role's file may hold.
pub(crate) trait Settings: DeserializeOwned + Default {
    const KEYS: &'static [&'static str];
}

/// `worker.toml`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkerFile {
    coordinator: Option<String>,
    allow_networks: Option<Vec<String>>,
    artifacts_ca: Option<PathBuf>,
    data_dir: Option<PathBuf>,
    devices: Option<String>,
    threads: Option<u32>,
    name: Option<String>,
    tags: Option<Vec<String>>,
    insecure: Option<bool>,
    checkpoint_ms: Option<u64>,
    gang_address: Option<IpAddr>,
    nccl: Option<nccl::Nccl>,
    identity: Option<PathBuf>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    telemetry: Option<TelemetryFile>,
    /// Of each device that is offered. On a CPU device it also bounds what its rank may ask the system for.
    memory_gib: Option<f64>,
    tflops: Option<f64>,
    link: Option<LinkOf>,
}

impl Settings for WorkerFile {
    const KEYS: &'static [&'static str] = &[
        "coordinator",
        "allow_networks",
        "artifacts_ca",
        "data_dir",
        "devices",
        "threads",
        "name",
        "tags",
        "insecure",
        "checkpoint_ms",
        "gang_address",
        "nccl",
        "identity",
        "ca",
        "cert",
        "key",
        "telemetry",
        "memory_gib",
        "tflops",
        "link",
    ];
}

/// `~/.config/croft/client.toml`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientFile {
    coordinator: Option<String>,
    allow_networks: Option<Vec<String>>,
    insecure: Option<bool>,
    identity: Option<PathBuf>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    telemetry: Option<TelemetryFile>,
}

impl Settings for ClientFile {
    const KEYS: &'static [&'static str] =
        &["coordinator", "allow_networks", "insecure", "identity", "ca", "cert", "key", "telemetry"];
}

/// A client's settings, whole.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) coordinator: String,
    pub(crate) guard: Guard,
    /// `None` for plaintext.
    pub(crate) tls: Option<Files>,
}

/// A worker's settings, whole.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    pub(crate) coordinators: Vec<String>,
    pub(crate) reach: Reach,
    pub(crate) data_dir: PathBuf,
    pub(crate) devices: String,
    pub(crate) threads: Option<u32>,
    pub(crate) name: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) tls: Option<Files>,
    pub(crate) checkpoint_ms: Option<u64>,
    pub(crate) gang_address: Option<IpAddr>,
    /// For ranks alone.
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) telemetry: Telemetry,
    /// Offered of each device.
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) gflops: Option<u64>,
    pub(crate) link: Option<Link>,
}

/// A variable of the environment; one that is not text counts as absent.
#[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

/// The devices that are left to this process by whoever started it; an empty text leaves it none.
#[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub(crate) fn visible_devices() -> Option<String> {
    std::env::var("CUDA_VISIBLE_DEVICES").ok()
}

/// The client's settings: `flags` (which carry the environment) over `client.toml` over the default.
pub(crate) fn client(flags: &args::Client) -> Result<Client, Failed> {
    let file: ClientFile = match client_file().filter(|p| p.exists()) {
        Some(path) => load(&path)?,
        None => ClientFile::default(),
    };
    Ok(Client {
        coordinator: flags
            .coordinator
            .clone()
            .or(file.coordinator)
            .unwrap_or_else(|| client::DEFAULT_COORDINATOR.to_owned()),
        guard: guard(&flags.egress, file.allow_networks)?,
        tls: files(
            &flags.tls,
            TlsFile { identity: file.identity, ca: file.ca, cert: file.cert, key: file.key },
            client_identity(),
            flags.insecure || file.insecure.unwrap_or(false),
        )?,
    })
}

/// Where a client's own settings lie.
pub(crate) fn client_home() -> Option<PathBuf> {
    let home = || variable("HOME").map(|h| Path::new(&h).join(".config"));
    Some(variable("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home)?.join("croft"))
}

fn client_file() -> Option<PathBuf> {
    Some(client_home()?.join("client.toml"))
}

/// The folder of this machine's worker.
pub(crate) fn worker_dir(flag: Option<PathBuf>) -> Result<PathBuf, Failed> {
    absolute(match flag {
        Some(dir) => dir,
        None => data_home("worker")?,
    })
}

/// The worker's settings.
pub(crate) fn worker(flags: args::Worker) -> Result<Worker, Failed> {
    // What `croft worker join` wrote, where nobody names another file.
    let joined = worker_dir(flags.data_dir.clone())?.join(WORKER_FILE);
    let config = flags.config.clone().or_else(|| Some(joined).filter(|path| path.exists()));
    let file: WorkerFile = from(config.as_deref())?;
    let data_dir = worker_dir(flags.data_dir.or(file.data_dir))?;
    let insecure = flags.insecure || file.insecure.unwrap_or(false);
    let settings = TlsFile { identity: file.identity, ca: file.ca, cert: file.cert, key: file.key };
    let tls = files(&flags.tls, settings, Some(Folder(data_dir.join(IDENTITY))), insecure)?;
    let coordinators =
        flags.coordinator.or(file.coordinator).unwrap_or_else(|| client::DEFAULT_COORDINATOR.to_owned());
    Ok(Worker {
        reach: reach(flags.egress, flags.store, file.allow_networks, file.artifacts_ca)?,
        coordinators: coordinators.split(',').map(|a| a.trim().to_owned()).collect(),
        data_dir,
        devices: flags.devices.or(file.devices).unwrap_or_else(|| "auto".to_owned()),
        threads: flags.threads.or(file.threads),
        name: flags.name.or(file.name),
        tags: flags.tags.or(file.tags).unwrap_or_default(),
        tls,
        checkpoint_ms: file.checkpoint_ms,
        gang_address: file.gang_address,
        environment: file.nccl.unwrap_or_default().environment(),
        telemetry: Telemetry::of(flags.telemetry, file.telemetry)?,
        memory_bytes: flags.device_memory.or(file.memory_gib).map(memory_bytes).transpose()?,
        gflops: file.tflops.map(gflops).transpose()?,
        link: file.link.as_ref().map(link).transpose()?,
    })
}

fn link(told: &LinkOf) -> Result<Link, Failed> {
    told.link().map_err(|what| Failed::with(Exit::Usage, what))
}

fn memory_bytes(gib: f64) -> Result<u64, Failed> {
    if gib > 0.0 && gib <= MEMORY_GIB_MAX {
        return Ok((gib * f64::from(1 << 30)) as u64);
    }
    Err(Failed::with(Exit::Usage, format!("memory_gib {gib}: it is above 0, GiB of each device")))
}

fn gflops(tflops: f64) -> Result<u64, Failed> {
    if tflops > 0.0 && tflops.is_finite() {
        return Ok(((tflops * 1e3) as u64).max(1));
    }
    Err(Failed::with(Exit::Usage, format!("tflops {tflops}: it is above 0, of each device")))
}

/// `dir` as a `file://` URL.
pub(crate) fn file_url(dir: &Path) -> Result<String, Failed> {
    url::Url::from_directory_path(dir)
        .map(|u| u.to_string())
        .map_err(|()| Failed::new(format!("{} is not an absolute path", dir.display())))
}

/// `path` from the root on, without asking the disk whether it exists.
pub(crate) fn absolute(path: PathBuf) -> Result<PathBuf, Failed> {
    std::path::absolute(&path).map_err(|e| Failed::new(format!("{}: {e}", path.display())))
}

pub(crate) fn data_home(role: &str) -> Result<PathBuf, Failed> {
    let home = || variable("HOME").map(|h| Path::new(&h).join(".local/share"));
    variable("XDG_DATA_HOME").map(PathBuf::from).or_else(home).map(|d| d.join("croft").join(role)).ok_or_else(
        || Failed::with(Exit::Usage, "no home directory to keep data in").help("give --data-dir DIR"),
    )
}

fn from<T: Settings>(path: Option<&Path>) -> Result<T, Failed> {
    path.map_or_else(|| Ok(T::default()), load)
}

pub(crate) fn load<T: Settings>(path: &Path) -> Result<T, Failed> {
    let place = path.display();
    let unreadable = |e| Failed::with(Exit::Usage, format!("{place}: {e}"));
    if fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(Failed::with(Exit::Usage, format!("{place}: more than {FILE_BYTES_MAX} bytes"))
            .help("this is not a settings file"));
    }
    parse(&fs::read_to_string(path).map_err(unreadable)?, &place.to_string())
}

fn parse<T: Settings>(text: &str, place: &str) -> Result<T, Failed> {
    let bad = |e: toml::de::Error| {
        let line = e.span().map_or(0, |s| text[..s.start.min(text.len())].matches('\n').count() + 1);
        Failed::with(Exit::Usage, format!("{place}:{line}: {}", e.message()))
    };
    let table: toml::Table = toml::from_str(text).map_err(bad)?;
    if let Some(key) = table.keys().find(|k| !T::KEYS.contains(&k.as_str())) {
        let failed = Failed::with(Exit::Usage, format!("{place}: unknown key '{key}'"));
        return Err(match nearest(key, T::KEYS) {
            Some(near) => failed.help(format!("did you mean '{near}'?")),
            None => failed.help(format!("keys are {}", T::KEYS.join(", "))),
        });
    }
    toml::from_str(text).map_err(bad)
}

fn nearest<'a>(word: &str, among: &[&'a str]) -> Option<&'a str> {
    among
        .iter()
        .map(|&k| (strsim::jaro_winkler(word, k), k))
        .filter(|(score, _)| *score >= NEAREST_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest() {
        let failed = parse::<WorkerFile>("devices = 'cpu:2'\ncordinator = 'a:1'\n", "worker.toml")
            .expect_err("a misspelt key");
        assert_eq!(failed.exit, Exit::Usage);
        assert!(failed.messages[0].text.contains("worker.toml: unknown key 'cordinator'"));
        assert_eq!(failed.messages[0].help.as_deref(), Some("did you mean 'coordinator'?"));
    }

    #[test]
    fn a_wrong_type_names_its_line() {
        let failed =
            parse::<CoordinatorFile>("insecure = true\nlisten = 7400\n", "c.toml").expect_err("a number");
        assert!(failed.messages[0].text.starts_with("c.toml:2: "), "{failed}");
    }

    #[test]
    fn every_listed_key_is_one_the_file_takes() {
        assert!(
            parse::<CoordinatorFile>(
                "listen='127.0.0.1:1'\ndata_dir='d'\nartifacts='file:///a'\ninsecure=true\nlease_ms=5\n\
                 metrics_listen='127.0.0.1:9464'\n[telemetry]\notlp_endpoint='http://127.0.0.1:4317'\ntrace_ratio=0.1\n",
                "f"
            )
            .is_ok()
        );
        assert!(parse::<WorkerFile>(
            "coordinator='a:1'\ndata_dir='d'\ndevices='auto'\nthreads=2\nname='w'\ntags=['a']\ninsecure=true\nmemory_gib=24\n\
             tflops=0.5\nlink={name='PCIe',gb_per_s=25,latency_us=40}\n",
            "f"
        )
        .is_ok());
        assert!(parse::<ClientFile>("coordinator='a:1'\ninsecure=true\n", "f").is_ok());
    }
}
