//! The state of several coordinators in an etcd cluster.
//!
//! Under `/croft/{farm}/`: `leader` (with a lease; its create revision is the epoch), `s/{key}` the values, `p/{key}/{n}`
//! the parts of large ones, `w/{n}` and `committed` a batch that is too large for one transaction. Every transaction
//! compares the leader's key: a coordinator whose lease ended writes nothing, whatever it believes.

mod election;
mod layout;
mod members;

use std::{collections::BTreeSet, time::Duration};

use croft_core::step::Write;
use etcd_client::{Compare, CompareOp, GetOptions, Txn, TxnOp};
use layout::{Keys, Op};
use members::Members;
use tokio::{runtime::Handle, sync::watch};
use tokio_util::task::AbortOnDropHandle;

use super::{Epoch, Error, Seat, Standing, StateStore};

/// Operations of one transaction: etcd takes 128.
const OPS_MAX: usize = 100;
/// Bytes of one transaction: etcd takes 1.5 MiB.
const BYTES_MAX: usize = 1 << 20;
/// Keys of one page of a load.
const PAGE: i64 = 200;
/// A message of etcd, at most.
const MESSAGE_MAX: usize = 256 << 20;
/// A commit or a page of a load; a member that takes longer is passed over.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same for what keeps the lease, or one member that hangs would cost it.
const RENEWAL: Duration = Duration::from_millis(600);
/// A coordinator that ends gives its lease back, if that takes no longer.
const RESIGN: Duration = Duration::from_secs(1);

/// Where the cluster is and what this coordinator is called.
#[derive(Debug, Clone)]
pub struct EtcdConfig {
    /// `http://HOST:PORT`, one a member.
    pub members: Vec<String>,
    /// Keys begin with `/croft/{farm}/`.
    pub farm: String,
    /// What the others tell clients of this coordinator when it leads.
    pub advertise: String,
}

/// The store; its election runs as long as it lives.
#[derive(Debug)]
pub struct Etcd {
    members: Members,
    keys: Keys,
    runtime: Handle,
    /// Keys whose values lie in parts.
    split: BTreeSet<String>,
    /// A large batch that an earlier leader decided and did not finish.
    unfinished: Vec<Op>,
    lease: watch::Receiver<Option<i64>>,
    _election: AbortOnDropHandle<()>,
}

impl Etcd {
    /// A seat at the cluster. It need not answer yet: the election goes on until it does, and nobody leads meanwhile.
    ///
    /// # Errors
    /// When an address is none.
    pub async fn seat(config: EtcdConfig) -> Result<Seat, Error> {
        let members = Members::new(&config.members, PATIENCE).await?;
        let keys = Keys::new(&config.farm);
        let (standing, seen) = watch::channel(Standing::Follower { leader: None });
        let (lease_told, lease) = watch::channel(None);
        let election = election::Election {
            members: members.patient_for(RENEWAL),
            keys: keys.clone(),
            advertise: config.advertise,
            standing,
            lease: lease_told,
        };
        let store = Self {
            members,
            keys,
            runtime: Handle::current(),
            split: BTreeSet::new(),
            unfinished: Vec::new(),
            lease,
            _election: AbortOnDropHandle::new(tokio::spawn(election.run())),
        };
        Ok(Seat { store: Box::new(store), standing: seen, kind: "etcd" })
    }

    /// One transaction, refused when `epoch` is not the leader's.
    async fn transact(&mut self, epoch: Epoch, ops: Vec<Op>) -> Result<(), Error> {
        let revision = i64::try_from(epoch.0).unwrap_or(i64::MAX);
        let leads = Compare::create_revision(self.keys.leader(), CompareOp::Equal, revision);
        let then: Vec<TxnOp> = ops.into_iter().map(|op| op.into_txn(&self.keys)).collect();
        let txn = Txn::new().when(vec![leads]).and_then(then);
        let done = self
            .members
            .run(|mut client| {
                let txn = txn.clone();
                async move { client.txn(txn).await }
            })
            .await?;
        if done.succeeded() { Ok(()) } else { Err(Error::Deposed) }
    }

