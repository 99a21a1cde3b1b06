//! What the farm itself costs: real coordinator and real worker, each a process of its own, over loopback, with ranks
//! that make nothing; the state in memory, in redb, and in etcd with one member, where it is installed. And the real binary
//! twice by turns, in plaintext and unwatched beside private: TLS with a certificate on both sides, every trace exported,
//! metrics served. The guard over outgoing connections is in all of them.
//! `cargo bench --features etcd --bench scheduling` prints the table and writes `benches/results/scheduling.md`.
#![allow(clippy::print_stdout, reason = "a benchmark's table is its output")]

mod process;
mod roles;
mod table;

use std::{
    fs,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use croft_proto::{
    channel::{Dial, dial},
    egress::Guard,
    v1::{
        CreateJobRequest, Job, JobState, ListWorkersRequest, WatchJobRequest, farm_client::FarmClient,
        job_event::What, jobs_client::JobsClient,
    },
};
use process::{Etcd, Private, Role};
use roles::{collector, coordinator, security, worker};
use table::{Measured, Round, table};
use tokio::time::sleep;
use tonic::transport::Channel;
use uuid::Uuid;

const TASKS: u32 = 10_000;
const ROUNDS: usize = 5;
const DEVICES: u32 = 8;
const SINGLES: usize = 200;
/// Times that the plain and the private binary are measured.
const TURNS: usize = 3;

fn main() -> ExitCode {
    rustls::crypto::ring::default_provider().install_default().expect("nothing else installs a provider");
    // The first argument says which process this is; `cargo bench` gives the first one `--bench`.
    let args: Vec<String> = std::env::args().collect();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
    let outcome = match args.get(1).map(String::as_str) {
        Some("coordinator") => runtime.block_on(coordinator(&args[2], &args[3])),
        Some("collector") => runtime.block_on(collector()),
        Some("worker") => runtime.block_on(worker(&args[2], &args[3], args.get(4).map(Path::new))),
        _ => runtime.block_on(bench()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("scheduling: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn bench() -> Result<()> {
    let mut all = vec![measure("memory", "memory", None).await?, measure("redb", "redb", None).await?];
    let private = Private::open()?;
    // By turns, so that what else the machine does is spread over both.
    let (mut plain, mut guarded) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        plain.push(measure("binary, plain", "real", None).await?);
        guarded.push(measure("binary, private", "real", Some(&private)).await?);
    }
    all.extend([plain, guarded].into_iter().filter_map(|turns| turns.into_iter().reduce(Measured::with)));
    if let Some(etcd) = Etcd::start()? {
        all.push(measure("etcd", &etcd.url, None).await?);
    }
    let table = table(&all);
    println!("{table}");
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/results");
    fs::create_dir_all(&results)?;
    fs::write(results.join("scheduling.md"), table)?;
    Ok(())
}

/// `place` is `memory`, `redb`, `real`, or the address of an etcd.
async fn measure(state: &'static str, place: &str, private: Option<&Private>) -> Result<Measured> {
    let (store, work) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let mut coordinator = match place {
        "real" => Role::real(store.path(), private)?,
        _ => Role::start(&["coordinator", &store.path().to_string_lossy(), place])?,
    };
    let address = coordinator.first_line()?;
    let identity = |name: &str| private.map(|private| private.identity(name));
    let shown = identity("bench").map(|path| path.to_string_lossy().into_owned());
    let folder = work.path().to_string_lossy().into_owned();
    let words = [Some("worker"), Some(&*address), Some(&*folder), shown.as_deref()];
    let worker = Role::start(&words.into_iter().flatten().collect::<Vec<_>>())?;
    let how = Dial {
        guard: Guard::default(),
        security: security(identity("sam").as_deref())?,
        pinned: None,
        connect: Duration::from_secs(5),
        keep_alive: Duration::from_secs(10),
        window: None,
    };
    let channel = dial(&address.parse()?, &how).await?;
    devices_ready(channel.clone()).await?;
    let mut jobs = JobsClient::new(channel);

    // Caches, allocators and connections are warm in a farm that lives for weeks.
    whole_job(&mut jobs, "warm", 500).await?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let (cpu, worker_cpu) = (coordinator.cpu()?, worker.cpu()?);
        let (create, whole) = whole_job(&mut jobs, "many", TASKS).await?;
        rounds.push(Round {
            create,
            whole,
            coordinator_cpu: coordinator.cpu()? - cpu,
            worker_cpu: worker.cpu()? - worker_cpu,
        });
    }
    let mut singles = Vec::with_capacity(SINGLES);
    for _ in 0..SINGLES {
        singles.push(whole_job(&mut jobs, "one", 1).await?.1);
    }
    singles.sort_unstable();
    Ok(Measured { state, rounds, singles, peak_mib: coordinator.peak_mib()? })
}

async fn devices_ready(channel: Channel) -> Result<()> {
    let mut farm = FarmClient::new(channel);
    for _ in 0..200 {
        // A coordinator that does not lead yet says so.
        let told = farm.list_workers(ListWorkersRequest::default()).await;
        let workers = told.map(|told| told.into_inner().workers).unwrap_or_default();
        if workers.iter().map(|worker| worker.devices.len()).sum::<usize>() == DEVICES as usize {
            return Ok(());
        }
        sleep(Duration::from_millis(50)).await;
    }
    bail!("no worker joined within 10 s")
}

/// Creates a job and follows it to its end: the time of the call, and of the whole.
async fn whole_job(jobs: &mut JobsClient<Channel>, name: &str, tasks: u32) -> Result<(Duration, Duration)> {
    let spec = format!(
        "apiVersion: croft/v1\nkind: Job\nname: {name}\naxes:\n  seed: {{from: 0, count: {tasks}}}\nlayers:\n  \
         - name: main\n    model: builtin://noop\n    prompt: nothing\n    output: \"{{job}}/s{{seed}}\"\n"
    );
    let request =
        CreateJobRequest { spec, request_id: Uuid::new_v4().to_string(), ..CreateJobRequest::default() };
    let begin = Instant::now();
    let job = jobs.create_job(request).await?.into_inner();
    let created = begin.elapsed();
    let watch = WatchJobRequest { name: job.name, resume_token: String::new() };
    let mut events = jobs.watch_job(watch).await?.into_inner();
    let mut last: Option<Job> = None;
    while let Some(event) = events.message().await? {
        if let Some(What::Job(job)) = event.what {
            last = Some(job);
        }
    }
    let whole = begin.elapsed();
    let job = last.context("the job is told")?;
    let succeeded = job.counts.as_ref().map_or(0, |counts| counts.succeeded);
    ensure!(job.state() == JobState::Succeeded && succeeded == u64::from(tasks), "{job:?}");
    Ok((created, whole))
}
