//! The worker processes of an embedded farm: started, restarted a few times, and taken along at the end.
//!
//! A worker ends when its standard input does, so that none outlives this process, whatever ends it.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    process::{Child, Command},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::house::House;
use crate::{
    exit::{Exit, Failed, Message},
    progress::Screen,
};

/// A worker that ends this often by itself will not get better.
const RESTARTS_MAX: u32 = 3;

/// Before a restart, times its number.
const PAUSE: Duration = Duration::from_millis(500);

/// What a worker gets to end its ranks and leave.
const GRACE: Duration = Duration::from_secs(5);

/// How much of a worker's log a failure shows.
const LOG_TAIL_BYTES: u64 = 4096;

/// How the machine is shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shares {
    pub(super) workers: u32,
    /// Devices of each worker.
    pub(super) devices: u32,
    /// Threads of each device.
    pub(super) threads: u32,
}

impl Shares {
    /// Shares `cores` out among `workers`: a device for each core, as clips side by side keep cores busier than
    /// threads on one clip; but no more devices than tasks, nor than copies of `weights_bytes` fit into
    /// `memory_bytes`.
    pub(super) fn of(cores: u32, workers: u32, tasks: u64, weights_bytes: u64, memory_bytes: u64) -> Self {
        // A rank holds its weights in f32, published ones are 16 bits wide; half the memory is left to the clips.
        let copies = memory_bytes / 2 / weights_bytes.saturating_mul(2).max(1);
        let useful = tasks.min(copies).div_ceil(u64::from(workers)).max(1);
        let devices = u64::from((cores / workers).max(1)).min(useful);
        let devices = u32::try_from(devices).expect("at most the number of cores");
        Self { workers, devices, threads: (cores / (workers * devices)).max(1) }
    }
}

/// What one worker process is given of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// As `--devices` takes it.
    pub(super) devices: String,
    pub(super) threads: u32,
}

impl Part {
    /// One for each worker.
    pub(super) fn of_cores(shares: Shares) -> Vec<Self> {
        let Shares { workers, devices, threads } = shares;
        vec![Self { devices: format!("cpu:{devices}"), threads }; workers as usize]
    }

    /// NVIDIA devices, dealt out one by one among as many workers as there are devices at most. The first has `beside`
    /// them so many shares of the cores.
    pub(super) fn of_devices(uuids: &[&str], workers: u32, beside: u32, cores: u32) -> Vec<Self> {
        let workers = (workers as usize).clamp(1, uuids.len().max(1));
        let devices = u32::try_from(uuids.len()).unwrap_or(u32::MAX).saturating_add(beside).max(1);
        let mut dealt: Vec<Vec<String>> = vec![Vec::new(); workers];
        for (at, uuid) in uuids.iter().enumerate() {
            dealt[at % workers].push(format!("cuda:{uuid}"));
        }
        if beside > 0 {
            dealt[0].push(format!("cpu:{beside}"));
        }
        let threads = (cores / devices).max(1);
        dealt.into_iter().map(|devices| Self { devices: devices.join(","), threads }).collect()
    }
}

/// Supervised workers. Dropping it kills them.
#[derive(Debug)]
pub(super) struct Hands {
    stop: CancellationToken,
    supervised: JoinSet<Result<(), Failed>>,
}

/// One worker's command line and log.
#[derive(Debug, Clone)]
struct Plan {
    name: String,
    program: PathBuf,
    args: Vec<String>,
    log: PathBuf,
}

impl Hands {
    /// Starts the workers against the coordinator at `address`.
    pub(super) fn start(
        house: &House,
        address: &str,
        parts: &[Part],
        otlp_endpoint: Option<&str>,
        screen: &Screen,
    ) -> Result<Self, Failed> {
        let program = std::env::current_exe()
            .map_err(|e| Failed::new(format!("cannot find this program to start workers from: {e}")))?;
        let stop = CancellationToken::new();
        let mut supervised = JoinSet::new();
        for (number, part) in (1..).zip(parts) {
            let name = format!("local-{number}");
            let data_dir = house.scratch(&name);
            let args = [
                "worker",
                "--insecure",
                "--until-stdin-closes",
                "--coordinator",
                address,
                "--name",
                &name,
                "--data-dir",
                &data_dir.display().to_string(),
                "--devices",
                &part.devices,
                "--threads",
                &part.threads.to_string(),
            ];
            let plan = Plan {
                args: args
                    .into_iter()
                    .chain(otlp_endpoint.into_iter().flat_map(|url| ["--otlp-endpoint", url]))
                    .map(str::to_owned)
                    .collect(),
                program: program.clone(),
                log: house.scratch(&format!("{name}.log")),
                name,
            };
            supervised.spawn(supervise(plan, stop.clone(), screen.clone()));
        }
        Ok(Self { stop, supervised })
    }

