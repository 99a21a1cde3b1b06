//! `croft doctor`: does this machine have what a farm needs, does the store keep its promises, does the coordinator answer.

mod nvidia;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use croft_engine::{
    pipelines::Pipeline,
    request::{Params, Request, Value},
};
use croft_proto::{
    channel::Keys,
    store::{self, Reach},
    v1::GetFarmStatusRequest,
};
use croft_rank::confine::{self, Confinement};
use croft_worker::{Devices, inventory::nvidia::look};
use object_store::{
    Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutPayload, path::Path as StorePath,
};
use serde_json::json as value;

use crate::{
    args::{self, Format},
    client::{self, Coordinator},
    clock, config, cuda,
    exit::{Exit, Failed},
    output::{self, Table, bytes},
};

/// Below this a campaign soon fills the disk.
const DISK_BYTES_MIN: u64 = 5 << 30;
/// Below this even a small model has no room for its clips.
const MEMORY_BYTES_MIN: u64 = 2 << 30;
/// A certificate that ends sooner is worth a word.
const IDENTITY_SECONDS_MIN: i64 = 14 * 24 * 60 * 60;
/// What a store may take over one probe.
const STORE_SECONDS_MAX: u64 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    Warning,
    Failed,
}

/// One thing looked at.
#[derive(Debug)]
struct Finding {
    check: &'static str,
    state: State,
    found: String,
    remedy: String,
}

pub(super) async fn run(args: args::Doctor) -> Result<Exit, Failed> {
    let folder = config::absolute(args.data_dir.unwrap_or_else(|| PathBuf::from(".")))?;
    let mut findings = vec![processor(), memory(), disk(&folder), engine().await, confinement(&folder)];
    let (seen, probed) = tokio::join!(look(), cuda::probe());
    findings.extend(nvidia::findings(&seen, &probed, &Devices::Auto, config::visible_devices().as_deref()));
    findings.extend(egress(&args.client));
    if let Some(url) = &args.artifacts {
        let client = config::client(&args.client)?;
        let authority = args.store.artifacts_ca.clone();
        findings.push(artifacts(url, &Reach { guard: client.guard, authority }).await);
    }
    findings.extend(identity(&args.client));
    findings.push(coordinator(&args.client).await);
    report(&findings, args.output.output)?;
    let failed = findings.iter().any(|finding| finding.state == State::Failed);
    Ok(if failed { Exit::Failed } else { Exit::Ok })
}

fn report(findings: &[Finding], format: Format) -> Result<(), Failed> {
    let word = |state| match state {
        State::Ok => "ok",
        State::Warning => "warning",
        State::Failed => "failed",
    };
    if format == Format::Json {
        let items: Vec<_> = findings
            .iter()
            .map(|f| value!({ "check": f.check, "state": word(f.state), "found": f.found, "remedy": f.remedy }))
            .collect();
        return output::json("Examination", value!({ "items": items }));
    }
    let mut table = Table::new(&["CHECK", "STATE", "FOUND", "REMEDY"]);
    for f in findings {
        table.row([f.check.to_owned(), word(f.state).to_owned(), f.found.clone(), f.remedy.clone()]);
    }
    table.print()
}

/// Who this client is; nothing where it needs to be nobody.
fn identity(client: &args::Client) -> Option<Finding> {
    let finding =
        |state, found, remedy: &str| Finding { check: "identity", state, found, remedy: remedy.to_owned() };
    let files = match config::client(client) {
        Ok(settings) => settings.tls?,
        Err(failed) => return Some(finding(State::Failed, failed.to_string(), "see --identity")),
    };
    let facts = match Keys::open(files) {
        Ok(keys) => keys.facts(),
        Err(error) => {
            return Some(finding(State::Failed, error.to_string(), "have it issued again, or join again"));
        }
    };
    let left = facts.not_after - clock::unix_seconds();
    let found = format!("{}, valid until {}", facts.claims, output::utc(facts.not_after));
    Some(match left {
        ..=0 => finding(State::Failed, found, "have a new certificate issued"),
        1..IDENTITY_SECONDS_MIN => finding(State::Warning, found, "have a new certificate issued soon"),
        _ => finding(State::Ok, found, ""),
    })
}

