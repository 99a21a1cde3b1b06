//! People: strangers, certificates that count no more, roles and shows.

use std::{fs, time::Duration};

use croft_proto::{
    channel::{Dial, Security, dial},
    egress::Guard,
    identity::Authority,
    v1::{ListJobsRequest, jobs_client::JobsClient},
};

use super::{Studio, certs, issue, says, until};
use crate::house::{ends, shapes};

/// What somebody without a certificate is told.
async fn without_certificate(studio: &Studio) -> tonic::Status {
    let authority = Authority::open(&studio.dir.path().join("ca")).expect("an authority");
    let how = Dial {
        guard: Guard::default(),
        security: Security::Plaintext,
        pinned: Some(authority.fingerprint().to_owned()),
        connect: Duration::from_secs(5),
        keep_alive: Duration::from_secs(5),
        window: None,
    };
    let channel = dial(&studio.at().parse().expect("an address"), &how).await.expect("it trusts the farm");
    JobsClient::new(channel).list_jobs(ListJobsRequest::default()).await.expect_err("a stranger")
}

#[tokio::test]
async fn strangers_are_told_why_and_the_book_says_so() {
    let studio = Studio::open();
    ends(&mut studio.by("sam", &["jobs"]), 0);

    let status = without_certificate(&studio).await;
    assert_eq!(status.code(), tonic::Code::Unauthenticated, "{status:?}");
    studio.asserts_refused(" Jobs/ListJobs UNAUTHENTICATED NO_CERTIFICATE");

    // Of another farm, which the stranger hides by naming this one's authority.
    let other = studio.dir.path().join("other");
    certs(&other, &["init", "--farm", "other"]);
    let stranger = issue(&other, &["eve", "--role", "admin"]);
    let told = says(
        studio
            .by("sam", &["jobs"])
            .args(["--identity"])
            .arg(&stranger)
            .arg("--ca")
            .arg(studio.dir.path().join("ca/ca.pem")),
        5,
    );
    assert!(told.contains("not of this farm"), "{told}");
    studio.asserts_refused("? user/eve Jobs/ListJobs UNAUTHENTICATED CERTIFICATE_UNTRUSTED");
    // And who does not hide it does not trust this farm.
    let told = says(studio.by("sam", &["jobs"]).args(["--identity"]).arg(&stranger), 5);
    assert!(told.contains("not of this farm's authority"), "{told}");

    studio.issue(&["late", "--role", "viewer", "--seconds", "3"]);
    let mut told = String::new();
    until("it expires", || {
        let output = studio.by("late", &["jobs"]).output().expect("the binary runs");
        told = String::from_utf8(output.stderr).expect("text");
        output.status.code() == Some(5)
    });
    assert!(told.contains("has expired"), "{told}");
    studio.asserts_refused("? user/late Jobs/ListJobs UNAUTHENTICATED CERTIFICATE_EXPIRED");

    studio.issue(&["gone", "--role", "viewer"]);
    ends(&mut studio.by("gone", &["jobs"]), 0);
    certs(studio.dir.path(), &["revoke", "gone"]);
    let told = says(&mut studio.by("gone", &["jobs"]), 5);
    assert!(told.contains("was revoked"), "{told}");
    studio.asserts_refused("? user/gone Jobs/ListJobs UNAUTHENTICATED CERTIFICATE_REVOKED");

    // Plaintext is not heard at all, and TLS does not answer in it.
    let told = says(&mut studio.by("sam", &["jobs", "--insecure"]), 6);
    assert!(told.contains("needs an identity"), "{told}");
}