    /// Returns when no worker is left and none will be started again: why.
    pub(super) async fn all_lost(&mut self) -> Failed {
        let mut messages = Vec::new();
        while let Some(ended) = self.supervised.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(failed)) => messages.extend(failed.messages),
                Err(panic) => messages.push(Message { text: panic.to_string(), help: None }),
            }
        }
        Failed { exit: Exit::Failed, messages }
    }

    /// Ends them all, and waits for it.
    pub(super) async fn end(mut self) {
        self.stop.cancel();
        while self.supervised.join_next().await.is_some() {}
    }
}

async fn supervise(plan: Plan, stop: CancellationToken, screen: Screen) -> Result<(), Failed> {
    let mut restarts = 0;
    loop {
        let mut child = spawn(&plan)?;
        // Waiting for a child closes its standard input, which here would tell it to end.
        let stdin = child.stdin.take();
        let status = tokio::select! {
            status = child.wait() => status,
            () = stop.cancelled() => {
                drop(stdin);
                return end(child).await;
            }
        };
        let how = status.map_or_else(|e| e.to_string(), how);
        if restarts == RESTARTS_MAX {
            return Err(Failed::new(format!(
                "worker {} {how}, after {restarts} restarts\n{}",
                plan.name,
                tail(&plan)
            ))
            .help("run `croft doctor` to see whether this machine has what a worker needs"));
        }
        restarts += 1;
        screen.note(&format!("worker {} {how}, restarted ({restarts} of {RESTARTS_MAX})", plan.name));
        tokio::select! {
            () = tokio::time::sleep(PAUSE * restarts) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

fn spawn(plan: &Plan) -> Result<Child, Failed> {
    let bad = |e: std::io::Error| Failed::new(format!("cannot start worker {}: {e}", plan.name));
    let log = File::options().create(true).append(true).open(&plan.log).map_err(bad)?;
    Command::new(&plan.program)
        .args(&plan.args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log)
        // Ctrl-C is this process's to handle: it lets workers end in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(bad)
}

async fn end(mut child: Child) -> Result<(), Failed> {
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        // It did not listen; its ranks see their sockets close and end.
        child.kill().await.map_err(|e| Failed::new(format!("cannot kill a worker: {e}")))?;
    }
    Ok(())
}

fn how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was killed by signal {signal}"),
        (_, Some(code)) => format!("ended with code {code}"),
        (None, None) => "ended".to_owned(),
    }
}

/// The end of the worker's log, for a failure's message.
fn tail(plan: &Plan) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(&plan.log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    text.lines().rev().take(12).collect::<Vec<_>>().into_iter().rev().map(|l| format!("  | {l}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn cores_are_shared_out_and_one_clip_gets_them_all() {
        let shares = |cores, workers, tasks| {
            let s = Shares::of(cores, workers, tasks, 10 << 20, 16 * GIB);
            (s.devices, s.threads)
        };
        assert_eq!(shares(2, 1, 24), (2, 1));
        assert_eq!(shares(2, 3, 24), (1, 1));
        assert_eq!(shares(2, 1, 1), (1, 2));
        assert_eq!(shares(16, 1, 1), (1, 16));
        assert_eq!(shares(16, 2, 6), (3, 2));
        assert_eq!(shares(64, 4, 1000), (16, 1));
    }

    #[test]
    fn devices_are_dealt_out_and_none_is_given_twice() {
        let parts = |workers, beside| {
            let parts = Part::of_devices(&["GPU-a", "GPU-b", "GPU-c"], workers, beside, 16);
            parts.into_iter().map(|part| (part.devices, part.threads)).collect::<Vec<_>>()
        };
        assert_eq!(parts(1, 0), [("cuda:GPU-a,cuda:GPU-b,cuda:GPU-c".to_owned(), 5)]);
        assert_eq!(
            parts(2, 1),
            [("cuda:GPU-a,cuda:GPU-c,cpu:1".to_owned(), 4), ("cuda:GPU-b".to_owned(), 4)]
        );
        assert_eq!(parts(64, 0).len(), 3);
        let cores = Part::of_cores(Shares { workers: 2, devices: 3, threads: 4 });
        assert_eq!(cores, vec![Part { devices: "cpu:3".to_owned(), threads: 4 }; 2]);
    }

    #[test]
    fn a_big_model_is_not_loaded_more_often_than_memory_holds() {
        let shares = Shares::of(32, 1, 100, 8 * GIB, 64 * GIB);
        assert_eq!((shares.devices, shares.threads), (2, 16));
        assert_eq!(Shares::of(32, 1, 100, 80 * GIB, 64 * GIB).devices, 1);
    }
}
