//! `croft render`: an embedded farm for one job. The coordinator lives in this process, workers are its children;
//! the job goes through the same API as everywhere.

mod clip;
mod hands;
mod house;

use std::time::{Duration, Instant};

use croft_core::plan::Plan;
use croft_proto::v1::{CancelJobRequest, Job, JobState, Task, TaskSelector, TaskState};
use croft_worker::{
    Cpu, Devices,
    inventory::{choose, nvidia},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::{
    hands::{Hands, Part, Shares},
    house::House,
};
use super::{submit, tasks, watch};
use croft_proto::{channel::Security, egress::Guard};

use crate::{
    args,
    args::Format,
    client::{self, Coordinator},
    config, cuda,
    exit::{Exit, Failed, Message},
    interrupt::Interrupts,
    json,
    output::{self, Table},
    progress::{Screen, label},
    sheet,
    spec_file::{Cards, SpecFile},
    telemetry::Otlp,
};

/// The coordinator's own end, after the job's.
const END: Duration = Duration::from_secs(10);

/// A cancel that is not answered within this is not waited for: the farm ends with this process anyway.
const CANCEL: Duration = Duration::from_secs(2);

/// Failed tasks told one by one.
const FAILURES_MAX: usize = 20;

pub(super) async fn run(args: args::Render) -> Result<Exit, Failed> {
    let started = Instant::now();
    let mut interrupts = Interrupts::listen()?;
    let file = match (&args.file, &args.clip.model, &args.clip.prompt) {
        (Some(path), _, _) => SpecFile::read(path, &args.set)?,
        (None, Some(model), Some(prompt)) => clip::spec(&args.clip, model, prompt, &args.set)?,
        (None, _, _) => return Err(Failed::with(Exit::Usage, "neither a spec nor a model and a prompt")),
    };
    // Everything that can be wrong with the spec is told before anything exists.
    let spec = file.parse()?;
    let name = spec.name().to_owned();
    let cards = Cards::of(&spec, &file)?.all_here(&file)?;
    let plan = file.plan(spec, &cards)?;
    let dir = config::absolute(args.out.unwrap_or_else(|| std::path::Path::new("out").join(&name)))?;
    let (parts, words) = parts(&plan, args.workers, args.devices.as_deref().unwrap_or("auto")).await?;

    let house = House::claim(&dir)?;
    let screen = Screen::new(Format::Table);
    screen.note(&format!("{name}: {} on {}", plan.arithmetic(), words.on));
    words.unused.iter().for_each(|words| screen.note(words));
    let telemetry = config::Telemetry::of_client(args.telemetry)?;
    let ended = farm(file, &house, &parts, &telemetry, &screen, &mut interrupts).await;
    screen.close();
    let outcome = match ended {
        Ok(Ended::Settled(job, tasks)) => conclude(&house, *job, tasks, started).await,
        Ok(Ended::Interrupted(exit)) => {
            screen.note(&format!("stopped; what was published stays in {}", dir.display()));
            Ok(exit)
        }
        Err(failed) => Err(failed),
    };
    house.leave()?;
    outcome
}

/// How the farm's work ended.
enum Ended {
    Settled(Box<Job>, Vec<Task>),
    Interrupted(Exit),
}

/// Runs the farm until the job has settled, and takes it down again.
async fn farm(
    file: SpecFile,
    house: &House,
    parts: &[Part],
    telemetry: &config::Telemetry,
    screen: &Screen,
    interrupts: &mut Interrupts,
) -> Result<Ended, Failed> {
    let otlp = Otlp::start("croft-render", telemetry, &Guard::default())?;
    let config = croft_coordinator::Config { traces: otlp.traces(), ..coordinator_config(house)? };
    let coordinator = croft_coordinator::Coordinator::bind(config)
        .await
        .map_err(|e| Failed::new(format!("the coordinator cannot start: {e}")))?;
    let address = coordinator.local_addr().to_string();
    let stop = CancellationToken::new();
    let mut role = JoinSet::new();
    role.spawn(coordinator.run(stop.clone()));
    let mut hands = Hands::start(house, &address, parts, telemetry.otlp_endpoint.as_deref(), screen)?;

    let ended = tokio::select! {
        ended = one_job(&address, file, &otlp, screen) => ended,
        lost = hands.all_lost() => Err(lost),
        gone = role.join_next() => Err(coordinator_gone(gone)),
        exit = interrupts.next() => {
            cancel_all(&address).await;
            Ok(Ended::Interrupted(exit))
        }
    };
    let down = async {
        hands.end().await;
        stop.cancel();
        // Its outcome no longer matters: every file is published, or the failure is known.
        let _ = tokio::time::timeout(END, role.join_next()).await;
        otlp.finish().await;
    };
    tokio::select! {
        () = down => {}
        // A second Ctrl-C does not wait; what is dropped here is killed.
        _ = interrupts.next() => {}
    }
    ended
}

async fn one_job(address: &str, file: SpecFile, otlp: &Otlp, screen: &Screen) -> Result<Ended, Failed> {
    let client = Coordinator::dial(address, &client::how(Guard::default(), Security::Plaintext)).await?;
    let job = submit::create(&client, file, Uuid::new_v4(), &otlp.traces()).await?;
    let job = watch::follow(&client, &job.name, screen).await?;
    let tasks = tasks::all(&client, &job.name, TaskSelector::default()).await?;
    Ok(Ended::Settled(Box::new(job), tasks))
}

async fn cancel_all(address: &str) {
    let cancel = async {
        let client = Coordinator::dial(address, &client::how(Guard::default(), Security::Plaintext)).await?;
        for job in super::jobs::all(&client, "").await? {
            let request = CancelJobRequest { name: job.name, now: true };
            client.jobs().cancel_job(client::request(request)).await?;
        }
        Ok::<(), Failed>(())
    };
    // The workers are ended next; a cancel only lets them end sooner.
    let _ = tokio::time::timeout(CANCEL, cancel).await;
}

fn coordinator_gone<E: std::fmt::Display>(
    gone: Option<Result<Result<(), E>, tokio::task::JoinError>>,
) -> Failed {
    let why = match gone {
        Some(Ok(Err(error))) => error.to_string(),
        Some(Err(panic)) => panic.to_string(),
        Some(Ok(Ok(()))) | None => "it ended".to_owned(),
    };
    Failed::new(format!("the coordinator failed: {why}"))
}

fn coordinator_config(house: &House) -> Result<croft_coordinator::Config, Failed> {
    let url = config::file_url(house.dir())?;
    Ok(croft_coordinator::Config {
        artifacts: url.parse().map_err(|e| Failed::new(format!("{url}: {e}")))?,
        ..croft_coordinator::Config::default()
    })
}

/// What is told of the machine before anything is rendered.
struct Words {
    on: String,
    /// Devices that are there and not used.
    unused: Vec<String>,
}

/// What each worker gets of the machine.
async fn parts(plan: &Plan, workers: u32, devices: &str) -> Result<(Vec<Part>, Words), Failed> {
    let devices = super::roles::devices(devices)?;
    let cores = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
    let workers = workers.min(u32::try_from(plan.tasks()).unwrap_or(u32::MAX)).max(1);
    let (seen, ranks_can) = match &devices {
        Devices::Named { cuda: None, .. } => (nvidia::Seen::default(), Ok(())),
        Devices::Named { .. } | Devices::Auto => {
            let probed = cuda::probe().await.map(drop);
            // Nobody is asked about devices that ranks cannot use.
            let seen = if probed.is_ok() { nvidia::look().await } else { nvidia::Seen::unasked() };
            (seen, probed)
        }
    };
    let chosen = choose(&devices, &ranks_can, config::visible_devices().as_deref(), &seen)
        .map_err(|refusal| Failed::with(Exit::Usage, refusal.why).help(refusal.remedy))?;
    let unused = chosen.words;
    let beside = match &devices {
        Devices::Auto | Devices::Named { cpu: None, .. } => 0,
        Devices::Named { cpu: Some(Cpu::Cores), .. } => cores.saturating_sub(chosen.gpus.len() as u32).max(1),
        Devices::Named { cpu: Some(Cpu::Shares(shares)), .. } => *shares,
    };
    if chosen.gpus.is_empty() {
        let shares = match &devices {
            Devices::Named { cpu: Some(Cpu::Shares(devices)), .. } => {
                let threads = (cores / workers.saturating_mul(*devices).max(1)).max(1);
                Shares { workers, devices: *devices, threads }
            }
            Devices::Named { .. } | Devices::Auto => shares(plan, cores, workers),
        };
        return Ok((Part::of_cores(shares), Words { on: on_cores(shares), unused }));
    }
    let uuids: Vec<&str> = chosen.gpus.iter().map(|gpu| gpu.uuid.as_str()).collect();
    let parts = Part::of_devices(&uuids, workers, beside, cores);
    let names: Vec<&str> = chosen.gpus.iter().map(|gpu| gpu.name.as_str()).collect();
    let cores = if beside > 0 { format!(" and {beside} of the cores") } else { String::new() };
    let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    let on = format!("{count} worker{} with {}{cores}", plural(count), names.join(", "));
    Ok((parts, Words { on, unused }))
}

fn shares(plan: &Plan, cores: u32, workers: u32) -> Shares {
    let weights = plan.layers().iter().map(|l| l.card.weights_bytes).max().unwrap_or(0);
    let memory = super::doctor::memory_bytes().unwrap_or(u64::MAX);
    Shares::of(cores, workers, plan.tasks(), weights, memory)
}

fn on_cores(shares: Shares) -> String {
    let Shares { workers, devices, threads } = shares;
    format!(
        "{workers} worker{} x {devices} device{} x {threads} thread{}",
        plural(workers),
        plural(devices),
        plural(threads)
    )
}

fn plural(n: u32) -> &'static str {
    if n == 1 { "" } else { "s" }
}

