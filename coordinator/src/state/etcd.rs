//! The state of several coordinators in an etcd cluster.
//!
//! Under `/croft/{farm}/`: `leader` (with a lease; its create revision is the epoch), `s/{key}` the values, `p/{key}/{n}`
//! the parts of large ones, `w/{n}` and `committed` a batch that is too large for one transaction, `mark` the name of the
//! last transaction. Every transaction compares the leader's key: a coordinator whose lease ended writes nothing, whatever
//! it believes. It compares the mark as well, and moves it: one that a slow member lets in late, after others that came
//! later, changes nothing, and one that was sent twice is done once.

mod election;
mod layout;
mod members;

use std::{collections::BTreeSet, time::Duration};

use croft_core::step::Write;
use croft_proto::egress::Guard;
use election::Election;
use etcd_client::{Compare, CompareOp, GetOptions, Txn, TxnOp, TxnOpResponse, TxnResponse};
use layout::{Keys, Op};
use members::Members;
use tokio::{runtime::Handle, sync::watch, task::JoinSet};

use super::{Epoch, Error, Seat, Standing, StateStore};
use crate::config::EtcdTls;

/// Operations of one transaction: etcd takes 128.
const OPS_MAX: usize = 100;
/// Transactions of this coordinator whose answer was lost and that may still arrive before one that is sent now.
const LATE_MAX: usize = 16;
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
    /// Files for members that are reached by `https://`.
    pub tls: EtcdTls,
    /// Where connections may go.
    pub guard: Guard,
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
    /// The mark as it was seen last; `None` where there is none.
    mark: Option<Vec<u8>>,
    /// Transactions so far: each has a mark of its own.
    sent: u64,
    lease: watch::Receiver<Option<i64>>,
    /// Ended with the store.
    election: JoinSet<()>,
}

impl Etcd {
    /// A seat at the cluster. It need not answer yet: the election goes on until it does, and nobody leads meanwhile.
    ///
    /// # Errors
    /// When an address is none.
    pub async fn seat(config: EtcdConfig) -> Result<Seat, Error> {
        let (mut store, election, standing) = Self::new(config).await?;
        store.election.spawn(election.run());
        Ok(Seat { store: Box::new(store), standing, kind: "etcd" })
    }

    async fn new(config: EtcdConfig) -> Result<(Self, Election, watch::Receiver<Standing>), Error> {
        let members = Members::new(&config.members, &config.tls, &config.guard, PATIENCE).await?;
        let keys = Keys::new(&config.farm);
        let (standing, seen) = watch::channel(Standing::Follower { leader: None });
        let (lease_told, lease) = watch::channel(None);
        let election = Election {
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
            mark: None,
            sent: 0,
            lease,
            election: JoinSet::new(),
        };
        Ok((store, election, seen))
    }

    /// One transaction, refused when `epoch` is not the leader's.
    async fn transact(&mut self, epoch: Epoch, ops: &[Op]) -> Result<(), Error> {
        self.sent += 1;
        let mark = format!("{}.{}", epoch.0, self.sent).into_bytes();
        for _ in 0..LATE_MAX {
            let txn = self.next(epoch, ops, &mark);
            let done = self
                .members
                .run(|mut client| {
                    let txn = txn.clone();
                    async move { client.txn(txn).await }
                })
                .await?;
            if done.succeeded() {
                self.mark = Some(mark);
                return Ok(());
            }
            let (leading, seen) = refused(&done);
            // Whoever leads is the only one that moves the mark, so what it is now it is by an earlier try of ours.
            self.mark = seen;
            if self.mark.as_ref() == Some(&mark) {
                return Ok(()); // asked twice, and the first answer was lost
            }
            if leading != Some(revision(epoch)) {
                return Err(Error::Deposed);
            }
        }
        Err(Error::Unavailable { store: "etcd", what: "earlier writes keep arriving late".to_owned() })
    }

    /// What does `ops` if `epoch` still leads and nothing came after what was seen last, and else tells who leads and
    /// what came.
    fn next(&self, epoch: Epoch, ops: &[Op], mark: &[u8]) -> Txn {
        let (leader, key) = (self.keys.leader(), self.keys.mark());
        let leads = Compare::create_revision(leader.clone(), CompareOp::Equal, revision(epoch));
        let in_order = match &self.mark {
            Some(mark) => Compare::value(key.clone(), CompareOp::Equal, mark.clone()),
            None => Compare::create_revision(key.clone(), CompareOp::Equal, 0),
        };
        let mut then: Vec<TxnOp> = ops.iter().map(|op| op.clone().into_txn(&self.keys)).collect();
        then.push(TxnOp::put(key.clone(), mark, None));
        let otherwise = vec![TxnOp::get(leader, None), TxnOp::get(key, None)];
        Txn::new().when(vec![leads, in_order]).and_then(then).or_else(otherwise)
    }

    /// All of `ops` or none: at once where they fit, else written down first, then marked as decided, then done.
    async fn write(&mut self, epoch: Epoch, ops: Vec<Op>) -> Result<(), Error> {
        let groups = layout::groups(&ops, OPS_MAX, BYTES_MAX);
        if groups.len() <= 1 {
            return self.transact(epoch, &ops).await;
        }
        let log: Vec<Op> = ops.iter().enumerate().map(|(at, op)| op.logged(at)).collect();
        for group in layout::groups(&log, OPS_MAX, BYTES_MAX) {
            self.transact(epoch, group).await?;
        }
        self.transact(epoch, &[Op::decided(ops.len())]).await?;
        self.finish(epoch, &ops).await
    }

    /// Does what a decided batch says, and forgets that it was one.
    async fn finish(&mut self, epoch: Epoch, ops: &[Op]) -> Result<(), Error> {
        for group in layout::groups(ops, OPS_MAX, BYTES_MAX) {
            self.transact(epoch, group).await?;
        }
        self.transact(epoch, &[Op::undecided(), Op::forget_log()]).await
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
        // Of the commit that is sent again after no answer, too: what it splits counts once it is done.
        let mut split = self.split.clone();
        let ops = layout::ops(writes, &mut split);
        runtime.block_on(async {
            if !self.unfinished.is_empty() {
                let before = self.unfinished.clone();
                self.finish(epoch, &before).await?;
                self.unfinished.clear();
            }
            if !ops.is_empty() {
                self.write(epoch, ops).await?;
            }
            Ok(())
        })?;
        self.split = split;
        Ok(())
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

fn revision(epoch: Epoch) -> i64 {
    i64::try_from(epoch.0).unwrap_or(i64::MAX)
}

/// The create revision of the leader's key and the mark, as a refused transaction found them.
fn refused(answer: &TxnResponse) -> (Option<i64>, Option<Vec<u8>>) {
    let responses = answer.op_responses();
    let mut found = responses.iter().map(|response| match response {
        TxnOpResponse::Get(got) => got.kvs().first(),
        _ => None,
    });
    let leading = found.next().flatten().map(|kv| kv.create_revision());
    (leading, found.next().flatten().map(|kv| kv.value().to_vec()))
}

#[cfg(test)]
mod tests;
