//! What the farm itself costs: real coordinator and real worker, each a process of its own, over loopback, with ranks
//! that make nothing; the state in memory, in redb, in redb with every trace exported and metrics served, and in etcd with
//! one member, where it is installed.
//! `cargo bench --features etcd --bench scheduling` prints the table and writes `benches/results/scheduling.md`.
#![allow(clippy::print_stdout, reason = "a benchmark's table is its output")]

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Read, Write as _},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use croft_proto::v1::{
    CreateJobRequest, Job, JobState, ListWorkersRequest, WatchJobRequest, farm_client::FarmClient,
    job_event::What, jobs_client::JobsClient,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use uuid::Uuid;

const TASKS: u32 = 10_000;
const ROUNDS: usize = 5;
const DEVICES: u32 = 8;
const SINGLES: usize = 200;
/// The kernel counts a process's time in these; the same on every Linux of our kinds of machine.
const TICKS_PER_SECOND: f64 = 100.0;

fn main() -> ExitCode {
    // The first argument says which process this is; `cargo bench` gives the first one `--bench`.
    let args: Vec<String> = std::env::args().collect();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
    let outcome = match args.get(1).map(String::as_str) {
        Some("coordinator") => runtime.block_on(coordinator(&args[2], &args[3])),
        Some("collector") => runtime.block_on(collector()),
        Some("worker") => runtime.block_on(worker(&args[2], &args[3])),
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

/// Serves until standard input closes; its first line of output is its address.
async fn coordinator(store: &str, state: &str) -> Result<()> {
    let artifacts = url::Url::from_directory_path(store).ok().context("an absolute folder")?;
    let mut config = croft_coordinator::Config { artifacts, ..croft_coordinator::Config::default() };
    match state {
        "memory" => {}
        "redb" => config.data_dir = Some(Path::new(store).join("coordinator")),
        etcd => config.etcd = vec![etcd.to_owned()],
    }
    let coordinator = croft_coordinator::Coordinator::bind(config).await?;
    println!("{}", coordinator.local_addr());
    std::io::stdout().flush()?;
    coordinator.run(until_stdin_closes()).await?;
    Ok(())
}

/// Takes spans and throws them away, until standard input closes; its first line of output is its address.
async fn collector() -> Result<()> {
    struct Nowhere;
    #[tonic::async_trait]
    impl TraceService for Nowhere {
        async fn export(
            &self,
            _: tonic::Request<ExportTraceServiceRequest>,
        ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
            Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
        }
    }
    let incoming = tonic::transport::server::TcpIncoming::bind("127.0.0.1:0".parse()?)?;
    println!("{}", incoming.local_addr()?);
    std::io::stdout().flush()?;
    let service = TraceServiceServer::new(Nowhere);
    let stop = until_stdin_closes();
    tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
        .await?;
    Ok(())
}

async fn worker(address: &str, folder: &str) -> Result<()> {
    let config = croft_worker::Config {
        coordinators: vec![address.to_owned()],
        name: "bench".to_owned(),
        data_dir: folder.into(),
        devices: format!("cpu:{DEVICES}").parse().ok().context("devices")?,
        rank: croft_worker::RankProgram::Noop,
        ..croft_worker::Config::default()
    };
    croft_worker::run(config, until_stdin_closes()).await?;
    Ok(())
}

fn until_stdin_closes() -> CancellationToken {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    std::thread::spawn(move || {
        // Any end of it will do.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stopped.cancel();
    });
    stop
}

/// A process that ends when this value does.
struct Role {
    child: Child,
    /// What it said first, where that was read already.
    said: Option<String>,
}

impl Role {
    fn start(args: &[&str]) -> Result<Self> {
        let program = std::env::current_exe()?;
        let child = Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        Ok(Self { child, said: None })
    }

    /// The real binary, as an operator runs it who keeps every trace. It ends by the signal at its drop.
    fn watched(store: &Path, collector: &str) -> Result<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_croft"))
            .args([
                "--log-format",
                "json",
                "coordinator",
                "--listen",
                "127.0.0.1:0",
                "--otlp-endpoint",
                collector,
            ])
            .args(["--metrics-listen", "127.0.0.1:0", "--data-dir"])
            .arg(store.join("coordinator"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut log =
            BufReader::new(child.stderr.take().context("stderr is piped")?).lines().map_while(Result::ok);
        let address = log.find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line).ok()?;
            line["address"].as_str().map(str::to_owned)
        });
        // Read to its end, so that the pipe never fills.
        std::thread::spawn(move || log.for_each(drop));
        Ok(Self { child, said: Some(address.context("it says where it listens")?) })
    }

    fn first_line(&mut self) -> Result<String> {
        if let Some(said) = self.said.take() {
            return Ok(said);
        }
        let mut line = String::new();
        let out = self.child.stdout.as_mut().context("stdout is piped")?;
        BufReader::new(out).read_line(&mut line)?;
        ensure!(!line.is_empty(), "the process ended before it said anything");
        Ok(line.trim().to_owned())
    }

    /// CPU seconds of all its threads, user and system.
    fn cpu(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name in parentheses may hold spaces; utime and stime are the 12th and 13th field behind it.
        let fields: Vec<&str> = stat.rsplit(')').next().context("stat")?.split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
        Ok(ticks / TICKS_PER_SECOND)
    }

    fn peak_mib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("VmHWM")?;
        let kib: u64 = line.split_whitespace().nth(1).context("VmHWM")?.parse()?;
        Ok(kib >> 10)
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        for _ in 0..100 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        // It did not end by itself within five seconds.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Round {
    create: Duration,
    whole: Duration,
    coordinator_cpu: f64,
    worker_cpu: f64,
}

/// What was measured with one kind of state.
struct Measured {
    state: &'static str,
    rounds: Vec<Round>,
    singles: Vec<Duration>,
    peak_mib: u64,
}

async fn bench() -> Result<()> {
    let mut all = vec![measure("memory", "memory").await?, measure("redb", "redb").await?];
    all.push(measure("redb, watched", "watched").await?);
    if let Some(etcd) = Etcd::start()? {
        all.push(measure("etcd", &etcd.url).await?);
    }
    let table = table(&all);
    println!("{table}");
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/results");
    fs::create_dir_all(&results)?;
    fs::write(results.join("scheduling.md"), table)?;
    Ok(())
}

/// One member of its own, where there is an etcd and the coordinator speaks to it.
struct Etcd {
    url: String,
    _process: Role,
    _dir: tempfile::TempDir,
}

impl Etcd {
    fn start() -> Result<Option<Self>> {
        if !cfg!(feature = "etcd") {
            return Ok(None);
        }
        let dir = tempfile::tempdir()?;
        let port = |at: u16| 21_000 + at + u16::try_from(std::process::id() % 5_000).unwrap_or(0) * 2;
        let (url, peer) = (format!("http://127.0.0.1:{}", port(0)), format!("http://127.0.0.1:{}", port(1)));
        let child = Command::new("etcd")
            .args(["--name", "n", "--data-dir", &dir.path().to_string_lossy()])
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("n={peer}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Ok(child.ok().map(|child| Self { url, _process: Role { child, said: None }, _dir: dir }))
    }
}

/// `place` is `memory`, `redb`, or the address of an etcd.
async fn measure(state: &'static str, place: &str) -> Result<Measured> {
    let (store, work) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (mut coordinator, _collector) = match place {
        "watched" => {
            let mut collector = Role::start(&["collector"])?;
            let url = format!("http://{}", collector.first_line()?);
            (Role::watched(store.path(), &url)?, Some(collector))
        }
        _ => (Role::start(&["coordinator", &store.path().to_string_lossy(), place])?, None),
    };
    let address = coordinator.first_line()?;
    let worker = Role::start(&["worker", &address, &work.path().to_string_lossy()])?;
    let channel = Channel::from_shared(format!("http://{address}"))?.tcp_nodelay(true).connect().await?;
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

fn table(all: &[Measured]) -> String {
    let tasks = f64::from(TASKS);
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    let median = |measured: &Measured, of: &dyn Fn(&Round) -> f64| {
        let mut all: Vec<f64> = measured.rounds.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("?");
    let states: Vec<&str> = all.iter().map(|measured| measured.state).collect();
    let mut text =
        format!("| what | {} | wanted |\n|---|{}---|\n", states.join(" | "), "---|".repeat(all.len()));
    let mut row = |what: &str, of: &dyn Fn(&Measured) -> String, wanted: &str| {
        let cells: Vec<String> = all.iter().map(of).collect();
        writeln!(text, "| {what} | {} | {wanted} |", cells.join(" | ")).expect("a String takes everything");
    };
    row("CreateJob of 10,000 tasks", &|m| format!("{:.1} ms", median(m, &|r| ms(r.create))), "< 500 ms");
    row(
        "tasks end to end",
        &|m| format!("{:.0} /s", median(m, &|r| tasks / r.whole.as_secs_f64())),
        ">= 3,000 /s; etcd >= 2,000 /s",
    );
    // The kernel's ticks are coarse for one round: the mean of all is finer.
    let cpu = |m: &Measured, of: &dyn Fn(&Round) -> f64| {
        format!("{:.3} ms", m.rounds.iter().map(of).sum::<f64>() / m.rounds.len() as f64 / tasks * 1e3)
    };
    row("coordinator CPU a task", &|m| cpu(m, &|r| r.coordinator_cpu), "memory < 0.2 ms");
    row("worker CPU a task", &|m| cpu(m, &|r| r.worker_cpu), "");
    let at = |m: &Measured, share: f64| {
        format!("{:.2} ms", ms(m.singles[((m.singles.len() - 1) as f64 * share) as usize]))
    };
    row("one task, submit to result, p50", &|m| at(m, 0.5), "memory < 5 ms; etcd < 10 ms");
    row("p90", &|m| at(m, 0.9), "");
    row("p99", &|m| at(m, 0.99), "");
    row("coordinator's peak memory", &|m| format!("{} MiB", m.peak_mib), "");
    writeln!(
        text,
        "\nMedian of {ROUNDS} rounds (CPU: their mean), {SINGLES} single tasks; one worker with {DEVICES} no-op devices, coordinator and \
         worker as processes of their own, loopback; {cores} cores, load {load}.\nRepeat: `cargo bench --features etcd \
         --bench scheduling`"
    )
    .expect("a String takes everything");
    text
}
