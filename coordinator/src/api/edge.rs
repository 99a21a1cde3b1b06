//! The words of strangers as the services read them, and the farm's as they are told, without a service: for the fuzz
//! targets, and for nobody else.

use bytes::Bytes;
use croft_core::{
    access::Caller,
    farm::Farm,
    ids::SessionId,
    step::{Assignment, Event},
    time::Time,
};
use croft_proto::v1::{self, worker_message::What};

use super::{convert, page};

/// What a worker says in `session`, as `api/dispatch` understands it.
pub fn heard(farm: &Farm, session: SessionId, what: What) -> Option<Event> {
    let What::Hello(hello) = what else { return convert::event(session, what)(farm) };
    // A second hello changes nothing.
    if farm.worker_of(session).is_some() {
        return None;
    }
    let (mut joined, running) = convert::hello(session, hello).ok()?;
    for attempt in running {
        let rank = attempt.rank;
        if let Some(known) = convert::attempt(attempt).and_then(|named| named.find(farm)) {
            joined.running.push((known, rank));
        }
    }
    Some(Event::WorkerJoined(Box::new(joined)))
}

/// An assignment as its worker is told.
pub fn told(farm: &Farm, assignment: Assignment) -> Option<v1::Assignment> {
    convert::assignment(farm, assignment, Bytes::new(), String::new())
}

/// Everything that clients may see of the farm, as they are told.
pub fn shown(farm: &Farm, now: Time) {
    farm.workers().into_iter().for_each(|worker| drop(convert::worker(worker)));
    farm.shows().into_iter().for_each(|show| drop(convert::show(show)));
    farm.limits().into_iter().for_each(|limit| drop(convert::limit(limit)));
    for job in farm.jobs() {
        let tasks = farm.task_ids(&job.id, &croft_core::view::Selector::default()).unwrap_or_default();
        for wait in farm.explain_all(now, &tasks, &Caller::Local) {
            drop(convert::wait(1, "", wait));
        }
        tasks.iter().filter_map(|task| farm.task(task)).for_each(|task| drop(convert::task(task)));
        drop(convert::job(job));
    }
}

/// Names and selectors of a request.
pub fn names(name: &str, selector: v1::TaskSelector) {
    let _ = convert::parse_job("name", name);
    let _ = convert::parse_task("name", name);
    let _ = convert::selector(Some(selector));
    let _ = page::read::<2>(name);
}
