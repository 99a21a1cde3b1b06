//! What every state store must do, as checks that each of them passes on an empty store of its kind.

use croft_core::step::Write;

use super::{Epoch, Error, StateStore};

fn put(key: &str, value: &[u8]) -> Write {
    Write { key: key.to_owned(), value: Some(value.to_vec()) }
}

fn remove(key: &str) -> Write {
    Write { key: key.to_owned(), value: None }
}

fn all(store: &mut dyn StateStore) -> Vec<(String, Vec<u8>)> {
    store.load().expect("an open store is read")
}

/// Checks an empty store whose leader holds `epoch`; it holds nothing afterwards.
///
/// # Panics
/// When the store does not conform.
pub fn check(store: &mut dyn StateStore, epoch: Epoch) {
    assert_eq!(all(store), [], "a new store is empty");
    let before = store.revision().expect("a revision");
    store.commit(epoch, &[]).expect("an empty commit is a commit");
    store.commit(epoch, &[put("b", b"2"), put("a", b"1"), put("c", b"")]).expect("a commit");
    let three =
        [("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec()), ("c".to_owned(), Vec::new())];
    assert_eq!(all(store), three, "values are kept, in the order of their keys, empty ones too");
    assert_ne!(store.revision().expect("a revision"), before, "who reads sees that somebody wrote");
    let again = [remove("b"), put("a", b"9"), remove("never there")];
    for _ in 0..2 {
        store.commit(epoch, &again).expect("a commit, and the same once more");
        let two = [("a".to_owned(), b"9".to_vec()), ("c".to_owned(), Vec::new())];
        assert_eq!(all(store), two, "a value is replaced, a key is removed");
    }
    store.commit(epoch, &[put("a", b"1"), remove("a"), put("c", b"x"), put("c", b"y")]).expect("a commit");
    assert_eq!(all(store), [("c".to_owned(), b"y".to_vec())], "of two writes to one key the later counts");
    large_values(store, epoch);
    many_writes(store, epoch);
}

fn large_values(store: &mut dyn StateStore, epoch: Epoch) {
    for size in [1 << 20, 9 << 20, 10, 3 << 20] {
        let large: Vec<u8> = (0..size).map(|at: usize| (at * 7 + size) as u8).collect();
        store.commit(epoch, &[put("large", &large)]).expect("a commit");
        assert!(all(store)[1] == ("large".to_owned(), large), "a value may have {size} bytes");
    }
    store.commit(epoch, &[remove("large"), remove("c")]).expect("a commit");
    assert_eq!(all(store), [], "nothing of it is left");
}

fn many_writes(store: &mut dyn StateStore, epoch: Epoch) {
    let many: Vec<Write> =
        (0..1_500_u32).map(|at| put(&format!("many/{at:06}"), &at.to_le_bytes())).collect();
    store.commit(epoch, &many).expect("a commit of many writes");
    let loaded = all(store);
    assert_eq!(loaded.len(), many.len(), "all of them");
    assert!(loaded.windows(2).all(|pair| pair[0].0 < pair[1].0), "in the order of their keys");
    let none: Vec<Write> = many.iter().map(|write| remove(&write.key)).collect();
    store.commit(epoch, &none).expect("a commit of many removals");
    assert_eq!(all(store), [], "none of them");
}

/// Checks that a coordinator with the epoch of an earlier leader can write nothing.
///
/// # Panics
/// When the store takes it.
pub fn refuses_others(store: &mut dyn StateStore, leader: Epoch, deposed: Epoch) {
    store.commit(leader, &[put("kept", b"1")]).expect("the leader writes");
    for writes in [vec![put("kept", b"2")], (0..300).map(|at| put(&format!("many/{at}"), b"x")).collect()] {
        assert_eq!(store.commit(deposed, &writes), Err(Error::Deposed));
    }
    assert_eq!(all(store), [("kept".to_owned(), b"1".to_vec())], "nothing was written");
    store.commit(leader, &[remove("kept")]).expect("the leader writes");
}