/// Where connections may go.
fn egress(client: &args::Client) -> Option<Finding> {
    let networks = config::client(client).ok()?.guard.networks().clone();
    let mut found = "loopback, private, link-local and unique local networks".to_owned();
    networks.added().iter().for_each(|network| found.push_str(&format!(", {network}")));
    Some(Finding { check: "egress", state: State::Ok, found, remedy: String::new() })
}

fn processor() -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let instructions = croft_engine::instructions();
    let slow = instructions == "portable";
    Finding {
        check: "processor",
        state: if slow { State::Warning } else { State::Ok },
        found: format!("{cores} cores, {instructions} kernels"),
        remedy: if slow {
            "renders correctly but slowly: AVX2 and FMA are missing".to_owned()
        } else {
            String::new()
        },
    }
}

fn memory() -> Finding {
    let Some(total) = memory_bytes() else {
        return Finding {
            check: "memory",
            state: State::Warning,
            found: "/proc/meminfo cannot be read".to_owned(),
            remedy: "croft runs on Linux".to_owned(),
        };
    };
    let small = total < MEMORY_BYTES_MIN;
    Finding {
        check: "memory",
        state: if small { State::Failed } else { State::Ok },
        found: bytes(total),
        remedy: if small {
            format!("at least {} are needed", bytes(MEMORY_BYTES_MIN))
        } else {
            String::new()
        },
    }
}

/// The machine's memory, or `None` where the system does not say.
pub(super) fn memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

fn disk(folder: &Path) -> Finding {
    let finding =
        |state, found, remedy: &str| Finding { check: "disk", state, found, remedy: remedy.to_owned() };
    let place = folder.display();
    // A folder that is not there yet is judged by the first one above it that is.
    let there = folder.ancestors().find(|above| above.is_dir()).unwrap_or(folder);
    if let Err(error) = tempfile::tempfile_in(there) {
        return finding(
            State::Failed,
            format!("{place} cannot be written: {error}"),
            "give another by --data-dir",
        );
    }
    match rustix::fs::statvfs(there) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let state = if free < DISK_BYTES_MIN { State::Warning } else { State::Ok };
            let remedy = if state == State::Ok {
                ""
            } else {
                "frames are large: make room, or give another --data-dir"
            };
            finding(state, format!("{} free in {place}", bytes(free)), remedy)
        }
        Err(error) => finding(State::Warning, format!("{place}: {error}"), "see whether its disk is mounted"),
    }
}

/// Renders one small clip by the built-in model: weights, kernels and decoder, all the way.
async fn engine() -> Finding {
    let started = Instant::now();
    let rendered = tokio::task::spawn_blocking(|| {
        let pipeline = Pipeline::load("builtin://shapes")?;
        let params = Params::from([("steps".to_owned(), Value::Number(2.0))]);
        let prompt = "a red circle moving right on a gray background";
        let request = Request::from_params(pipeline.card(), prompt, "", 0, &params)?;
        pipeline.render(&request, &mut ())
    });
    let (state, found, remedy) = match rendered.await {
        Ok(Ok(clip)) => {
            let seconds = started.elapsed().as_secs_f64();
            let found =
                format!("{} frames of {}x{} in {seconds:.1} s", clip.frames.len(), clip.width, clip.height);
            (State::Ok, found, String::new())
        }
        Ok(Err(error)) => (State::Failed, error.to_string(), error.remedy()),
        Err(panic) => (State::Failed, panic.to_string(), "this is a defect: please report it".to_owned()),
    };
    Finding { check: "engine", state, found, remedy }
}

/// What keeps a rank that an evil model took over from the rest of the machine.
fn confinement(folder: &Path) -> Finding {
    let there = folder.ancestors().find(|above| above.is_dir()).unwrap_or(folder);
    let Confinement { files, calls } = confine::examine(there);
    let is_root = rustix::process::geteuid().is_root();
    let user = if is_root { "root" } else { "an ordinary user" };
    let remedy = match (is_root, files.is_whole() && calls.is_whole()) {
        (true, _) => "run workers as an ordinary user",
        (false, false) => "a kernel from 6.12 with Landlock and seccomp enforces all of it",
        (false, true) => "",
    };
    Finding {
        check: "confinement",
        state: if remedy.is_empty() { State::Ok } else { State::Warning },
        found: format!(
            "ranks run as {user}; writing to scratch alone is {files}; no network, no programs: {calls}"
        ),
        remedy: remedy.to_owned(),
    }
}

