//! Nothing leaves the studio: every setting that names a place is refused where that place is none of its own.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    process::Command,
};

use crate::{
    house::{croft, ends},
    identity::Studio,
};

/// Of a network that is set aside for documentation, and public by its number.
const PUBLIC: &str = "203.0.113.9";

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

fn with_keys(mut command: Command, endpoint: &str) -> Command {
    command
        .env("AWS_ACCESS_KEY_ID", "key")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ENDPOINT_URL", endpoint);
    command
}

#[test]
fn every_setting_that_names_a_place_is_refused_where_it_is_public() {
    let studio = Studio::open();
    let (sam, lead) = (studio.identity("sam"), studio.identity("lead"));
    let ws = studio.issue(&["ws", "--role", "worker"]);
    let token = studio.token(&["--worker", "other"]);
    let token = format!("{}@{PUBLIC}:7400", token.split('@').next().expect("its secret"));
    let data = |name: &str| studio.dir.path().join(name).display().to_string();
    let at = |port: u16| format!("{PUBLIC}:{port}");
    let url = |port: u16| format!("http://{PUBLIC}:{port}");

    let mut commands = Vec::new();
    let mut client = croft(&["jobs", "--coordinator", &at(7400)]);
    client.env("CROFT_IDENTITY", &sam);
    commands.push(client);
    let mut several = croft(&["jobs", "--coordinator", &format!("127.0.0.1:1,{}", at(7400))]);
    several.env("CROFT_IDENTITY", &sam);
    commands.push(several);
    let mut worker = croft(&["worker", "--data-dir", &data("worker"), "--coordinator", &at(7400)]);
    worker.env("CROFT_IDENTITY", &ws);
    commands.push(worker);
    commands.push(croft(&["worker", "join", "--data-dir", &data("joining"), &token]));
    let coordinator = |words: &[&str]| {
        let mut command =
            croft(&["coordinator", "--listen", "127.0.0.1:0", "--data-dir", &data("coordinator")]);
        command.args(words).env("CROFT_IDENTITY", &lead);
        command
    };
    commands.push(coordinator(&["--etcd", &format!("http://127.0.0.1:1,{}", url(2379))]));
    commands.push(coordinator(&["--otlp-endpoint", &url(4317)]));
    commands.push(with_keys(coordinator(&["--artifacts", "s3://farm"]), &url(9000)));
    commands.push(with_keys(
        croft(&["doctor", "--artifacts", "s3://farm", "--data-dir", &data(".")]),
        &url(9000),
    ));
    // What a cloud would be asked for is not asked for: keys, and where a bucket lies.
    for mut command in commands {
        let output = command.output().expect("it runs");
        let said = said(&output);
        assert!(!output.status.success(), "{command:?} went on: {said}");
        assert!(said.contains(PUBLIC), "{command:?} does not name it: {said}");
        let is_guarded =
            said.contains("lies outside of the networks") || said.contains("collector of this machine");
        assert!(is_guarded, "{command:?} was refused for something else: {said}");
    }
    let mut none = croft(&["doctor", "--artifacts", "s3://farm", "--data-dir", &data(".")]);
    none.env_remove("AWS_ENDPOINT_URL").env_remove("AWS_ACCESS_KEY_ID");
    let output = none.output().expect("it runs");
    assert!(said(&output).contains("AWS_ACCESS_KEY_ID"), "{}", said(&output));
}

/// Answers each request with a redirect to `to`, and hands over what it was asked.
fn redirecting(to: &'static str) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let (asked, heard) = std::sync::mpsc::sync_channel(64);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap_or(0);
            // A test that has ended hears no more.
            let _ = asked.try_send(String::from_utf8_lossy(&request[..read]).into_owned());
            let answer = format!(
                "HTTP/1.1 307 Temporary Redirect\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (address, heard)
}

#[test]
fn a_store_that_sends_us_elsewhere_is_not_followed_there_and_no_proxy_is_asked() {
    let (store, asked) = redirecting("http://203.0.113.9/elsewhere");
    let (proxy, proxied) = redirecting("http://127.0.0.1:1/");
    let dir = tempfile::tempdir().expect("scratch");
    let data = dir.path().display().to_string();
    let words = ["coordinator", "--listen", "127.0.0.1:0", "--artifacts", "s3://farm", "--data-dir", &data];
    let mut coordinator = with_keys(croft(&words), &format!("http://{store}"));
    for name in
        ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "AWS_PROXY_URL"]
    {
        coordinator.env(name, format!("http://{proxy}"));
    }
    let output = ends(&mut coordinator, 1);
    let said = said(&output);
    assert!(said.contains(PUBLIC) && said.contains("lies outside of the networks"), "{said}");
    assert!(asked.try_recv().expect("the store was asked").starts_with("GET "));
    assert!(proxied.try_recv().is_err(), "the proxy of the environment was asked");
}

#[test]
fn what_a_studio_adds_to_its_networks_may_be_reached() {
    let dir = tempfile::tempdir().expect("scratch");
    let settings = dir.path().join("worker.toml");
    fs::write(&settings, "coordinator = '203.0.113.9:7400'\nallow_networks = ['203.0.113.0/33']\n")
        .expect("written");
    let data = dir.path().join("data").display().to_string();
    let mut worker = croft(&["worker", "--data-dir", &data, "--config", &settings.display().to_string()]);
    let output = ends(&mut worker, 2);
    assert!(said(&output).contains("allow_networks: '203.0.113.0/33' is no network"), "{}", said(&output));
    let doctor = ends(
        croft(&["doctor", "--allow-networks", "203.0.113.0/24", "-o", "json"]).current_dir(dir.path()),
        0,
    );
    assert!(said(&doctor).contains("unique local networks, 203.0.113.0/24"), "{}", said(&doctor));
}
