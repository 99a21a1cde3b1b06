//! The file under good and bad treatment.

use std::fs;

use super::*;
use crate::state::{ALONE, conformance};

fn write(key: &str) -> Vec<Write> {
    vec![Write { key: key.to_owned(), value: Some(b"1".to_vec()) }]
}

#[test]
fn redb_conforms() {
    let dir = tempfile::tempdir().unwrap();
    conformance::check(&mut Embedded::open(&dir.path().join("state.redb")).unwrap(), ALONE);
}

#[test]
fn what_was_committed_is_there_after_the_file_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    Embedded::open(&path).unwrap().commit(ALONE, &write("a")).unwrap();
    assert_eq!(Embedded::open(&path).unwrap().load().unwrap(), [("a".to_owned(), b"1".to_vec())]);
}

#[test]
fn a_second_coordinator_is_told_that_the_file_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let _first = Embedded::open(&path).unwrap();
    let refused = Embedded::open(&path).unwrap_err();
    assert!(matches!(&refused, Error::InUse { place } if place.ends_with("state.redb")), "{refused}");
}

#[test]
fn a_file_of_something_else_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let text = "a text of somebody ".repeat(500);
    fs::write(&path, &text).unwrap();
    let refused = Embedded::open(&path).unwrap_err();
    assert!(matches!(&refused, Error::Damaged { .. }), "{refused}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn a_file_of_a_newer_format_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    {
        let database = Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(META).unwrap().insert("format", FORMAT + 1).unwrap();
        transaction.commit().unwrap();
    }
    let refused = Embedded::open(&path).unwrap_err();
    assert_eq!(refused, Error::Newer { place: path.display().to_string(), found: 2, known: 1 });
}