/// Whether the store takes a file, refuses a second one of the same name, and gives the first one back.
async fn artifacts(url: &str, reach: &Reach) -> Finding {
    let finding = |state, found: String, remedy: &str| Finding {
        check: "artifact store",
        state,
        found,
        remedy: remedy.to_owned(),
    };
    let remedy = "give file:///DIR or s3://BUCKET[/PREFIX]";
    let parsed = match url.parse() {
        Ok(parsed) => parsed,
        Err(error) => return finding(State::Failed, format!("{url}: {error}"), remedy),
    };
    let store = match store::open(&parsed, reach).await {
        Ok(store) => store,
        Err(error) => return finding(State::Failed, error.to_string(), remedy),
    };
    let place = StorePath::from(format!(".croft/doctor-{}", uuid::Uuid::new_v4()));
    let limit = std::time::Duration::from_secs(STORE_SECONDS_MAX);
    let probed = tokio::time::timeout(limit, probe(&*store, &place)).await;
    // What the probe left goes, whatever it found.
    let _ = tokio::time::timeout(limit, store.delete(&place)).await;
    match probed {
        Ok(Ok(true)) => finding(State::Ok, format!("{url} writes, refuses to overwrite, reads back"), ""),
        Ok(Ok(false)) => finding(
            State::Failed,
            format!("{url} ignores If-None-Match: a second attempt could overwrite a published file"),
            "use a server with conditional puts, such as SeaweedFS or MinIO",
        ),
        Ok(Err(error)) => {
            finding(State::Failed, format!("{url}: {error}"), "see its address, bucket and AWS_* keys")
        }
        Err(_) => {
            finding(State::Failed, format!("{url} did not answer in {STORE_SECONDS_MAX} s"), "is it up?")
        }
    }
}

async fn probe(store: &dyn ObjectStore, place: &StorePath) -> Result<bool, StoreError> {
    let first = PutPayload::from_static(b"croft doctor");
    store.put_opts(place, first.clone(), PutMode::Create.into()).await?;
    match store.put_opts(place, PutPayload::from_static(b"overwritten"), PutMode::Create.into()).await {
        Err(StoreError::AlreadyExists { .. }) => {}
        Ok(_) => return Ok(false),
        Err(error) => return Err(error),
    }
    let read = store.get(place).await?.bytes().await?;
    Ok(read.as_ref() == b"croft doctor")
}

async fn coordinator(client: &args::Client) -> Finding {
    let finding = |state, found, remedy: &str| Finding {
        check: "coordinator",
        state,
        found,
        remedy: remedy.to_owned(),
    };
    let asked = client.coordinator.is_some();
    let found = match Coordinator::find(client).await {
        Ok(found) => found,
        // Nobody promised that one runs.
        Err(failed) if !asked => {
            return finding(State::Warning, failed.to_string(), "start one, or use `croft render`");
        }
        Err(failed) => {
            return finding(State::Failed, failed.to_string(), "is it running, and is this its address?");
        }
    };
    match found.farm().get_farm_status(client::request(GetFarmStatusRequest {})).await {
        Ok(status) => {
            let status = status.into_inner();
            let words = format!(
                "{} croft {}, {} workers, {} of {} devices busy",
                found.address, status.version, status.workers, status.devices_busy, status.devices
            );
            if status.workers == 0 {
                return finding(
                    State::Warning,
                    words,
                    "start a worker: `croft worker --coordinator HOST:PORT`",
                );
            }
            finding(State::Ok, words, "")
        }
        Err(status) => finding(State::Failed, status.message().to_owned(), "is it a croft coordinator?"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_keeps_the_promises_of_a_store() {
        let dir = tempfile::tempdir().expect("scratch");
        let url = config::file_url(dir.path()).expect("a url");
        let finding = artifacts(&url, &Reach::default()).await;
        assert_eq!(finding.state, State::Ok, "{}", finding.found);
        assert!(!dir.path().join(".croft").exists(), "the probe leaves nothing");
    }

    #[tokio::test]
    async fn a_store_that_is_not_there_is_a_failure_with_a_remedy() {
        let finding = artifacts("file:///no/such/folder", &Reach::default()).await;
        assert_eq!(finding.state, State::Failed);
        assert!(finding.found.contains("make it first"), "{}", finding.found);
    }
}
