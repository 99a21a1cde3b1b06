//! What names meant when they were first asked for.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{Error, Networks};

/// Names of one process: it has a handful, and whoever makes it ask for more is up to something.
const NAMES_MAX: usize = 256;
/// Addresses of one name.
const ADDRESSES_MAX: usize = 64;
/// A resolver that has not answered by then will not.
const PATIENCE: Duration = Duration::from_secs(10);
/// A name whose machine does not answer is asked for again no more often.
const AGAIN: Duration = Duration::from_secs(10);

type Lookup = fn(String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>>;

pub(super) struct Names {
    lookup: Lookup,
    /// Between two questions for one name.
    pause: Duration,
    known: Mutex<BTreeMap<String, Known>>,
    moved: watch::Sender<Option<Error>>,
}

#[derive(Debug, Clone)]
struct Known {
    addresses: Vec<IpAddr>,
    asked: Instant,
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").field("known", &self.known).finish_non_exhaustive()
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::with(|host| Box::pin(system(host)), AGAIN)
    }
}

impl Names {
    fn with(lookup: Lookup, pause: Duration) -> Self {
        Self { lookup, pause, known: Mutex::default(), moved: watch::Sender::new(None) }
    }

    /// What `host` meant first. All of it is allowed, or it is an error, and the next who asks resolves it anew.
    pub(super) async fn first(&self, host: &str, networks: &Networks) -> Result<Vec<IpAddr>, Error> {
        if let Some(known) = self.known().get(host) {
            return Ok(known.addresses.clone());
        }
        if self.known().len() >= NAMES_MAX {
            return Err(Error::TooMany { host: host.to_owned(), max: NAMES_MAX });
        }
        let found = self.ask(host).await?;
        found.iter().try_for_each(|address| networks.check(host, *address))?;
        // Of two who asked at once, the first decides.
        let known = Known { addresses: found, asked: Instant::now() };
        Ok(self.known().entry(host.to_owned()).or_insert(known).addresses.clone())
    }

    /// Nobody answers where `host` was. What it means now is not used: it is an error where that is elsewhere.
    pub(super) async fn again(&self, host: &str) -> Result<(), Error> {
        let was = match self.known().get_mut(host) {
            Some(known) if known.asked.elapsed() >= self.pause => {
                known.asked = Instant::now();
                known.addresses.clone()
            }
            Some(_) | None => return Ok(()),
        };
        let Ok(is) = self.ask(host).await else { return Ok(()) };
        // A pool of machines shows a part of itself at a time.
        if is.iter().any(|address| was.contains(address)) {
            return Ok(());
        }
        let moved = Error::Moved { host: host.to_owned(), was, is };
        self.moved.send_replace(Some(moved.clone()));
        Err(moved)
    }

    /// Returns when a name has moved.
    pub(super) async fn moved(&self) -> Error {
        let mut moved = self.moved.subscribe();
        let told = moved.wait_for(Option::is_some).await;
        told.ok().and_then(|moved| moved.clone()).expect("it is waited for, and the sender is here")
    }

    async fn ask(&self, host: &str) -> Result<Vec<IpAddr>, Error> {
        let unknown = |what: String| Error::Unknown { host: host.to_owned(), what };
        let mut found = timeout(PATIENCE, (self.lookup)(host.to_owned()))
            .await
            .map_err(|_| unknown(format!("no answer within {} s", PATIENCE.as_secs())))?
            .map_err(|error| unknown(error.to_string()))?;
        found.truncate(ADDRESSES_MAX);
        if found.is_empty() { Err(unknown("it has none".to_owned())) } else { Ok(found) }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As the system resolves it: its files, then its servers.
#[allow(clippy::disallowed_methods, reason = "the one place that resolves names")]
async fn system(host: String) -> std::io::Result<Vec<IpAddr>> {
    Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    #[tokio::test]
    async fn a_name_is_resolved_once_and_what_it_means_later_is_not_used() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let names = Names::with(
            |_| {
                let answer =
                    if ASKED.fetch_add(1, Ordering::Relaxed) == 0 { "10.0.0.5" } else { "203.0.113.9" };
                Box::pin(async move { Ok(vec![ip(answer)]) })
            },
            Duration::ZERO,
        );
        let networks = Networks::default();
        for _ in 0..3 {
            assert_eq!(names.first("store", &networks).await, Ok(vec![ip("10.0.0.5")]));
        }
        assert_eq!(ASKED.load(Ordering::Relaxed), 1);
        let moved = names.again("store").await.expect_err("it means another machine");
        assert_eq!(names.moved().await, moved);
        let told = moved.to_string();
        assert!(
            told.contains("'store'") && told.contains("10.0.0.5") && told.contains("203.0.113.9"),
            "{told}"
        );
        assert_eq!(
            names.first("store", &networks).await,
            Ok(vec![ip("10.0.0.5")]),
            "for as long as the process runs"
        );
    }

    #[tokio::test]
    async fn a_name_of_several_machines_is_refused_whole_and_may_show_some_of_them() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let mixed = Names::with(|_| Box::pin(async { Ok(vec![ip("10.0.0.5"), ip("8.8.8.8")]) }), AGAIN);
        let refused = mixed.first("store", &Networks::default()).await;
        assert!(
            matches!(&refused, Err(Error::Outside { host, address, .. }) if host == "store" && *address == ip("8.8.8.8")),
            "{refused:?}"
        );
        let pool = Names::with(
            |_| {
                let all = vec![ip("10.0.0.5"), ip("10.0.0.6")];
                let first = ASKED.fetch_add(1, Ordering::Relaxed) == 0;
                Box::pin(async move { Ok(if first { all } else { all[1..].to_vec() }) })
            },
            Duration::ZERO,
        );
        assert_eq!(pool.first("pool", &Networks::default()).await.map(|all| all.len()), Ok(2));
        assert_eq!(pool.again("pool").await, Ok(()));
        let later = Names::with(|_| Box::pin(async { Ok(vec![ip("10.0.0.5")]) }), AGAIN);
        assert_eq!(later.first("store", &Networks::default()).await.map(|all| all.len()), Ok(1));
        assert_eq!(later.again("store").await, Ok(()), "it was asked for just now");
    }

    #[tokio::test]
    async fn a_process_asks_for_a_bounded_number_of_names() {
        let names = Names::with(|_| Box::pin(async { Ok(vec![ip("10.0.0.5")]) }), AGAIN);
        for number in 0..NAMES_MAX {
            assert!(names.first(&format!("n{number}"), &Networks::default()).await.is_ok());
        }
        assert!(matches!(names.first("more", &Networks::default()).await, Err(Error::TooMany { .. })));
        assert!(names.first("n0", &Networks::default()).await.is_ok());
        let nobody = Names::with(|_| Box::pin(async { Err(std::io::ErrorKind::NotFound.into()) }), AGAIN);
        assert!(matches!(nobody.first("x", &Networks::default()).await, Err(Error::Unknown { .. })));
    }
}