#[test]
fn a_role_is_what_it_says_and_a_worker_is_no_client() {
    let studio = Studio::open();
    studio.issue(&["ws-1", "--role", "worker"]);
    studio.issue(&["vera", "--role", "viewer"]);
    studio.issue(&["walt", "--role", "wrangler"]);
    let told = says(&mut studio.by("ws-1", &["jobs"]), 5);
    assert!(told.contains("needs a viewer") && told.contains("role is worker"), "{told}");
    studio.asserts_refused("worker/ws-1 Jobs/ListJobs PERMISSION_DENIED ROLE");
    ends(&mut studio.by("vera", &["jobs"]), 0);
    says(studio.by("vera", &["submit"]).arg(shapes(studio.dir.path(), "clips", 1, 1)), 5);
    says(&mut studio.by("vera", &["limit", "nuke", "3"]), 5);
    says(&mut studio.by("vera", &["audit"]), 5);
    studio.asserts_refused("user/vera Jobs/CreateJob PERMISSION_DENIED ROLE");
    ends(&mut studio.by("walt", &["limit", "nuke", "3"]), 0);
    let book = studio.book(&["--who", "walt"]);
    assert_eq!(book, ["user/walt Farm/SetLimit OK "]);
    // What was not found was not done.
    says(&mut studio.by("walt", &["lock", "nobody"]), 4);
    studio.asserts_refused("user/walt Farm/LockWorker NOT_FOUND worker 'workers/nobody' not found");
}

#[test]
fn an_artist_sees_and_changes_the_jobs_of_own_shows() {
    let mut studio = Studio::open();
    studio.worker("one");
    studio.issue(&["kim", "--role", "artist", "--show", "spring"]);
    let spec = |name: &str, show: &str, steps: u32| {
        let path = shapes(studio.dir.path(), name, 1, steps);
        let text = fs::read_to_string(&path).expect("a spec");
        fs::write(&path, text.replace("kind: Job\n", &format!("kind: Job\nshow: {show}\n")))
            .expect("written");
        path
    };
    let (spring, autumn) = (spec("spring", "spring", 2), spec("autumn", "autumn", 2));
    ends(studio.by("kim", &["submit", "--watch"]).arg(&spring), 0);
    let told = says(studio.by("kim", &["submit"]).arg(&autumn), 5);
    assert!(told.contains("show 'autumn'"), "{told}");
    ends(studio.by("sam", &["submit", "--watch"]).arg(&autumn), 0);

    let listed = ends(&mut studio.by("kim", &["jobs"]), 0);
    let listed = String::from_utf8(listed.stdout).expect("text");
    assert!(listed.contains("spring") && !listed.contains("autumn"), "{listed}");
    for words in [
        &["job", "autumn"][..],
        &["tasks", "autumn"],
        &["watch", "autumn"],
        &["why", "autumn"],
        &["cancel", "autumn", "--yes"],
        &["retry", "autumn", "--yes"],
        &["pause", "autumn"],
        &["update", "autumn", "--priority", "99"],
    ] {
        says(&mut studio.by("kim", words), 5);
    }
    // What else the farm does shows as that it does something.
    ends(studio.by("sam", &["submit"]).arg(spec("autumn-long", "autumn", 400)), 0);
    until("the device is busy", || studio.json(&["status"])["devicesBusy"] == 1);
    ends(studio.by("kim", &["submit"]).arg(spec("spring-late", "spring", 2)), 0);
    for words in [&["workers"][..], &["why", "spring-late"]] {
        let told = ends(&mut studio.by("kim", words), 0);
        let told = String::from_utf8(told.stdout).expect("text");
        assert!(told.contains("a task of another show") && !told.contains("autumn"), "{words:?}: {told}");
    }
    ends(&mut studio.by("sam", &["cancel", "autumn-long", "--yes", "--now"]), 0);
    let out = studio.dir.path().join("out");
    says(studio.by("kim", &["get", "autumn"]).arg("-d").arg(&out), 5);
    ends(studio.by("kim", &["get", "spring"]).arg("-d").arg(&out), 0);
    studio.asserts_refused("user/kim Jobs/CancelJob PERMISSION_DENIED SHOW");
    studio.asserts_refused("user/kim Jobs/CreateJob PERMISSION_DENIED SHOW");
    let deeds = studio.json(&["audit", "--who", "kim", "--method", "CreateJob"]);
    let done = deeds["items"].as_array().expect("a list").iter().find(|it| it["result"] == "OK");
    let done = done.expect("the job of spring");
    assert_eq!((done["resource"].as_str(), done["role"].as_str()), (Some("shows/spring"), Some("artist")));
    assert!(done["from"].as_str().is_some_and(|from| from.starts_with("127.0.0.1:")), "{done}");
    assert!(done["serial"].as_str().is_some_and(|serial| serial.len() == 32), "{done}");
}