/// Contact sheet, summary, failures.
async fn conclude(house: &House, job: Job, tasks: Vec<Task>, started: Instant) -> Result<Exit, Failed> {
    let counts = job.counts.clone().unwrap_or_default();
    let name = client::short(&job.name);
    let model = job.layers.iter().map(|l| l.model.as_str()).collect::<Vec<_>>().join(", ");
    let note = format!("{} of {} tasks   {model}", counts.succeeded, tasks.len());
    let failed = failures(&tasks);
    let dir = house.dir().to_owned();
    let write = move || sheet::write(&dir, &name, &note, &tasks);
    let pages = tokio::task::spawn_blocking(write).await.map_err(|e| Failed::new(e.to_string()))??;

    let seconds = started.elapsed().as_secs_f64();
    let mut table = Table::new(&["JOB", "DONE", "FAILED", "TIME", "PER MIN", "FILES IN", "CONTACT SHEET"]);
    table.row([
        client::short(&job.name),
        counts.succeeded.to_string(),
        counts.failed.to_string(),
        format!("{seconds:.1} s"),
        format!("{:.1}", counts.succeeded as f64 * 60.0 / seconds),
        near(house.dir()),
        pages.first().map(|p| near(p)).unwrap_or_default(),
    ]);
    table.print()?;
    match job.state() {
        JobState::Succeeded => Ok(Exit::Ok),
        JobState::Failed | JobState::Cancelled | JobState::Active | JobState::Unspecified => {
            Err(Failed { exit: Exit::JobFailed, messages: failed })
        }
    }
}

/// A path as the caller would type it: relative where it lies below the current folder.
fn near(path: &std::path::Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

fn failures(tasks: &[Task]) -> Vec<Message> {
    let failed: Vec<&Task> = tasks.iter().filter(|t| t.state() == TaskState::Failed).collect();
    let mut messages: Vec<Message> = failed.iter().take(FAILURES_MAX).map(|t| failure(t)).collect();
    if failed.len() > FAILURES_MAX {
        messages.push(Message {
            text: format!("and {} more tasks failed", failed.len() - FAILURES_MAX),
            help: None,
        });
    }
    messages
}

fn failure(task: &Task) -> Message {
    let failure = task.failure.clone().unwrap_or_default();
    let text = format!(
        "{} ({}) failed: {}: {}",
        client::short(&task.name),
        label(task),
        json::cause(failure.cause()),
        failure.message
    );
    Message { text: output::clean(&text), help: (!failure.remedy.is_empty()).then_some(failure.remedy) }
}
