//! What an operator sees of a running farm: traces at a real collector, a page of metrics as Prometheus reads it, logs of
//! ranks live and afterwards, and who used what.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    process::{ChildStdout, Command, Stdio},
};

use serde_json::Value;

use crate::{
    house::{Coordinator, Process, croft, ends, kill, shapes},
    python::python,
};

/// A collector in Python.
struct Collector {
    url: String,
    lines: BufReader<ChildStdout>,
    _process: Process,
}

impl Collector {
    fn start() -> Self {
        let mut child = python("tests/farm/otlp.py").stdout(Stdio::piped()).spawn().expect("python runs");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut port = String::new();
        lines.read_line(&mut port).expect("a pipe");
        Self { url: format!("http://127.0.0.1:{}", port.trim()), lines, _process: Process(child) }
    }

    /// Every span until there are as many of each name as `wanted`.
    fn until(&mut self, wanted: &[(&str, usize)]) -> Vec<Value> {
        let mut spans: Vec<Value> = Vec::new();
        let has = |spans: &[Value], name: &str| spans.iter().filter(|span| span["name"] == name).count();
        while wanted.iter().any(|(name, count)| has(&spans, name) < *count) {
            let mut line = String::new();
            let read = self.lines.read_line(&mut line).expect("a pipe");
            assert!(read > 0, "the collector ended; it was sent {spans:#?}");
            spans.push(serde_json::from_str(&line).expect("JSON"));
        }
        spans
    }
}

/// A worker that sends its spans to `url`, with ranks that tell every step.
fn talking(url: Option<&str>) -> impl Fn(Command) -> Command {
    let url = url.map(str::to_owned);
    move |mut command| {
        if let Some(url) = &url {
            command.args(["--otlp-endpoint", url]);
        }
        command.env("CROFT_LOG", "info,croft_rank=debug");
        command
    }
}

#[test]
fn one_trace_holds_client_coordinator_worker_rank_and_store() {
    let mut collector = Collector::start();
    let url = collector.url.clone();
    let mut house = Coordinator::start_with(&["--otlp-endpoint", &url], |command| command);
    house.worker_with("one", talking(Some(&url)));
    let spec = shapes(house.dir.path(), "clips", 2, 3);
    ends(house.client(&["submit", "--watch", "--otlp-endpoint", &url]).arg(&spec).stderr(Stdio::null()), 0);
    let of_attempt =
        ["attempt", "schedule", "dispatch", "rank", "encode", "denoise", "decode", "store", "publish"];
    let mut wanted: Vec<(&str, usize)> = of_attempt.map(|name| (name, 2)).to_vec();
    wanted.extend([("submit", 1), ("CreateJob", 1), ("plan", 1), ("load", 1)]);
    let spans = collector.until(&wanted);

    let by_id: BTreeMap<&str, &Value> =
        spans.iter().map(|span| (span["id"].as_str().expect("id"), span)).collect();
    assert_eq!(by_id.len(), spans.len(), "every span has a name of its own");
    let trace = &spans[0]["trace"];
    assert!(spans.iter().all(|span| span["trace"] == *trace && span["scope"] == "croft"), "{spans:#?}");
    let parent = |span: &Value| {
        by_id.get(span["parent"].as_str().expect("text")).map_or("", |p| p["name"].as_str().expect("name"))
    };
    for span in &spans {
        let (above, service) = match span["name"].as_str().expect("a name") {
            "submit" => ("", "croft-client"),
            "CreateJob" => ("submit", "croft-coordinator"),
            "plan" | "attempt" => ("CreateJob", "croft-coordinator"),
            "schedule" | "dispatch" | "publish" => ("attempt", "croft-coordinator"),
            "rank" | "store" => ("attempt", "croft-worker"),
            "load" | "encode" | "denoise" | "decode" | "save" => ("rank", "croft-worker"),
            other => panic!("nobody knows {other}"),
        };
        assert_eq!((parent(span), &span["service"]), (above, &Value::from(service)), "{span:#}");
        assert!(span["start"].as_u64() <= span["end"].as_u64() && span["error"] == false, "{span:#}");
    }
    for attempt in spans.iter().filter(|span| span["name"] == "attempt") {
        let fields = &attempt["fields"];
        assert_eq!((&fields["croft.job"], &fields["croft.cause"]), (&"clips".into(), &"OK".into()));
        assert_eq!((&fields["croft.show"], &fields["croft.devices"]), (&"default".into(), &"one:0".into()));
    }
    let rank = spans.iter().find(|span| span["name"] == "rank").expect("a rank");
    assert_eq!((&rank["fields"]["croft.worker"], &rank["fields"]["croft.rank"]), (&"one".into(), &0.into()));
    let denoise = spans.iter().find(|span| span["name"] == "denoise").expect("a stage");
    assert_eq!(denoise["events"].as_array().map(Vec::len), Some(3), "{denoise:#}");
}

