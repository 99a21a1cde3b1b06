//! Processes of the real binary, started by a test on ports of their own and ended with it.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// Whoever runs the tests may have a farm of their own.
const NOWHERE: &str = "/dev/null";
/// A lease that a test can wait out.
const LEASE_MS: u32 = 2_000;

/// `croft` with these words; its environment says nothing of the machine it runs on.
pub(crate) fn croft(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_croft"));
    command
        .args(words)
        .env_remove("CROFT_COORDINATOR")
        .env_remove("AWS_ENDPOINT_URL")
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_CA_BUNDLE")
        .env_remove("CROFT_IDENTITY")
        .env("XDG_CONFIG_HOME", NOWHERE)
        .env("XDG_DATA_HOME", NOWHERE)
        .env("CROFT_LOG", "info");
    command
}

/// Runs to the end; panics with what it said unless it ended with `code`.
pub(crate) fn ends(command: &mut Command, code: i32) -> Output {
    let output = command.output().expect("the binary runs");
    assert_eq!(
        output.status.code(),
        Some(code),
        "{command:?}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// A process that does not outlive its test.
#[derive(Debug)]
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn signal(&self, signal: &str) {
        kill(self.0.id(), signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL ends a stopped process as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn kill(pid: u32, signal: &str) {
    let sent = Command::new("kill").args([signal, &pid.to_string()]).status().expect("kill runs");
    assert!(sent.success(), "kill {signal} {pid}");
}

/// A coordinator with a folder of its own as its store.
#[derive(Debug)]
pub(crate) struct Coordinator {
    pub(crate) address: String,
    pub(crate) dir: TempDir,
    workers: Vec<(String, Process)>,
    process: Process,
}

impl Coordinator {
    pub(crate) fn start() -> Self {
        Self::start_with(&[], |command| command)
    }

    /// With more words on its command line, and an environment.
    pub(crate) fn start_with(words: &[&str], dressed: impl Fn(Command) -> Command) -> Self {
        let dir = tempfile::tempdir().expect("scratch");
        let config = dir.path().join("coordinator.toml");
        fs::write(&config, format!("lease_ms = {LEASE_MS}\n")).expect("written");
        let mut command = dressed(croft(&["--log-format", "json", "coordinator"]));
        if !words.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let mut child = command
            .args(words)
            .arg("--config")
            .arg(&config)
            .arg("--data-dir")
            .arg(dir.path().join("coordinator"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut log = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let address = log
            .by_ref()
            .map_while(Result::ok)
            .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
            .find_map(|line| line["address"].as_str().map(str::to_owned))
            .expect("it says where it listens");
        // The pipe is read to its end, so that it never fills.
        std::thread::spawn(move || log.for_each(drop));
        Self { address, dir, workers: Vec::new(), process: Process(child) }
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.path().join("coordinator/artifacts")
    }

    /// A worker with one device.
    pub(crate) fn worker(&mut self, name: &str) {
        self.worker_with(name, |command| command);
    }

    /// The same in an environment.
    pub(crate) fn worker_with(&mut self, name: &str, dressed: impl Fn(Command) -> Command) {
        let mut command = croft(&["worker", "--name", name, "--devices", "cpu:1"]);
        // A test may name another address by a flag.
        command.env("CROFT_COORDINATOR", &self.address);
        let child = dressed(command)
            .args(["--threads", "1", "--data-dir"])
            .arg(self.dir.path().join(name))
            .stderr(fs::File::create(self.dir.path().join(format!("{name}.log"))).expect("a log"))
            .spawn()
            .expect("the binary runs");
        self.workers.push((name.to_owned(), Process(child)));
    }

    /// A worker whose renders keep every step.
    pub(crate) fn careful_worker(&mut self, name: &str) {
        let config = self.dir.path().join(format!("{name}.toml"));
        fs::write(&config, "checkpoint_ms = 1\n").expect("written");
        self.worker_with(name, |mut command| {
            command.arg("--config").arg(&config);
            command
        });
    }

    /// Returns once so many workers are there.
    pub(crate) fn until_workers(&self, count: usize) {
        while self.json(&["workers"])["items"].as_array().map_or(0, Vec::len) < count {
            std::thread::yield_now();
        }
    }

    /// What a worker has said so far.
    pub(crate) fn log(&self, worker: &str) -> String {
        fs::read_to_string(self.dir.path().join(format!("{worker}.log"))).expect("a log")
    }

    pub(crate) fn process(&self, worker: &str) -> &Process {
        &self.workers.iter().find(|(name, _)| name == worker).expect("a worker of this test").1
    }

    /// A worker that has joined, with its own folder and no word about anything else.
    pub(crate) fn joined(&mut self, name: &str, home: &Path) {
        let child = croft(&["worker", "--devices", "cpu:1", "--threads", "1", "--data-dir"])
            .arg(home)
            .stderr(fs::File::create(self.dir.path().join(format!("{name}.log"))).expect("a log"))
            .spawn()
            .expect("the binary runs");
        self.workers.push((name.to_owned(), Process(child)));
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// The rank of a worker with one device.
    pub(crate) fn rank_of(&self, worker: &str) -> u32 {
        let parent = self.process(worker).0.id();
        children(parent).into_iter().next().expect("a worker that renders has a rank")
    }

    /// Ends in good order: what it still had to do for the store is done.
    pub(crate) fn end(&mut self) {
        self.process.signal("-TERM");
        let status = self.process.0.wait().expect("it ends");
        assert!(status.success(), "{status}");
    }

    pub(crate) fn client(&self, words: &[&str]) -> Command {
        let mut command = croft(words);
        command.args(["--coordinator", &self.address]);
        command
    }

    pub(crate) fn json(&self, words: &[&str]) -> Value {
        let output = ends(self.client(words).args(["-o", "json"]), 0);
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Submits and gives the job's name.
    pub(crate) fn submit(&self, spec: &Path) -> String {
        let output = ends(self.client(&["submit"]).arg(spec), 0);
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    /// The events of a job, one JSON value a line, until it settles.
    pub(crate) fn watch(&self, job: &str) -> Watch {
        let mut child = self
            .client(&["watch", job, "-o", "json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let lines = BufReader::new(child.stdout.take().expect("it is piped"));
        Watch { lines, process: Process(child) }
    }
}

/// A followed job.
#[derive(Debug)]
pub(crate) struct Watch {
    lines: BufReader<ChildStdout>,
    process: Process,
}

impl Watch {
    /// The first event that `is` the one waited for.
    pub(crate) fn until(&mut self, mut is: impl FnMut(&Value) -> bool) -> Value {
        let mut seen = Vec::new();
        loop {
            let mut line = String::new();
            let read = self.lines.read_line(&mut line).expect("a pipe");
            assert!(read > 0, "the job settled before what was waited for; last: {:?}", seen.last());
            let event: Value = serde_json::from_str(&line).expect("JSON");
            if is(&event) {
                return event;
            }
            seen.push(line);
        }
    }

    /// A worker's name, once one renders a step of the job.
    pub(crate) fn until_denoising(&mut self) -> String {
        self.until_step(1)
    }

    /// The same, once it has come so far.
    pub(crate) fn until_step(&mut self, step: u64) -> String {
        let event = self
            .until(|e| e["progress"]["stage"] == "DENOISE" && e["progress"]["step"].as_u64() >= Some(step));
        let device = event["progress"]["device"].as_str().expect("a device").to_owned();
        device.split('/').nth(1).expect("workers/NAME/devices/N").to_owned()
    }

    /// Follows to the end and gives the exit code.
    pub(crate) fn end(mut self) -> Option<i32> {
        std::io::copy(&mut self.lines, &mut std::io::sink()).expect("a pipe");
        self.process.0.wait().expect("it ends").code()
    }
}

/// Whether `pid` is a process that has not ended.
pub(crate) fn is_there(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// Processes whose parent is `pid`.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("a Linux machine").flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // The name of a program may hold anything; the parent is the second word behind its closing bracket.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
        if parent == Some(pid.to_string().as_str()) {
            found.push(child);
        }
    }
    found
}

/// Every file under `dir`, by its path there; attempts in the making and the store's own are not among them.
pub(crate) fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, dir: &Path, into: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(dir).expect("a folder").flatten() {
            let path = entry.path();
            if dir == root && entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if path.is_dir() {
                walk(root, &path, into);
            } else {
                let name = path.strip_prefix(root).expect("below").display().to_string();
                into.insert(name, fs::read(&path).expect("a file"));
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(dir, dir, &mut all);
    all
}

/// A spec of `seeds` clips by the built-in model, `steps` each, in a folder `name` of the store.
pub(crate) fn shapes(dir: &Path, name: &str, seeds: u32, steps: u32) -> PathBuf {
    shapes_with(dir, name, seeds, &format!("params: {{steps: {steps}}}"))
}

/// The same with other `keys` of the layer.
pub(crate) fn shapes_with(dir: &Path, name: &str, seeds: u32, keys: &str) -> PathBuf {
    let path = dir.join(format!("{name}.yaml"));
    let text = format!(
        "apiVersion: croft/v1\nkind: Job\nname: {name}\naxes:\n  seed: {{from: 1, count: {seeds}}}\nlayers:\n  \
         - name: clip\n    model: builtin://shapes\n    prompt: a red circle moving right on a gray background\n    \
         {keys}\n    output: \"{name}/s{{seed}}\"\n"
    );
    fs::write(&path, text).expect("written");
    path
}
