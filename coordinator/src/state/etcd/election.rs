//! Who leads: whoever holds the leader's key, which lives as long as its holder renews a lease.

use std::time::Duration;

use etcd_client::{Client, Compare, CompareOp, GetResponse, PutOptions, Txn, TxnOp, TxnResponse};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{Keys, Members};
use crate::state::{Epoch, Error, Standing};

/// A leader that is silent for this long leads no more, seconds. etcd grants no less than two.
const LEASE_S: i64 = 2;
const LEASE: Duration = Duration::from_secs(LEASE_S as u64);
/// Renewed this often.
const RENEW: Duration = Duration::from_millis(400);
/// A leader whose last renewal is this old stops leading by itself.
const UNSURE: Duration = Duration::from_millis(1_800);
/// Others look this often whether the key is free.
const LOOK: Duration = Duration::from_millis(200);
/// While the cluster does not answer.
const PAUSE: Duration = Duration::from_millis(500);
/// History older than this is dropped, so that the cluster does not fill up with it.
const COMPACT: Duration = Duration::from_secs(300);

pub(super) struct Election {
    pub(super) members: Members,
    pub(super) keys: Keys,
    pub(super) advertise: String,
    pub(super) standing: watch::Sender<Standing>,
    pub(super) lease: watch::Sender<Option<i64>>,
}

impl Election {
    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        let mut told = false;
        loop {
            match self.term().await {
                Ok(()) => told = false,
                Err(error) => {
                    if !told {
                        tracing::error!("{error}; nobody can lead until it does");
                    }
                    told = true;
                    sleep(PAUSE).await;
                }
            }
            self.lease.send_replace(None);
            self.follows(None);
        }
    }

    fn follows(&self, leader: Option<String>) {
        let now = Standing::Follower { leader };
        self.standing.send_if_modified(|standing| {
            let news = *standing != now;
            *standing = now;
            news
        });
    }

    /// Waits until nobody leads, and leads until the lease is lost.
    async fn term(&mut self) -> Result<(), Error> {
        let (lease, epoch) = loop {
            match self.leader().await? {
                Some(leader) => {
                    self.follows(Some(leader));
                    sleep(LOOK).await;
                }
                None => {
                    if let Some(won) = self.try_to_lead().await? {
                        break won;
                    }
                }
            }
        };
        self.lease.send_replace(Some(lease));
        self.standing.send_replace(Standing::Leader { epoch });
        self.hold(lease).await
    }

    async fn leader(&mut self) -> Result<Option<String>, Error> {
        let key = self.keys.leader();
        let got = self.members.run(|client| get(client, key.clone())).await?;
        Ok(got.kvs().first().map(|kv| String::from_utf8_lossy(kv.value()).into_owned()))
    }

    async fn try_to_lead(&mut self) -> Result<Option<(i64, Epoch)>, Error> {
        let granted =
            self.members.run(|mut client| async move { client.lease_grant(LEASE_S, None).await }).await?;
        let (key, lease) = (self.keys.leader(), granted.id());
        let free = Compare::create_revision(key.clone(), CompareOp::Equal, 0);
        let options = PutOptions::new().with_lease(lease);
        let take = TxnOp::put(key.clone(), self.advertise.clone(), Some(options));
        let txn = Txn::new().when(vec![free]).and_then(vec![take]);
        let done = self.members.run(|client| transact(client, txn.clone())).await?;
        // A transaction that was asked again after a lost answer finds the key taken: by this very lease, perhaps.
        let got = self.members.run(|client| get(client, key.clone())).await?;
        let ours = got.kvs().first().filter(|kv| kv.lease() == lease);
        match ours {
            Some(kv) => Ok(Some((lease, Epoch(u64::try_from(kv.create_revision()).unwrap_or(0))))),
            None if done.succeeded() => Ok(None), // taken and lost again: the lease ended meanwhile
            None => Ok(None),
        }
    }

    /// Renews the lease until that fails for too long.
    async fn hold(&mut self, lease: i64) -> Result<(), Error> {
        let (mut renewed, mut compacted, mut old) = (Instant::now(), Instant::now(), None);
        loop {
            sleep(RENEW).await;
            let began = Instant::now();
            let left = UNSURE.saturating_sub(renewed.elapsed());
            let ttl = timeout(left, self.members.run(|client| renew(client, lease))).await;
            match ttl {
                Ok(Ok(ttl)) if ttl > 0 => renewed = began,
                Ok(Ok(_)) => {
                    tracing::warn!("the lease ended while this coordinator led");
                    return Ok(());
                }
                Ok(Err(error)) if renewed.elapsed() < UNSURE => tracing::warn!("{error}"),
                Ok(Err(_)) | Err(_) => {
                    tracing::warn!(seconds = LEASE.as_secs(), "the lease could not be renewed in time");
                    return Ok(());
                }
            }
            if compacted.elapsed() > COMPACT {
                compacted = Instant::now();
                old = self.compact(old).await;
            }
        }
    }

    /// Drops what lies before the revision seen last time; gives the present one.
    async fn compact(&mut self, old: Option<i64>) -> Option<i64> {
        if let Some(old) = old {
            let done = self.members.run(|mut client| async move { client.compact(old, None).await }).await;
            if let Err(error) = done {
                tracing::info!(%error, "history was not compacted");
            }
        }
        let key = self.keys.leader();
        let got = self.members.run(|client| get(client, key.clone())).await.ok()?;
        got.header().map(etcd_client::ResponseHeader::revision)
    }
}

/// Seconds that the lease lives from here; 0 when it has ended.
async fn renew(mut client: Client, lease: i64) -> Result<i64, etcd_client::Error> {
    let (mut keeper, mut answers) = client.lease_keep_alive(lease).await?;
    keeper.keep_alive().await?;
    Ok(answers.message().await?.map_or(0, |answer| answer.ttl()))
}

async fn get(mut client: Client, key: Vec<u8>) -> Result<GetResponse, etcd_client::Error> {
    client.get(key, None).await
}

async fn transact(mut client: Client, txn: Txn) -> Result<TxnResponse, etcd_client::Error> {
    client.txn(txn).await
}