#[test]
fn a_large_jobs_attempts_are_traces_of_their_own_that_name_the_submission() {
    let mut collector = Collector::start();
    let url = collector.url.clone();
    let mut house = Coordinator::start_with(&["--otlp-endpoint", &url], |command| command);
    house.worker_with("one", talking(Some(&url)));
    // The client has no collector: the coordinator begins the trace.
    let job = house.submit(&shapes(house.dir.path(), "clips", 65, 1));
    let spans = collector.until(&[("CreateJob", 1), ("rank", 2), ("attempt", 2)]);
    ends(&mut house.client(&["cancel", &job, "--now", "--yes"]), 0);
    let of = |name: &str| spans.iter().filter(|span| span["name"] == name).collect::<Vec<_>>();
    let (created, attempts) = (of("CreateJob")[0], of("attempt"));
    assert_ne!(attempts[0]["trace"], attempts[1]["trace"]);
    // What the worker has to say of the later ones may still be on its way.
    for attempt in attempts.into_iter().take(2) {
        assert_eq!((&attempt["parent"], &attempt["links"][0]), (&"".into(), &created["trace"]));
        assert!(of("rank").iter().any(|rank| rank["parent"] == attempt["id"]), "{attempt:#}");
    }
}

#[test]
fn a_collector_that_hangs_or_is_not_there_costs_nothing() {
    // It takes connections, as far as the system does, and never says a word.
    let hanging = TcpListener::bind("127.0.0.1:0").expect("a port");
    let hangs = format!("http://{}", hanging.local_addr().expect("bound"));
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        format!("http://{}", listener.local_addr().expect("bound"))
    };
    let mut house = Coordinator::start_with(&["--otlp-endpoint", &hangs], |command| command);
    house.worker_with("one", talking(Some(&gone)));
    let spec = shapes(house.dir.path(), "clips", 4, 2);
    ends(house.client(&["submit", "--watch", "--otlp-endpoint", &hangs]).arg(&spec).stderr(Stdio::null()), 0);
    let log = house.log("one");
    let told = log.lines().filter(|line| line.contains("WARN")).collect::<Vec<_>>();
    assert!(told.len() <= 1, "it is told once: {told:#?}");
    house.end();
    let refused = ends(
        croft(&["coordinator", "--otlp-endpoint", "http://collector.studio:4317"])
            .arg("--data-dir")
            .arg(house.dir.path().join("x")),
        2,
    );
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("otlp_endpoint"),
        "plaintext stays on this machine"
    );
}

