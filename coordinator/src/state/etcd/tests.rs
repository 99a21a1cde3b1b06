//! A real etcd: the same suite as the other stores, and who may write when.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
};

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::state::conformance;

/// A leader that has not come by then will not.
const PATIENCE: Duration = Duration::from_secs(60);

/// Below the ports that systems hand out, so that nobody is given one of them meanwhile; no test asks for the same twice.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 5_000).unwrap() * 2;
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut next = std::iter::repeat_with(|| first + NEXT.fetch_add(1, Ordering::Relaxed));
    next.find(free).unwrap()
}

/// A member of its own, ended with the test.
struct Server {
    child: Child,
    url: String,
    _dir: TempDir,
}

impl Server {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ports = [free_port(), free_port()];
        let (url, peer) =
            (format!("http://127.0.0.1:{}", ports[0]), format!("http://127.0.0.1:{}", ports[1]));
        let child = Command::new("etcd")
            .args(["--name", "n", "--data-dir"])
            .arg(dir.path())
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("n={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd is installed by tests/run (apt-get install etcd-server)");
        Self { child, url, _dir: dir }
    }

    fn config(&self, name: &str) -> EtcdConfig {
        EtcdConfig {
            members: vec![self.url.clone()],
            tls: EtcdTls::default(),
            guard: Guard::default(),
            farm: "test".to_owned(),
            advertise: name.to_owned(),
        }
    }

    async fn seat(&self, name: &str) -> Seat {
        Etcd::seat(self.config(name)).await.unwrap()
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn leads(seat: &mut Seat) -> Epoch {
    let leads = seat.standing.wait_for(|now| matches!(now, Standing::Leader { .. }));
    let standing = timeout(PATIENCE, leads).await.expect("etcd answers").unwrap();
    let Standing::Leader { epoch } = *standing else { unreachable!("it was waited for") };
    epoch
}

/// The store blocks, as on the farm's own thread.
async fn blocking<T: Send + 'static>(
    mut seat: Seat,
    act: impl FnOnce(&mut Seat) -> T + Send + 'static,
) -> (Seat, T) {
    tokio::task::spawn_blocking(move || {
        let done = act(&mut seat);
        (seat, done)
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_conforms_and_refuses_a_deposed_leader() {
    let server = Server::start();
    let mut first = server.seat("first").await;
    let epoch = leads(&mut first).await;
    let (mut first, ()) = blocking(first, move |seat| conformance::check(&mut *seat.store, epoch)).await;

    let mut second = server.seat("second").await;
    let told = Standing::Follower { leader: Some("first".to_owned()) };
    assert_eq!(*second.standing.wait_for(|now| *now == told).await.unwrap(), told);

    // The first ends in good order; the other need not wait for its lease.
    (first, ()) = blocking(first, |seat| seat.store.resign()).await;
    let after = leads(&mut second).await;
    assert!(after > epoch, "epochs rise");
    let (_second, ()) =
        blocking(second, move |seat| conformance::refuses_others(&mut *seat.store, after, epoch)).await;
    drop(first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_cannot_renew_steps_down_and_one_of_them_leads_again() {
    let server = Server::start();
    let mut seat = server.seat("only").await;
    let epoch = leads(&mut seat).await;
    server.signal("-STOP");
    seat.standing.wait_for(|now| matches!(now, Standing::Follower { .. })).await.unwrap();
    let (mut seat, commit) = blocking(seat, move |seat| {
        let write = Write { key: "k".to_owned(), value: Some(b"v".to_vec()) };
        seat.store.commit(epoch, &[write])
    })
    .await;
    assert!(matches!(commit, Err(Error::Unavailable { .. })), "{commit:?}");
    server.signal("-CONT");
    assert!(leads(&mut seat).await >= epoch);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_arrives_late_changes_nothing_and_one_that_is_sent_twice_is_done_once() {
    let server = Server::start();
    let mut seat = server.seat("leader").await;
    let epoch = leads(&mut seat).await;
    // The same term by another hand, to send what a network would.
    let mut store = Etcd::new(server.config("leader")).await.unwrap().0;
    let put = |value: &str| vec![Op::Put("s/k".to_owned(), value.as_bytes().to_vec())];

    store.transact(epoch, &put("first")).await.unwrap();
    let late = store.next(epoch, &put("late"), b"lost");
    store.transact(epoch, &put("second")).await.unwrap();
    let arrived = store.members.run(|mut client| {
        let late = late.clone();
        async move { client.txn(late).await }
    });
    assert!(!arrived.await.unwrap().succeeded(), "others came after it was sent");

    let before = (store.mark.clone(), store.sent);
    store.transact(epoch, &put("third")).await.unwrap();
    (store.mark, store.sent) = before;
    store.transact(epoch, &put("the third again")).await.unwrap();
    let found = store.read().await.unwrap();
    let value = found.iter().find(|(key, _)| key.ends_with(b"s/k")).unwrap();
    assert_eq!(value.1, b"third");
}
