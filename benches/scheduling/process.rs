//! Processes that are measured, and those that they need beside them.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

/// The kernel counts a process's time in these; the same on every Linux of our kinds of machine.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process that ends when this value does.
pub(crate) struct Role {
    child: Child,
    /// What it said first, where that was read already.
    said: Option<String>,
}

impl Role {
    pub(crate) fn start(args: &[&str]) -> Result<Self> {
        let program = std::env::current_exe()?;
        let child = Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        Ok(Self { child, said: None })
    }

    /// The real binary with its state in redb. It ends by the signal at its drop.
    pub(crate) fn real(folder: &Path, private: Option<&Private>) -> Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_croft"));
        command
            .args(["--log-format", "json", "coordinator", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.join("coordinator"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        match private {
            Some(private) => command
                .args([
                    "--otlp-endpoint",
                    &private.collector,
                    "--metrics-listen",
                    "127.0.0.1:0",
                    "--identity",
                ])
                .arg(private.identity("lead")),
            None => command.arg("--insecure"),
        };
        let mut child = command.spawn()?;
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

    pub(crate) fn first_line(&mut self) -> Result<String> {
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
    pub(crate) fn cpu(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name in parentheses may hold spaces; utime and stime are the 12th and 13th field behind it.
        let fields: Vec<&str> = stat.rsplit(')').next().context("stat")?.split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
        Ok(ticks / TICKS_PER_SECOND)
    }

    pub(crate) fn peak_mib(&self) -> Result<u64> {
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
/// What a private farm has beside a plain one.
pub(crate) struct Private {
    dir: tempfile::TempDir,
    pub(crate) collector: String,
    _collector: Role,
}

impl Private {
    pub(crate) fn open() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let certs = |words: &[&str]| -> Result<()> {
            let done = Command::new(env!("CARGO_BIN_EXE_croft"))
                .arg("certs")
                .args(words)
                .arg("--dir")
                .arg(dir.path().join("ca"))
                .stdout(Stdio::null())
                .status()?;
            ensure!(done.success(), "croft certs {words:?}");
            Ok(())
        };
        certs(&["init"])?;
        for (name, role) in [("lead", "coordinator"), ("bench", "worker"), ("sam", "admin")] {
            let out = dir.path().join(name);
            certs(&["issue", name, "--role", role, "--out", &out.to_string_lossy()])?;
        }
        let mut collector = Role::start(&["collector"])?;
        let url = format!("http://{}", collector.first_line()?);
        Ok(Self { dir, collector: url, _collector: collector })
    }

    pub(crate) fn identity(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// One member of its own, where there is an etcd and the coordinator speaks to it.
pub(crate) struct Etcd {
    pub(crate) url: String,
    _process: Role,
    _dir: tempfile::TempDir,
}

impl Etcd {
    pub(crate) fn start() -> Result<Option<Self>> {
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
