//! The records of a store: refused, or a farm that goes on; and what that farm writes over them is read again.
//!
//! The input is lines of a key, a tab and a value.

use std::{collections::BTreeMap, hint::black_box};

use croft_core::{
    farm::{Config, Farm},
    step::{Event, Step, Write},
    time::Time,
    view::Selector,
};

pub(crate) const NOW: Time = Time(1_795_651_200_000);

pub fn run(input: &[u8]) {
    let mut store: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for line in input.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(2, |byte| *byte == b'\t');
        let (Some(key), Some(value)) = (parts.next(), parts.next()) else { continue };
        let Ok(key) = std::str::from_utf8(key) else { return };
        store.insert(key.to_owned(), value.to_vec());
    }
    let Some(mut farm) = recovered(&store) else { return };
    // A lease later, and then some: what ran is lost, what waits is looked at.
    for after in [0, 1_000, 60_000, 86_400_000] {
        let Step { writes, .. } = farm.apply(NOW.plus_ms(after), Event::Tick);
        keep(&mut store, writes);
        look(&farm, NOW.plus_ms(after));
    }
    assert!(recovered(&store).is_some(), "what a farm wrote it reads");
}

pub(crate) fn keep(store: &mut BTreeMap<String, Vec<u8>>, writes: Vec<Write>) {
    for write in writes {
        match write.value {
            Some(value) => drop(store.insert(write.key, value)),
            None => drop(store.remove(&write.key)),
        }
    }
}

pub(crate) fn recovered(store: &BTreeMap<String, Vec<u8>>) -> Option<Farm> {
    let records: Vec<(String, Vec<u8>)> =
        store.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    Farm::recover(Config::default(), 1, NOW, &records).ok()
}

/// Everything that somebody may ask a farm.
fn look(farm: &Farm, now: Time) {
    black_box((farm.survey(now), farm.status(), farm.workers(), farm.shows(), farm.limits()));
    black_box((farm.usage_by_show(Time(0)), farm.usage_by_job(Time(0))));
    for job in farm.jobs() {
        black_box(farm.warnings(&job.id));
        let tasks = farm.task_ids(&job.id, &Selector::default()).unwrap_or_default();
        for task in tasks.iter().take(8) {
            black_box((farm.task(task), farm.explain(now, task)));
        }
    }
}
