//! New certificates without a restart, and the book across a change of leader on an etcd that is spoken to by TLS.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use croft_proto::identity::Facts;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, Stream,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use super::{Studio, certs, issue, until};
use crate::house::{Coordinator, Process, croft, ends};

/// The serial of the certificate that a server shows just now.
fn shown(studio: &Studio) -> String {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(studio.dir.path().join("ca/ca.pem")).expect("an authority");
    roots.add(authority).expect("an authority");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").expect("an address");
    let mut tls = ClientConnection::new(Arc::new(config), name).expect("a connection");
    let mut tcp = TcpStream::connect(studio.at()).expect("it listens");
    let stream = Stream::new(&mut tls, &mut tcp);
    stream.conn.complete_io(stream.sock).expect("a handshake");
    let chain = tls.peer_certificates().expect("a certificate");
    Facts::of(&chain[0]).expect("a certificate").serial
}

#[test]
fn a_coordinator_shows_its_new_certificate_and_half_of_a_change_changes_nothing() {
    let studio = Studio::open();
    let before = shown(&studio);
    let lead = studio.identity("lead");
    fs::write(lead.join("key.pem"), "half").expect("written");
    assert_eq!(shown(&studio), before);
    issue(studio.dir.path(), &["lead", "--role", "coordinator"]);
    let after = shown(&studio);
    assert_ne!(after, before);
    ends(&mut studio.by("sam", &["jobs"]), 0);
}

#[test]
fn a_worker_renews_its_certificate_by_itself() {
    let mut studio = Studio::open();
    let identity = studio.issue(&["one", "--role", "worker", "--seconds", "8"]);
    let at = studio.at();
    studio.house.worker_with("one", |mut command| {
        command.env("CROFT_IDENTITY", &identity).args(["--coordinator", &at]);
        command
    });
    let facts = || Facts::of_pem(&fs::read_to_string(identity.join("cert.pem")).expect("a file"));
    let first = facts().expect("a certificate");
    until("it is renewed", || facts().is_some_and(|facts| facts.serial != first.serial));
    assert_eq!(facts().and_then(|facts| facts.name), first.name);
    let now = || i64::try_from(croft_proto::identity::facts::now()).expect("this century");
    until("the first one has expired", || now() > first.not_after + 2);
    until("it is there all the same", || studio.json(&["workers"])["items"][0]["state"] == "READY");
    let book = studio.book(&["--method", "Renew"]);
    assert_eq!(book[0], "worker/one Identity/Renew OK ");
}

/// One member that speaks TLS and wants a certificate.
fn etcd(dir: &Path) -> (Process, String) {
    let port = || TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let (url, peer) = (format!("https://127.0.0.1:{}", port()), format!("http://127.0.0.1:{}", port()));
    let file = |name: &str| dir.join(name).display().to_string();
    let child = Command::new("etcd")
        .args(["--name", "n", "--data-dir", &file("etcd-data")])
        .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("n={peer}"), "--client-cert-auth"])
        .args(["--trusted-ca-file", &file("ca/ca.pem"), "--cert-file", &file("etcd/cert.pem")])
        .args(["--key-file", &file("etcd/key.pem")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("etcd is installed by tests/run (apt-get install etcd-server)");
    (Process(child), url)
}

#[test]
#[cfg_attr(not(feature = "etcd"), ignore = "needs --features etcd")]
fn the_book_outlives_its_leader_on_an_etcd_that_is_spoken_to_by_tls() {
    // The state store has an authority of its own, as studios have it.
    let store = tempfile::tempdir().expect("scratch");
    certs(store.path(), &["init", "--farm", "store"]);
    issue(store.path(), &["etcd", "--role", "coordinator"]);
    issue(store.path(), &["farm", "--role", "worker"]);
    let (_member, url) = etcd(store.path());
    let dir = tempfile::tempdir().expect("scratch");
    certs(dir.path(), &["init", "--farm", "acme"]);
    issue(dir.path(), &["sam", "--role", "admin"]);
    issue(dir.path(), &["vera", "--role", "viewer"]);
    let ca = store.path().join("ca/ca.pem").display().to_string();
    let (cert, key) = (store.path().join("farm/cert.pem"), store.path().join("farm/key.pem"));
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    let words = ["--etcd", &url, "--etcd-ca", &ca, "--etcd-cert", &cert, "--etcd-key", &key];
    let start = |name: &str| {
        let identity = issue(dir.path(), &[name, "--role", "coordinator"]);
        Coordinator::start_with(&words, |mut command| {
            command.env("CROFT_IDENTITY", &identity);
            command
        })
    };
    let (mut one, two) = (start("one"), start("two"));
    let by = |who: &str, words: &[&str], at: &str| {
        let mut command = croft(words);
        command.args(["--coordinator", at]).env("CROFT_IDENTITY", dir.path().join(who));
        command
    };
    let both = format!("{},{}", one.address, two.address);
    ends(&mut by("sam", &["limit", "nuke", "3"], &both), 0);
    super::says(&mut by("vera", &["limit", "nuke", "4"], &both), 5);
    one.end();
    ends(&mut by("sam", &["limit", "nuke", "5"], &both), 0);
    let told = ends(&mut by("sam", &["audit", "--method", "SetLimit"], &two.address), 0);
    let told = String::from_utf8(told.stdout).expect("text");
    let results: Vec<&str> = told.lines().filter_map(|line| line.split('\t').nth(6)).collect();
    assert_eq!(results, ["OK", "PERMISSION_DENIED", "OK"], "{told}");
}
