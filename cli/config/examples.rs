//! The settings files in `deploy/config` are what people copy from, so each says every key that its role takes and none
//! besides, down to the last table.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::{ClientFile, CoordinatorFile, Settings, WorkerFile, parse};

type Names = BTreeSet<String>;

/// No field is called so, so serde answers with those that there are.
const NOBODY: &str = "?";

/// Takes the `#` from every line that is a key or a table; prose has a space after it.
fn uncommented(example: &str) -> String {
    let key = |line: &str| line.starts_with(|c: char| c.is_ascii_lowercase() || c == '[');
    let lines = example.lines().map(|line| line.strip_prefix('#').filter(|rest| key(rest)).unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}

/// The fields that `T` takes where `place` was put into it.
fn fields<T: Settings>(mut whole: Table, place: &str) -> Names {
    let table = match whole.get_mut(place) {
        Some(Value::Table(inner)) => inner,
        _ => &mut whole,
    };
    table.insert(NOBODY.to_owned(), Value::Boolean(true));
    let refusal = whole.try_into::<T>().err().expect("an unknown field");
    let (_, named) = refusal.message().split_once("expected ").expect("serde says what it expected");
    named.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect()
}

fn keys(table: &Table) -> Names {
    table.keys().cloned().collect()
}

fn is_whole<T: Settings>(name: &str, example: &str) {
    assert!(parse::<T>(example, name).is_ok(), "{name} as it is installed");
    let all = uncommented(example);
    if let Err(failed) = parse::<T>(&all, name) {
        panic!("with every key set: {failed}");
    }
    let table: Table = toml::from_str(&all).expect("parsed before");
    let known: Names = T::KEYS.iter().map(|&key| key.to_owned()).collect();
    assert_eq!(keys(&table), known, "{name}: keys of the example, and keys that the role takes");
    assert_eq!(fields::<T>(table.clone(), ""), known, "{name}: fields of the role, and its list of keys");
    for (place, value) in &table {
        if let Value::Table(inner) = value {
            assert_eq!(keys(inner), fields::<T>(table.clone(), place), "{name}: [{place}]");
        }
    }
}

#[test]
fn every_key_stands_in_its_example_and_no_other() {
    is_whole::<CoordinatorFile>("coordinator.toml", include_str!("../../deploy/config/coordinator.toml"));
    is_whole::<WorkerFile>("worker.toml", include_str!("../../deploy/config/worker.toml"));
    is_whole::<ClientFile>("client.toml", include_str!("../../deploy/config/client.toml"));
}
