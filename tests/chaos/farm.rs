//! The farm that is shot at: its parts, the relays between them, and a client of all of it.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{
    links::{Link, Mode},
    parts::{self, KEYS, Part, free_ports},
};

pub(crate) const WORKERS: usize = 4;
/// Clips of one job.
pub(crate) const CLIPS: u64 = 30;
/// A job that has not settled this long after the last fault is stuck.
const SETTLED: Duration = Duration::from_secs(180);
/// A part that is not up by then will not come.
const UP: Duration = Duration::from_secs(60);
const LEASE_MS: u32 = 3_000;

pub(crate) struct Farm {
    pub(crate) etcd: Vec<Part>,
    pub(crate) weed: Part,
    pub(crate) coordinators: Vec<Part>,
    pub(crate) workers: Vec<Part>,
    /// By coordinator, its relays to all etcd members.
    to_etcd: Vec<Vec<Link>>,
    /// By worker, its relays to all coordinators.
    to_coordinators: Vec<Vec<Link>>,
    addresses: Vec<String>,
    pub(crate) dir: TempDir,
    store: String,
    _runtime: Runtime,
}

impl Farm {
    /// Everything up and one leader chosen.
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("threads can be started");
        let dir = tempfile::tempdir().expect("scratch");
        let ports = free_ports(6 + 12 + 3);
        let (etcd_ports, rest) = ports.split_at(6);
        let (weed_ports, coordinator_ports) = rest.split_at(12);
        let mut etcd = parts::etcd(dir.path(), etcd_ports);
        let mut weed = parts::weed(dir.path(), weed_ports);
        etcd.iter_mut().for_each(Part::start);
        weed.start();
        let store = format!("http://127.0.0.1:{}", weed_ports[0]);
        let relay = |targets: &[u16]| -> Vec<Link> {
            targets.iter().map(|port| Link::start(runtime.handle(), *port)).collect()
        };
        let members: Vec<u16> = etcd_ports.iter().step_by(2).copied().collect();
        let to_etcd: Vec<Vec<Link>> = coordinator_ports.iter().map(|_| relay(&members)).collect();
        let to_coordinators: Vec<Vec<Link>> = (0..WORKERS).map(|_| relay(coordinator_ports)).collect();
        let config = dir.path().join("coordinator.toml");
        fs::write(&config, format!("lease_ms = {LEASE_MS}\n")).expect("written");
        let environment = environment(&store);
        let coordinators = coordinator_ports.iter().zip(&to_etcd).enumerate().map(|(at, (port, links))| {
            let words = [
                env!("CARGO_BIN_EXE_croft").to_owned(),
                "coordinator".to_owned(),
                "--config".to_owned(),
                config.display().to_string(),
                "--listen".to_owned(),
                format!("127.0.0.1:{port}"),
                "--etcd".to_owned(),
                list(links, "http://127.0.0.1:"),
                "--artifacts".to_owned(),
                "s3://croft/farm".to_owned(),
                "--data-dir".to_owned(),
                dir.path().join(format!("coordinator-{at}")).display().to_string(),
            ];
            Part::new(dir.path(), &format!("coordinator-{at}"), words.to_vec(), &environment)
        });
        let coordinators: Vec<Part> = coordinators.collect();
        let workers = to_coordinators.iter().enumerate().map(|(at, links)| {
            let words = [
                env!("CARGO_BIN_EXE_croft").to_owned(),
                "worker".to_owned(),
                "--coordinator".to_owned(),
                list(links, "127.0.0.1:"),
                "--name".to_owned(),
                format!("w{at}"),
                "--devices".to_owned(),
                "cpu:1".to_owned(),
                "--threads".to_owned(),
                "1".to_owned(),
                "--data-dir".to_owned(),
                dir.path().join(format!("worker-{at}")).display().to_string(),
            ];
            Part::new(dir.path(), &format!("w{at}"), words.to_vec(), &environment)
        });
        let workers: Vec<Part> = workers.collect();
        let addresses = coordinator_ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let mut farm = Self {
            etcd,
            weed,
            coordinators,
            workers,
            to_etcd,
            to_coordinators,
            addresses,
            dir,
            store,
            _runtime: runtime,
        };
        farm.wait_for_store();
        farm.coordinators.iter_mut().for_each(Part::start);
        farm.workers.iter_mut().for_each(Part::start);
        farm.wait_for_leader();
        farm
    }

    /// Asks until it answers: a server of others has no other way to say that it is up.
    fn wait_for_store(&self) {
        let began = Instant::now();
        loop {
            let told = self.croft(&["doctor", "--artifacts", "s3://croft", "-o", "json"]);
            if String::from_utf8_lossy(&told.stdout).contains("refuses to overwrite") {
                return;
            }
            assert!(began.elapsed() < UP, "weed did not come up\n{}", self.weed.tail());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn wait_for_leader(&self) {
        let began = Instant::now();
        while self.leader().is_none() {
            let logs: Vec<String> = self.coordinators.iter().map(Part::tail).collect();
            assert!(began.elapsed() < UP, "nobody leads\n{}", logs.join("\n"));
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Runs `croft` to its end, without a coordinator.
    pub(crate) fn croft(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_croft"));
        command.args(words).env_remove("CROFT_COORDINATOR").envs(environment(&self.store));
        command.output().expect("the binary runs")
    }

    /// The same as a client of all coordinators.
    pub(crate) fn client(&self, words: &[&str]) -> Output {
        let all = self.addresses.join(",");
        self.croft(&[words, &["--coordinator", &all]].concat())
    }

    /// What a client is told, tried until it is told something: no answer is no answer to a farm under fire.
    pub(crate) fn json(&self, words: &[&str]) -> Value {
        let began = Instant::now();
        loop {
            let told = self.client(&[words, &["-o", "json"]].concat());
            if told.status.success() {
                return serde_json::from_slice(&told.stdout).expect("JSON");
            }
            let error = String::from_utf8_lossy(&told.stderr).into_owned();
            assert!(began.elapsed() < UP, "{words:?}: {error}");
        }
    }

    /// The coordinator that leads, as it says itself.
    pub(crate) fn leader(&self) -> Option<usize> {
        let leads = |address: &&String| {
            let told = self.croft(&["status", "-o", "json", "--coordinator", address]);
            let status: Option<Value> = serde_json::from_slice(&told.stdout).ok();
            status.is_some_and(|status| status["role"] == "LEADER")
        };
        // A stopped one would not answer and be waited for; followers answer as well and name the leader.
        let running = self.addresses.iter().zip(&self.coordinators).filter(|(_, part)| part.answers());
        let (address, _) = running.into_iter().find(|(address, _)| leads(address))?;
        self.addresses.iter().position(|known| known == address)
    }

    pub(crate) fn submit(&mut self, number: usize) -> String {
        let name = format!("job-{number}");
        let path = self.dir.path().join(format!("{name}.yaml"));
        fs::write(&path, spec(&name)).expect("written");
        // The same request over and over: however often it is sent, it is one job.
        let request = format!("00000000-0000-4000-8000-{number:012}");
        let began = Instant::now();
        loop {
            let told = self.client(&["submit", &path.display().to_string(), "--request-id", &request]);
            if told.status.success() {
                let job = String::from_utf8(told.stdout).expect("text").trim().to_owned();
                assert_eq!(job, name, "a resent submission made another job");
                return job;
            }
            let error = String::from_utf8_lossy(&told.stderr).into_owned();
            assert!(began.elapsed() < UP, "submit: {error}");
        }
    }

    pub(crate) fn unsettled(&self, jobs: &[String]) -> usize {
        if jobs.is_empty() {
            return 0;
        }
        let told = self.json(&["jobs"]);
        let items = told["items"].as_array().cloned().unwrap_or_default();
        items.iter().filter(|job| job["state"] == "ACTIVE").count()
    }

    /// Waits until every job has settled.
    pub(crate) fn settles(&self, jobs: &[String]) {
        let began = Instant::now();
        while self.unsettled(jobs) > 0 {
            let stuck = || self.client(&["jobs"]);
            assert!(
                began.elapsed() < SETTLED,
                "stuck:\n{}\n{}",
                String::from_utf8_lossy(&stuck().stdout),
                self.coordinators.iter().map(Part::tail).collect::<Vec<_>>().join("\n")
            );
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Nothing may end by itself.
    pub(crate) fn all_run(&mut self) {
        let parts = self.coordinators.iter_mut().chain(&mut self.workers).chain(&mut self.etcd);
        for part in parts.chain(std::iter::once(&mut self.weed)) {
            if let Some(ended) = part.has_ended() {
                panic!("{ended}");
            }
        }
    }

    pub(crate) fn kill_rank(&self, worker: usize) {
        let Some(parent) = self.workers[worker].pid() else { return };
        for child in children(parent) {
            // It may have ended meanwhile.
            let _ = Command::new("kill").args(["-KILL", &child.to_string()]).output();
        }
    }

    pub(crate) fn cut_from_etcd(&self, coordinator: usize, mode: Mode) {
        self.to_etcd[coordinator].iter().for_each(|link| link.set(mode));
    }

    pub(crate) fn cut_worker(&self, worker: usize, mode: Mode) {
        self.to_coordinators[worker].iter().for_each(|link| link.set(mode));
    }
}

fn list(links: &[Link], before: &str) -> String {
    let all: Vec<String> = links.iter().map(|link| format!("{before}{}", link.port)).collect();
    all.join(",")
}

fn environment(store: &str) -> Vec<(&'static str, String)> {
    let mut all: Vec<(&'static str, String)> = KEYS.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
    all.push(("AWS_ENDPOINT_URL", store.to_owned()));
    all.push(("AWS_REGION", "us-east-1".to_owned()));
    all.push(("CROFT_LOG", "info".to_owned()));
    all
}

fn spec(name: &str) -> String {
    format!(
        "apiVersion: croft/v1\nkind: Job\nname: {name}\naxes:\n  seed: {{from: 1, count: {CLIPS}}}\nlayers:\n  \
         - name: clip\n    model: builtin://shapes\n    prompt: a red circle moving right on a gray background\n    \
         params: {{steps: 2, num_frames: 9}}\n    preview: false\n    output: \"{{job}}/s{{seed}}\"\npolicy: {{retries: 50}}\n"
    )
}

/// Processes whose parent is `pid`.
fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(Path::new(&path)).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}