/// A page of metrics, by name and labels.
fn scrape(port: u16) -> Vec<Value> {
    let page = ends(python("tests/farm/scrape.py").arg(format!("http://127.0.0.1:{port}/metrics")), 0);
    let text = String::from_utf8(page.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn sum(page: &[Value], name: &str, labels: &[(&str, &str)]) -> f64 {
    let fits = |sample: &&Value| {
        sample["name"] == name && labels.iter().all(|(key, value)| sample["labels"][key] == *value)
    };
    page.iter().filter(fits).filter_map(|sample| sample["value"].as_f64()).sum()
}

#[test]
fn prometheus_reads_what_the_farm_did() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
    let listen = format!("127.0.0.1:{free}");
    let mut house = Coordinator::start_with(&["--metrics-listen", &listen], |command| command);
    house.worker("one");
    let job = house.submit(&shapes(house.dir.path(), "clips", 2, 120));
    let mut watch = house.watch(&job);
    watch.until_denoising();
    kill(house.rank_of("one"), "-KILL");
    assert_eq!(watch.end(), Some(0));
    let page = scrape(free);
    let show = ("show", "default");
    assert_eq!(sum(&page, "croft_attempts_total", &[show, ("cause", "OK")]), 2.0);
    assert_eq!(sum(&page, "croft_attempts_total", &[show, ("cause", "CRASHED")]), 1.0);
    assert_eq!(sum(&page, "croft_retries_total", &[("cause", "CRASHED")]), 1.0);
    assert_eq!(sum(&page, "croft_placements_total", &[("device_kind", "cpu")]), 3.0);
    assert!(
        sum(&page, "croft_device_seconds_total", &[show])
            > sum(&page, "croft_device_wasted_seconds_total", &[show])
    );
    assert!(sum(&page, "croft_denoise_step_seconds_count", &[("device_kind", "cpu")]) >= 3.0);
    assert_eq!(sum(&page, "croft_publication_seconds_count", &[("outcome", "OK")]), 2.0);
    assert!(sum(&page, "croft_state_commit_seconds_count", &[]) >= 4.0);
    assert!(sum(&page, "croft_published_bytes_total", &[show]) > 1_000.0);
    let line =
        |name: &str| page.iter().find(|sample| sample["name"] == name).unwrap_or_else(|| panic!("{name}"));
    assert_eq!(line("croft_leader")["value"], 1.0);
    assert_eq!(line("croft_build_info")["labels"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(line("croft_device_memory_bytes")["labels"]["worker"], "one");
    let named: Vec<&Value> = page.iter().filter(|sample| sample["labels"].get("job").is_some()).collect();
    assert!(named.is_empty(), "series would be as many as jobs: {named:?}");

    let usage = house.json(&["usage", "--job", &job]);
    let used = &usage["items"][0];
    assert_eq!((&used["attempts"], &used["attemptsWasted"]), (&3.into(), &1.into()), "{used:#}");
    assert_eq!(used["publishedBytes"].as_f64(), Some(sum(&page, "croft_published_bytes_total", &[show])));
    let tasks = house.json(&["usage", "--job", &job, "--tasks"]);
    let by_task: u64 =
        tasks["items"].as_array().expect("a list").iter().filter_map(|t| t["deviceMs"].as_u64()).sum();
    assert_eq!(used["deviceMs"].as_u64(), Some(by_task));
}

#[test]
fn a_running_ranks_log_is_followed_and_a_failed_attempts_is_there_when_its_worker_is_gone() {
    let mut house = Coordinator::start();
    house.worker_with("one", talking(None));
    let job = house.submit(&shapes(house.dir.path(), "clips", 1, 240));
    let mut followed = house
        .client(&["logs", &job, "-f"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut notes = followed.stderr.take().expect("it is piped");
    let mut lines = BufReader::new(followed.stdout.take().expect("it is piped"));
    let mut followed = Process(followed);
    let mut until = |words: &str| {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).expect("a pipe") > 0, "it ended before {words}: {seen}");
            if line.contains(words) {
                return;
            }
            seen.push_str(&line);
        }
    };
    until("step 3 of 240");
    kill(house.rank_of("one"), "-KILL");
    // The next attempt goes on in the same stream.
    until("encoding the prompt");
    house.process("one").signal("-KILL");
    let kept = ends(&mut house.client(&["logs", &format!("{job}/clip/0001"), "--attempt", "1"]), 0);
    let kept = String::from_utf8_lossy(&kept.stdout).into_owned();
    assert!(kept.contains("step 1 of 240") && kept.contains("step 3 of 240"), "{kept}");
    house.worker("two");
    let mut rest = String::new();
    lines.read_to_string(&mut rest).expect("a pipe");
    assert_eq!(followed.0.wait().expect("it ends").code(), Some(0), "{rest}");
    let mut said = String::new();
    notes.read_to_string(&mut said).expect("a pipe");
    assert!(!said.contains("not kept"), "every attempt is heard from its first line on: {said}");
    ends(&mut house.client(&["logs", "nothing"]), 4);
}
