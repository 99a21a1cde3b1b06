//! Keys and values as they lie in etcd, and what a batch of writes becomes there.

use std::collections::{BTreeMap, BTreeSet};

use croft_core::step::Write;
use etcd_client::{DeleteOptions, TxnOp};

use crate::state::Error;

/// A larger value is kept in parts of this size.
const PART: usize = 512 << 10;
const WHOLE: u8 = 0;
const PARTS: u8 = 1;

/// Keys of one farm.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    farm: String,
}

/// One operation on a key below the farm's prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Op {
    Put(String, Vec<u8>),
    Delete(String),
    DeleteBelow(String),
}

/// What a store held.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) values: Vec<(String, Vec<u8>)>,
    pub(super) split: BTreeSet<String>,
    /// Of a batch that was decided and perhaps not done.
    pub(super) unfinished: Vec<Op>,
}

impl Keys {
    pub(super) fn new(farm: &str) -> Self {
        Self { farm: farm.to_owned() }
    }

    pub(super) fn prefix(&self) -> Vec<u8> {
        self.full("")
    }

    pub(super) fn leader(&self) -> Vec<u8> {
        self.full("leader")
    }

    pub(super) fn mark(&self) -> Vec<u8> {
        self.full("mark")
    }

    fn full(&self, key: &str) -> Vec<u8> {
        format!("/croft/{}/{key}", self.farm).into_bytes()
    }

    /// Puts values together, and what was decided over them.
    pub(super) fn load(&self, all: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Loaded, Error> {
        let prefix = String::from_utf8(self.prefix()).expect("a farm's name is text");
        let damaged = |key: &str, what: &str| Error::Damaged {
            place: format!("etcd key {prefix}{key}"),
            what: what.to_owned(),
        };
        let mut found: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for (key, value) in all {
            let key = String::from_utf8(key).map_err(|_| damaged("", "a key is no text"))?;
            if let Some(key) = key.strip_prefix(&prefix) {
                found.insert(key.to_owned(), value);
            }
        }
        let mut loaded = Loaded::default();
        if let Some(count) = found.get("committed") {
            let count = std::str::from_utf8(count).ok().and_then(|count| count.parse::<usize>().ok());
            for at in 0..count.ok_or_else(|| damaged("committed", "no number"))? {
                let key = logged_key(at);
                let op = found.get(&key).and_then(|bytes| Op::read(bytes));
                loaded.unfinished.push(op.ok_or_else(|| damaged(&key, "a decided batch lacks it"))?);
            }
            for op in loaded.unfinished.clone() {
                op.apply(&mut found);
            }
        }
        let values = found.iter().filter_map(|(key, value)| Some((key.strip_prefix("s/")?, value)));
        for (key, value) in values {
            let value = match value.split_first() {
                Some((&WHOLE, value)) => value.to_vec(),
                Some((&PARTS, count)) => {
                    loaded.split.insert(key.to_owned());
                    let count = count.try_into().map(u32::from_le_bytes);
                    let parts = (0..count.map_err(|_| damaged(key, "no number of parts"))?).map(|at| {
                        found.get(&part_key(key, at)).ok_or_else(|| damaged(key, "a part is missing"))
                    });
                    parts.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().copied().collect()
                }
                _ => return Err(damaged(key, "no value of this format")),
            };
            loaded.values.push((key.to_owned(), value));
        }
        Ok(loaded)
    }
}

/// What `writes` are here: the last of each key, large values in parts.
pub(super) fn ops(writes: &[Write], split: &mut BTreeSet<String>) -> Vec<Op> {
    let last: BTreeMap<&str, Option<&Vec<u8>>> =
        writes.iter().map(|write| (write.key.as_str(), write.value.as_ref())).collect();
    let mut ops = Vec::new();
    for (key, value) in last {
        let parts = value.map_or(0, |value| if value.len() > PART { value.len().div_ceil(PART) } else { 0 });
        let was_split = split.contains(key);
        match value {
            Some(value) if parts > 0 => {
                for (at, part) in (0..).zip(value.chunks(PART)) {
                    ops.push(Op::Put(part_key(key, at), part.to_vec()));
                }
                let count = u32::try_from(parts).expect("a value has no billion parts");
                ops.push(Op::Put(format!("s/{key}"), [&[PARTS][..], &count.to_le_bytes()].concat()));
                split.insert(key.to_owned());
                continue;
            }
            Some(value) => ops.push(Op::Put(format!("s/{key}"), [&[WHOLE][..], value].concat())),
            None => ops.push(Op::Delete(format!("s/{key}"))),
        }
        if was_split {
            ops.push(Op::DeleteBelow(format!("p/{key}/")));
            split.remove(key);
        }
    }
    ops
}

/// Runs of operations that fit into one transaction each.
pub(super) fn groups(ops: &[Op], ops_max: usize, bytes_max: usize) -> Vec<&[Op]> {
    let (mut groups, mut first, mut bytes) = (Vec::new(), 0, 0);
    for (at, op) in ops.iter().enumerate() {
        if at > first && (at - first == ops_max || bytes + op.bytes() > bytes_max) {
            groups.push(&ops[first..at]);
            (first, bytes) = (at, 0);
        }
        bytes += op.bytes();
    }
    if first < ops.len() {
        groups.push(&ops[first..]);
    }
    groups
}

/// The end of the range of all keys that begin with `prefix`.
pub(super) fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    let last = end.last_mut().expect("a prefix has letters");
    *last += 1;
    end
}

