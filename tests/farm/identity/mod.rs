//! A farm with certificates: who gets in, as what, and what the book says of those who did not.

mod denied;
mod join;
mod machines;
mod rotate;
mod wire;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::house::{Coordinator, croft, ends};

/// What has not come by then will not.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An authority, and a coordinator that has a certificate of it.
pub(crate) struct Studio {
    pub(crate) dir: TempDir,
    pub(crate) house: Coordinator,
}

/// Runs `croft certs` on the authority in `dir`.
pub(crate) fn certs(dir: &Path, words: &[&str]) -> String {
    let output = ends(croft(&["certs"]).args(words).arg("--dir").arg(dir.join("ca")), 0);
    String::from_utf8(output.stdout).expect("text")
}

/// Signs a certificate of the authority in `dir` and gives its folder.
pub(crate) fn issue(dir: &Path, words: &[&str]) -> PathBuf {
    let folder = dir.join(words[0]);
    certs(dir, &[&["issue"], words, &["--out", &folder.display().to_string()]].concat());
    folder
}

impl Studio {
    pub(crate) fn open() -> Self {
        Self::open_at("127.0.0.1:0")
    }

    /// With a listener of its own.
    pub(crate) fn open_at(listen: &str) -> Self {
        let dir = tempfile::tempdir().expect("scratch");
        certs(dir.path(), &["init", "--farm", "acme"]);
        let lead = issue(dir.path(), &["lead", "--role", "coordinator"]);
        issue(dir.path(), &["sam", "--role", "admin"]);
        let ca = dir.path().join("ca").display().to_string();
        let words = ["--listen", listen, "--certs", &ca];
        let house = Coordinator::start_with(&words, |mut command| {
            command.env("CROFT_IDENTITY", &lead);
            command
        });
        Self { dir, house }
    }

    pub(crate) fn at(&self) -> String {
        self.house.address.replace("0.0.0.0", "127.0.0.1")
    }

    pub(crate) fn issue(&self, words: &[&str]) -> PathBuf {
        issue(self.dir.path(), words)
    }

    pub(crate) fn identity(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command by somebody who was issued a certificate.
    pub(crate) fn by(&self, name: &str, words: &[&str]) -> Command {
        let mut command = croft(words);
        command.args(["--coordinator", &self.at()]).env("CROFT_IDENTITY", self.identity(name));
        command
    }

    /// What an admin is told.
    pub(crate) fn json(&self, words: &[&str]) -> Value {
        let output = ends(self.by("sam", words).args(["-o", "json"]), 0);
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// A worker with a certificate of its own name.
    pub(crate) fn worker(&mut self, name: &str) {
        let identity = self.issue(&[name, "--role", "worker"]);
        let at = self.at();
        self.house.worker_with(name, |mut command| {
            command.env("CROFT_IDENTITY", &identity).args(["--coordinator", &at]);
            command
        });
    }

    /// `who method result reason`, the newest first.
    pub(crate) fn book(&self, words: &[&str]) -> Vec<String> {
        let told = self.json(&[&["audit"], words].concat());
        let items = told["items"].as_array().cloned().expect("a list");
        let text = |item: &Value, key: &str| item[key].as_str().expect("a text").to_owned();
        let line = |item: &Value| ["who", "method", "result", "reason"].map(|key| text(item, key)).join(" ");
        items.iter().map(line).collect()
    }

    pub(crate) fn asserts_refused(&self, line: &str) {
        let book = self.book(&["--denied"]);
        assert!(book.iter().any(|entered| entered == line), "{line:?} is not in {book:#?}");
    }
}

/// Asks until it is so.
pub(crate) fn until(what: &str, mut is: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What a command that must fail with `code` says on standard error.
pub(crate) fn says(command: &mut Command, code: i32) -> String {
    String::from_utf8(ends(command, code).stderr).expect("text")
}
