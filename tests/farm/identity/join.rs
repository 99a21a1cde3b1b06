//! Tokens: a machine without anything becomes a worker, once.

use std::{fs, os::unix::fs::PermissionsExt, process::Stdio};

use super::{Studio, certs, says, until};
use crate::house::{croft, ends, shapes};

impl Studio {
    pub(crate) fn token(&self, words: &[&str]) -> String {
        let output = ends(&mut self.by("sam", &[&["certs", "token"], words].concat()), 0);
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    fn join(&self, token: &str, name: &str) -> std::process::Command {
        let mut command = croft(&["worker", "join", token, "--data-dir"]);
        command.arg(self.dir.path().join(name));
        command
    }
}

#[test]
fn a_machine_joins_once_and_works_without_another_word() {
    let mut studio = Studio::open();
    let token = studio.token(&["--worker", "ws-3"]);
    ends(&mut studio.join(&token, "first"), 0);
    let home = studio.dir.path().join("first");
    let mode = |path: &str| fs::metadata(home.join(path)).expect("a file").permissions().mode() & 0o777;
    assert_eq!((mode("identity"), mode("identity/key.pem")), (0o700, 0o600));

    let told = says(&mut studio.join(&token, "second"), 5);
    assert!(told.contains("was used before"), "{told}");
    assert!(!studio.dir.path().join("second/identity").exists(), "nothing was written");
    studio.asserts_refused(" Identity/Join UNAUTHENTICATED TOKEN_USED");

    // It knows its name and its coordinator: no flag says either.
    studio.house.joined("ws-3", &home);
    ends(studio.by("sam", &["submit", "--watch"]).arg(shapes(studio.dir.path(), "clips", 1, 2)), 0);
    let workers = studio.json(&["workers"]);
    assert_eq!(workers["items"][0]["name"], "workers/ws-3", "{workers}");
    let book = studio.book(&["--method", "Join"]);
    assert!(book.contains(&"worker/ws-3 Identity/Join OK ".to_owned()), "{book:?}");
    let listed = certs(studio.dir.path(), &["list"]);
    assert!(listed.contains("worker/ws-3"), "{listed}");
}

#[test]
fn of_many_who_show_one_token_one_gets_in() {
    let studio = Studio::open();
    let token = studio.token(&["--worker", "ws-3"]);
    let start = |name: String| studio.join(&token, &name).stderr(Stdio::null()).spawn().expect("it runs");
    let joining: Vec<_> = (0..4).map(|n| start(format!("racer-{n}"))).collect();
    let codes: Vec<Option<i32>> =
        joining.into_iter().map(|mut child| child.wait().expect("it ends").code()).collect();
    assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 1, "{codes:?}");
}

#[test]
fn a_token_is_not_shown_to_a_stranger() {
    let studio = Studio::open();
    let token = studio.token(&["--worker", "ws-3"]);
    let (bare, at) = token.split_once('@').expect("an address");
    let (secret, fingerprint) = bare.rsplit_once('-').expect("two parts");
    let other = format!("{secret}-{}@{at}", fingerprint.chars().rev().collect::<String>());
    let told = says(&mut studio.join(&other, "first"), 5);
    assert!(told.contains("the token was not"), "{told}");
    says(&mut studio.join("croft-1-2@127.0.0.1:1", "first"), 2);
    ends(&mut studio.join(&token, "first"), 0);
    // Wranglers let machines in, and only admins say what people may do.
    studio.issue(&["walt", "--role", "wrangler"]);
    ends(&mut studio.by("walt", &["certs", "token", "--worker", "ws-4"]), 0);
    says(&mut studio.by("walt", &["certs", "token", "--user", "eve", "--role", "admin"]), 5);
    studio.issue(&["kim", "--role", "artist", "--show", "*"]);
    says(&mut studio.by("kim", &["certs", "token", "--worker", "ws-5"]), 5);
}

#[test]
fn an_artist_joins_by_a_token() {
    let studio = Studio::open();
    let token = studio.token(&["--user", "kim", "--role", "artist", "--show", "spring"]);
    let home = studio.dir.path().join("kim");
    let kim = |words: &[&str]| {
        let mut command = croft(words);
        command.env("XDG_CONFIG_HOME", &home);
        command
    };
    let told = ends(&mut kim(&["certs", "join", &token]), 0);
    let told = String::from_utf8(told.stdout).expect("text");
    assert!(told.contains("spiffe://acme/user/kim/artist/spring"), "{told}");
    until("it is known", || kim(&["jobs"]).output().is_ok_and(|output| output.status.success()));
    says(&mut kim(&["limit", "nuke", "3"]), 5);
}
