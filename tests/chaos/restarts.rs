//! One coordinator with its own file (redb), killed again and again in the middle of a large job.
//!
//! `tests/run` kills it three times; the long form:
//!
//! ```sh
//! CROFT_RESTARTS=20 CROFT_RESTART_TASKS=10000 cargo test --release --test chaos restarts -- --nocapture
//! ```

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant, SystemTime},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    parts::{Part, free_ports},
    setting,
};

/// A step that has not happened by then will not.
const PATIENCE: Duration = Duration::from_secs(120);

struct House {
    coordinator: Part,
    worker: Part,
    address: String,
    dir: TempDir,
}

impl House {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("scratch");
        let address = format!("127.0.0.1:{}", free_ports(1)[0]);
        let data = |name: &str| dir.path().join(name).display().to_string();
        let croft = || env!("CARGO_BIN_EXE_croft").to_owned();
        let quiet = [("CROFT_LOG", "warn".to_owned())];
        let words = [&croft(), "coordinator", "--listen", &address, "--data-dir", &data("coordinator")];
        let coordinator = Part::new(dir.path(), "coordinator", words.map(str::to_owned).to_vec(), &quiet);
        let words = [
            &croft(),
            "worker",
            "--coordinator",
            &address,
            "--name",
            "w",
            "--devices",
            "cpu:8",
            "--threads",
            "1",
            "--data-dir",
            &data("worker"),
        ];
        let worker = Part::new(dir.path(), "worker", words.map(str::to_owned).to_vec(), &quiet);
        let mut house = Self { coordinator, worker, address, dir };
        house.coordinator.start();
        house.worker.start();
        house.json(&["status"]);
        house
    }

    fn client(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_croft"));
        command.args(words).args(["--coordinator", &self.address]).env_remove("CROFT_COORDINATOR");
        command.output().expect("the binary runs")
    }

    /// Asks until there is an answer.
    fn json(&self, words: &[&str]) -> Value {
        let began = Instant::now();
        loop {
            let told = self.client(&[words, &["-o", "json"]].concat());
            if told.status.success() {
                return serde_json::from_slice(&told.stdout).expect("JSON");
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{words:?}: {}\n{}",
                String::from_utf8_lossy(&told.stderr),
                self.coordinator.tail()
            );
        }
    }

    fn done(&self, job: &str) -> u64 {
        let told = self.json(&["job", job]);
        let done = told["counts"]["succeeded"].as_u64();
        assert_eq!(told["counts"]["failed"].as_u64(), Some(0), "{told}");
        done.expect("counts")
    }

    fn until(&self, job: &str, tasks: u64) {
        let began = Instant::now();
        while self.done(job) < tasks {
            assert!(began.elapsed() < PATIENCE, "{} of {tasks}\n{}", self.done(job), self.coordinator.tail());
        }
    }
}

#[test]
fn a_coordinator_that_is_killed_again_and_again_forgets_nothing() {
    let (rounds, tasks) = (setting("CROFT_RESTARTS", 3), setting("CROFT_RESTART_TASKS", 1_000));
    let mut house = House::start();
    let mut waits = Vec::new();
    for round in 0..rounds {
        let name = format!("round-{round}");
        let path = house.dir.path().join("spec.yaml");
        fs::write(&path, spec(&name, tasks)).expect("written");
        let told = house.client(&["submit", &path.display().to_string()]);
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        house.until(&name, tasks / 2);
        house.coordinator.kill();
        let killed = SystemTime::now();
        house.coordinator.start();
        house.until(&name, tasks);
        let told = house.json(&["tasks", &name]);
        let items = told["items"].as_array().expect("a list");
        assert_eq!(items.len() as u64, tasks);
        let attempts = || items.iter().flat_map(|task| task["attempts"].as_array().expect("a list"));
        for task in items {
            let good = task["attempts"].as_array().expect("a list").iter().filter(|a| a["cause"] == "OK");
            assert_eq!(good.count(), 1, "{task}");
        }
        let starts = attempts().filter_map(|attempt| {
            let stamp: prost_types::Timestamp = attempt["startTime"].as_str()?.parse().ok()?;
            SystemTime::try_from(stamp).ok()
        });
        let first = starts.filter(|start| *start > killed).min().expect("half was left to do");
        waits.push(first.duration_since(killed).expect("it is later"));
    }
    waits.sort();
    println!(
        "{rounds} kills at half of {tasks} tasks: all settled; restart to first start {:.2} s at the median, {:.2} s at most",
        waits[waits.len() / 2].as_secs_f64(),
        waits[waits.len() - 1].as_secs_f64()
    );
    assert!(Path::new(&house.dir.path().join("coordinator/state.redb")).exists());
}

fn spec(name: &str, tasks: u64) -> String {
    format!(
        "apiVersion: croft/v1\nkind: Job\nname: {name}\naxes:\n  seed: {{from: 1, count: {tasks}}}\nlayers:\n  \
         - name: nothing\n    model: builtin://noop\n    prompt: nothing\n    output: \"{{job}}/s{{seed}}\"\n"
    )
}
