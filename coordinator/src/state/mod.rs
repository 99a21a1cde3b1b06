//! Where the mind's writes become durable. The trait is all that the coordinator knows of a store.

mod memory;

pub use memory::Memory;

use croft_core::step::Write;

/// A store lost a write or cannot be read: the coordinator must end rather than go on with what nobody remembers.
#[derive(Debug, thiserror::Error)]
#[error("{store} state store: {what}")]
pub struct Error {
    pub store: &'static str,
    pub what: String,
}

/// A durable map from keys to bytes, written by one coordinator.
///
/// Its methods are called on the farm's own thread and may block there; the commands of a batch wait for its commit.
pub trait StateStore: std::fmt::Debug + Send {
    /// All keys and values, in the order of the keys.
    fn load(&mut self) -> Result<Vec<(String, Vec<u8>)>, Error>;

    /// Makes all of `writes` durable or none of them; a write without a value removes its key. Of two writes to one
    /// key the later counts.
    fn commit(&mut self, writes: Vec<Write>) -> Result<(), Error>;
}

/// What every state store must do, as a test that each of them runs on an empty store of its kind.
///
/// # Panics
/// When the store does not conform.
pub fn conforms(store: &mut dyn StateStore) {
    let put = |key: &str, value: &[u8]| Write { key: key.to_owned(), value: Some(value.to_vec()) };
    let remove = |key: &str| Write { key: key.to_owned(), value: None };
    let all = |store: &mut dyn StateStore| store.load().expect("an open store is read");

    assert_eq!(all(store), [], "a new store is empty");
    store.commit(Vec::new()).expect("an empty commit is a commit");
    store.commit(vec![put("b", b"2"), put("a", b"1"), put("c", b"")]).expect("a commit");
    let three =
        [("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec()), ("c".to_owned(), Vec::new())];
    assert_eq!(all(store), three, "values are kept, in the order of their keys, empty ones too");
    store.commit(vec![remove("b"), put("a", b"9"), remove("never there")]).expect("a commit");
    let two = [("a".to_owned(), b"9".to_vec()), ("c".to_owned(), Vec::new())];
    assert_eq!(all(store), two, "a value is replaced, a key is removed");
    store.commit(vec![put("a", b"1"), remove("a"), put("c", b"x"), put("c", b"y")]).expect("a commit");
    assert_eq!(all(store), [("c".to_owned(), b"y".to_vec())], "of two writes to one key the later counts");
    let large = vec![7; 1 << 20];
    store.commit(vec![put("large", &large)]).expect("a commit");
    assert_eq!(all(store)[1].1, large, "a value may be a megabyte");
}
