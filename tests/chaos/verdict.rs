//! What must hold when the fire is out: every task ended once, and what lies in the store is what was decided.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use serde_json::Value;

use crate::{
    farm::{CLIPS, Farm},
    faults::Faults,
};

#[derive(Debug)]
pub(crate) struct Verdict {
    tasks: u64,
    attempts: u64,
    files: String,
    deaths: usize,
    /// From a leader's death to the next start of an attempt.
    longest: Duration,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tasks, attempts, files, deaths, longest } = self;
        write!(
            f,
            "{tasks} tasks, each ended once, by {attempts} attempts; {files}; {deaths} leaders lost, {:.1} s at most \
             until the next start",
            longest.as_secs_f64()
        )
    }
}

pub(crate) fn of(farm: &Farm, jobs: &[String], faults: &Faults) -> Verdict {
    let known = farm.json(&["jobs"]);
    let names: Vec<&str> =
        known["items"].as_array().expect("a list").iter().filter_map(|job| job["name"].as_str()).collect();
    assert_eq!(names.len(), jobs.len(), "as many jobs as were submitted: {names:?}");
    let (mut tasks, mut attempts, mut starts) = (0, 0, Vec::new());
    for job in jobs {
        let told = farm.json(&["tasks", job]);
        let items = told["items"].as_array().expect("a list");
        assert_eq!(items.len() as u64, CLIPS, "{job}");
        for task in items {
            assert_eq!(task["state"], "SUCCEEDED", "{task}");
            let of = task["attempts"].as_array().expect("a list");
            let good = of.iter().filter(|attempt| attempt["cause"] == "OK").count();
            assert_eq!(good, 1, "one attempt of a task succeeds: {task}");
            starts.extend(of.iter().filter_map(started));
            attempts += of.len() as u64;
        }
        tasks += items.len() as u64;
    }
    let out = farm.dir.path().join("fetched");
    for job in jobs {
        // `get` checks each file against the digest that the farm tells.
        let got = farm.client(&["get", job, "-d", &out.display().to_string()]);
        assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    }
    let verified = farm.croft(&["verify", &out.display().to_string()]);
    let files = String::from_utf8_lossy(&verified.stdout).trim().replace('\n', "; ");
    assert!(verified.status.success(), "{files}{}", String::from_utf8_lossy(&verified.stderr));
    assert!(files.contains(&format!("{tasks} sidecars")), "a sidecar a task: {files}");
    starts.sort();
    let waited = |death: &SystemTime| {
        let next = starts.iter().find(|start| *start > death)?;
        next.duration_since(*death).ok()
    };
    let longest = faults.leader_deaths.iter().filter_map(waited).max().unwrap_or_default();
    Verdict { tasks, attempts, files, deaths: faults.leader_deaths.len(), longest }
}

fn started(attempt: &Value) -> Option<SystemTime> {
    let stamp: prost_types::Timestamp = attempt["startTime"].as_str()?.parse().ok()?;
    stamp.try_into().ok()
}
