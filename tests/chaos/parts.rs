//! Processes that are killed and started again with the same words.

use std::{
    fs::OpenOptions,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
};

/// One process of the farm.
pub(crate) struct Part {
    pub(crate) name: String,
    words: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    child: Option<Child>,
}

impl Part {
    pub(crate) fn new(dir: &Path, name: &str, words: Vec<String>, environment: &[(&str, String)]) -> Self {
        let environment = environment.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let log = dir.join(format!("{name}.log"));
        Self { name: name.to_owned(), words, environment, log, child: None }
    }

    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs", self.name);
        let log = OpenOptions::new().create(true).append(true).open(&self.log).expect("a log");
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).envs(self.environment.iter().cloned()).stdin(Stdio::null());
        command.env_remove("CROFT_COORDINATOR");
        let child = command.stdout(log.try_clone().expect("a log")).stderr(log).spawn();
        self.child =
            Some(child.unwrap_or_else(|error| panic!("{}: {error} (tests/run installs it)", self.words[0])));
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(crate) fn signal(&self, signal: &str) {
        let Some(child) = &self.child else { return };
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success(), "kill {signal} {}", self.name);
    }

    /// Whether it runs and is not stopped.
    pub(crate) fn answers(&self) -> bool {
        let Some(pid) = self.pid() else { return false };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('T')
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether it ended by itself, which nothing here should.
    pub(crate) fn has_ended(&mut self) -> Option<String> {
        let status = self.child.as_mut()?.try_wait().expect("a child of ours")?;
        Some(format!("{} ended by itself: {status}\n{}", self.name, self.tail()))
    }

    pub(crate) fn tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Ports that nobody listens on, below those that systems hand out: a process that is started again finds its own free.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    // Tests of one process run at once: none is told of the same port twice.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + u16::try_from(std::process::id() % 10_000).expect("below 10,000");
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let next = std::iter::repeat_with(|| first + NEXT.fetch_add(1, Ordering::Relaxed));
    next.take_while(|port| *port < 32_000).filter(free).take(count).collect()
}

/// Three etcd members, or one.
pub(crate) fn etcd(dir: &Path, ports: &[u16]) -> Vec<Part> {
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let members = ports.len() / 2;
    let cluster: Vec<String> = (0..members).map(|at| format!("n{at}={}", url(ports[2 * at + 1]))).collect();
    let member = |at: usize| {
        let (client, peer) = (url(ports[2 * at]), url(ports[2 * at + 1]));
        let name = format!("n{at}");
        let words = [
            "etcd",
            "--name",
            &name,
            "--data-dir",
            &dir.join(format!("etcd-{at}")).display().to_string(),
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
            "--initial-cluster",
            &cluster.join(","),
            "--auto-compaction-mode=periodic",
            "--auto-compaction-retention=1h",
        ];
        Part::new(dir, &format!("etcd-{at}"), words.map(str::to_owned).to_vec(), &[])
    };
    (0..members).map(member).collect()
}

pub(crate) const KEYS: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "croft-test"), ("AWS_SECRET_ACCESS_KEY", "croft-test-secret")];

/// SeaweedFS with a bucket `croft`, its S3 door on the first of twelve ports.
pub(crate) fn weed(dir: &Path, ports: &[u16]) -> Part {
    let config = dir.join("s3.json");
    let [(_, key), (_, secret)] = KEYS;
    let text = format!(
        r#"{{"identities": [{{"name": "farm", "credentials": [{{"accessKey": "{key}", "secretKey": "{secret}"}}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"]}}]}}"#
    );
    std::fs::write(&config, text).expect("written");
    let data = dir.join("weed");
    std::fs::create_dir_all(&data).expect("a folder");
    let names = [
        "s3.port",
        "s3.port.grpc",
        "master.port",
        "master.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "filer.port",
        "filer.port.grpc",
        "s3.port.iceberg",
        "webdav.port",
        "admin.port",
        "admin.port.grpc",
    ];
    let mut words: Vec<String> =
        ["weed", "mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-bucket=croft"].map(str::to_owned).to_vec();
    words.push(format!("-dir={}", data.display()));
    words.push(format!("-s3.config={}", config.display()));
    words.extend(names.iter().zip(ports).map(|(name, port)| format!("-{name}={port}")));
    Part::new(dir, "weed", words, &[])
}