    /// All of `ops` or none: at once where they fit, else written down first, then marked as decided, then done.
    async fn write(&mut self, epoch: Epoch, ops: Vec<Op>) -> Result<(), Error> {
        let groups = layout::groups(&ops, OPS_MAX, BYTES_MAX);
        if groups.len() <= 1 {
            return self.transact(epoch, ops).await;
        }
        let log: Vec<Op> = ops.iter().enumerate().map(|(at, op)| op.logged(at)).collect();
        for group in layout::groups(&log, OPS_MAX, BYTES_MAX) {
            self.transact(epoch, group.to_vec()).await?;
        }
        self.transact(epoch, vec![Op::decided(ops.len())]).await?;
        self.finish(epoch, &ops).await
    }

    /// Does what a decided batch says, and forgets that it was one.
    async fn finish(&mut self, epoch: Epoch, ops: &[Op]) -> Result<(), Error> {
        for group in layout::groups(ops, OPS_MAX, BYTES_MAX) {
            self.transact(epoch, group.to_vec()).await?;
        }
        self.transact(epoch, vec![Op::undecided(), Op::forget_log()]).await
    }

    async fn read(&mut self) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Error> {
        let prefix = self.keys.prefix();
        let end = layout::after(&prefix);
        let (mut all, mut from, mut revision) = (Vec::new(), prefix, 0);
        loop {
            let options = GetOptions::new().with_range(end.clone()).with_limit(PAGE).with_revision(revision);
            let page = self
                .members
                .run(|client| {
                    let (from, options) = (from.clone(), options.clone());
                    let mut kv = client.kv_client().max_decoding_message_size(MESSAGE_MAX);
                    async move { kv.get(from, Some(options)).await }
                })
                .await?;
            // All pages are of one moment.
            revision =
                if revision == 0 { page.header().map_or(0, |header| header.revision()) } else { revision };
            all.extend(page.kvs().iter().map(|kv| (kv.key().to_vec(), kv.value().to_vec())));
            if !page.more() {
                return Ok(all);
            }
            from = page.kvs().last().map(|last| [last.key(), &[0]].concat()).unwrap_or_else(|| end.clone());
        }
    }
}

impl StateStore for Etcd {
    fn load(&mut self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let runtime = self.runtime.clone();
        let all = runtime.block_on(self.read())?;
        let layout::Loaded { values, split, unfinished } = self.keys.load(all)?;
        (self.split, self.unfinished) = (split, unfinished);
        Ok(values)
    }

    fn commit(&mut self, epoch: Epoch, writes: &[Write]) -> Result<(), Error> {
        let runtime = self.runtime.clone();
        let ops = layout::ops(writes, &mut self.split);
        runtime.block_on(async {
            if !self.unfinished.is_empty() {
                let before = self.unfinished.clone();
                self.finish(epoch, &before).await?;
                self.unfinished.clear();
            }
            if ops.is_empty() { Ok(()) } else { self.write(epoch, ops).await }
        })
    }

    fn revision(&mut self) -> Result<u64, Error> {
        let (runtime, key) = (self.runtime.clone(), self.keys.leader());
        let options = GetOptions::new().with_count_only();
        let got = runtime.block_on(self.members.run(|mut client| {
            let (key, options) = (key.clone(), options.clone());
            async move { client.get(key, Some(options)).await }
        }))?;
        Ok(got.header().map_or(0, |header| u64::try_from(header.revision()).unwrap_or(0)))
    }

    /// Whoever comes next need not wait for the lease to end.
    fn resign(&mut self) {
        let Some(lease) = *self.lease.borrow() else { return };
        let (runtime, members) = (self.runtime.clone(), &mut self.members);
        let revoked = async {
            let revoke = members.run(|mut client| async move { client.lease_revoke(lease).await });
            // One that is not given back ends by itself.
            let _ = tokio::time::timeout(RESIGN, revoke).await;
        };
        runtime.block_on(revoked);
    }
}

#[cfg(test)]
mod tests;