fn part_key(key: &str, at: u32) -> String {
    format!("p/{key}/{at:04}")
}

fn logged_key(at: usize) -> String {
    format!("w/{at:06}")
}

impl Op {
    /// The operation as a value of its own, to be done once the whole batch is decided.
    pub(super) fn logged(&self, at: usize) -> Self {
        let (kind, key, value): (u8, &str, &[u8]) = match self {
            Self::Put(key, value) => (0, key, value),
            Self::Delete(key) => (1, key, &[]),
            Self::DeleteBelow(key) => (2, key, &[]),
        };
        let length = u32::try_from(key.len()).expect("keys are short").to_le_bytes();
        Self::Put(logged_key(at), [&[kind][..], &length, key.as_bytes(), value].concat())
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (key, value) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let key = String::from_utf8(key.to_vec()).ok()?;
        match kind {
            0 => Some(Self::Put(key, value.to_vec())),
            1 => Some(Self::Delete(key)),
            2 => Some(Self::DeleteBelow(key)),
            _ => None,
        }
    }

    /// Marks that the logged batch of `count` operations counts.
    pub(super) fn decided(count: usize) -> Self {
        Self::Put("committed".to_owned(), count.to_string().into_bytes())
    }

    pub(super) fn undecided() -> Self {
        Self::Delete("committed".to_owned())
    }

    pub(super) fn forget_log() -> Self {
        Self::DeleteBelow("w/".to_owned())
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Put(key, value) => key.len() + value.len(),
            Self::Delete(key) | Self::DeleteBelow(key) => key.len(),
        }
    }

    fn apply(self, found: &mut BTreeMap<String, Vec<u8>>) {
        match self {
            Self::Put(key, value) => drop(found.insert(key, value)),
            Self::Delete(key) => drop(found.remove(&key)),
            Self::DeleteBelow(prefix) => found.retain(|key, _| !key.starts_with(&prefix)),
        }
    }

    pub(super) fn into_txn(self, keys: &Keys) -> TxnOp {
        match self {
            Self::Put(key, value) => TxnOp::put(keys.full(&key), value, None),
            Self::Delete(key) => TxnOp::delete(keys.full(&key), None),
            Self::DeleteBelow(key) => {
                TxnOp::delete(keys.full(&key), Some(DeleteOptions::new().with_prefix()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(found: &BTreeMap<String, Vec<u8>>) -> Loaded {
        let keys = Keys::new("croft");
        let all = found.iter().map(|(key, value)| (keys.full(key), value.clone())).collect();
        keys.load(all).unwrap()
    }

    fn put(key: &str, value: Vec<u8>) -> Write {
        Write { key: key.to_owned(), value: Some(value) }
    }

    #[test]
    fn a_decided_batch_counts_wherever_its_leader_died() {
        let writes: Vec<Write> = (0..5).map(|at| put(&format!("k{at}"), vec![at; 3])).collect();
        let ops = ops(&writes, &mut BTreeSet::new());
        let mut found = BTreeMap::new();
        for (at, op) in ops.iter().enumerate() {
            op.logged(at).apply(&mut found);
            assert!(loaded(&found).values.is_empty(), "nothing counts before all of it is decided");
        }
        Op::decided(ops.len()).apply(&mut found);
        for done in 0..=ops.len() {
            assert_eq!(loaded(&found).values.len(), 5, "all of it counts, {done} done");
            if let Some(op) = ops.get(done) {
                op.clone().apply(&mut found);
            }
        }
        Op::undecided().apply(&mut found);
        Op::forget_log().apply(&mut found);
        let after = loaded(&found);
        assert_eq!((after.values.len(), after.unfinished.len(), found.len()), (5, 0, 5));
    }

    #[test]
    fn a_large_value_comes_back_whole_and_leaves_no_parts_behind() {
        let (mut split, mut found) = (BTreeSet::new(), BTreeMap::new());
        let large: Vec<u8> = (0..2 * PART + 7).map(|at| at as u8).collect();
        for (value, keys) in [(large.clone(), 4), (b"small".to_vec(), 1), (large, 4)] {
            for op in ops(&[put("k", value.clone())], &mut split) {
                op.apply(&mut found);
            }
            assert_eq!(loaded(&found).values, [("k".to_owned(), value)]);
            assert_eq!(found.len(), keys);
        }
        for op in ops(&[Write { key: "k".to_owned(), value: None }], &mut split) {
            op.apply(&mut found);
        }
        assert!(found.is_empty());
    }

    #[test]
    fn groups_keep_both_bounds() {
        let ops: Vec<Op> = (0..250).map(|at| Op::Put(format!("{at:03}"), vec![0; 7])).collect();
        let by_number = groups(&ops, 100, usize::MAX);
        assert_eq!(by_number.iter().map(|group| group.len()).collect::<Vec<_>>(), [100, 100, 50]);
        assert!(groups(&ops, 100, 50).iter().all(|group| group.len() == 5));
        assert_eq!(groups(&ops, 100, 1).len(), 250, "one that is too large by itself stands alone");
    }
}
