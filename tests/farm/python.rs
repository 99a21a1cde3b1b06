//! A TD's view: the example client in Python, reflection and health, against the running binary.

use std::{path::Path, process::Command};

use crate::{
    house::{Coordinator, ends, files, shapes},
    identity::Studio,
};

/// Python with what `tests/requirements.txt` names; `tests/run` installs it and says where.
pub(crate) fn python(script: &str) -> Command {
    let interpreter = std::env::var("CROFT_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let probe = Command::new(&interpreter)
        .args([
            "-c",
            "import grpc_tools, grpc_status, grpc_reflection, opentelemetry.proto, prometheus_client",
        ])
        .output();
    assert!(
        probe.is_ok_and(|probe| probe.status.success()),
        "{interpreter} lacks the packages of tests/requirements.txt: run tests/run, or set CROFT_TEST_PYTHON"
    );
    let mut command = Command::new(interpreter);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script));
    command
}

#[test]
fn a_td_submits_follows_and_fetches() {
    let mut house = Coordinator::start();
    house.worker("one");
    let spec = shapes(house.dir.path(), "clips", 2, 2);
    let out = house.dir.path().join("fetched");
    let output = ends(
        python("examples/submit.py").arg(&spec).args(["--coordinator", &house.address, "--out"]).arg(&out),
        0,
    );
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("jobs/clips  2 tasks"), "{told}");
    assert!(told.contains("denoise"), "{told}");
    let fetched = files(&out);
    assert!(fetched.contains_key("clips/s1/0001.png"), "{:?}", fetched.keys());
    let store = files(&house.store());
    for (name, bytes) in &fetched {
        assert_eq!(store.get(name), Some(bytes), "{name}");
    }
}

#[test]
fn a_td_with_a_certificate_submits_and_one_without_rights_is_told() {
    let mut studio = Studio::open();
    studio.worker("one");
    studio.issue(&["kim", "--role", "artist", "--show", "*"]);
    studio.issue(&["vera", "--role", "viewer"]);
    let spec = shapes(studio.dir.path(), "clips", 1, 2);
    let by = |who: &str| {
        let mut command = python("examples/submit.py");
        command.arg(&spec).args(["--coordinator", &studio.at(), "--identity"]).arg(studio.identity(who));
        command
    };
    ends(&mut by("kim"), 0);
    let output = ends(&mut by("vera"), 5);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("needs an artist"), "{told}");
    let parts = ["ca", "cert", "key"].map(|part| studio.identity("kim").join(format!("{part}.pem")));
    let mut command = python("examples/submit.py");
    command.arg(&spec).args(["--coordinator", &studio.at(), "--ca"]).arg(&parts[0]);
    ends(command.arg("--cert").arg(&parts[1]).arg("--key").arg(&parts[2]), 0);
}

#[test]
fn a_refused_spec_names_its_fields() {
    let house = Coordinator::start();
    let spec = shapes(house.dir.path(), "clips", 2, 2);
    let output = ends(
        python("examples/submit.py").arg(&spec).args([
            "--coordinator",
            &house.address,
            "--set",
            "params.stepps=3",
        ]),
        3,
    );
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("layers[0].params.stepps") && told.contains("steps"), "{told}");
    assert!(house.json(&["jobs"])["items"].as_array().is_some_and(Vec::is_empty), "nothing was created");
}

#[test]
fn reflection_and_health_answer() {
    let house = Coordinator::start();
    let output = ends(python("tests/farm/reflect.py").arg(&house.address), 0);
    let told = String::from_utf8_lossy(&output.stdout);
    for service in ["croft.v1.Jobs", "croft.v1.Artifacts", "croft.v1.Farm", "croft.v1.Dispatch"] {
        assert!(told.contains(service), "{told}");
    }
    assert!(told.contains("health: SERVING"), "{told}");
}
