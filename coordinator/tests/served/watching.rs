//! Watching jobs: the whole job first, what happens next, nothing lost by a slow or a broken reader.

use std::collections::BTreeMap;

use croft_proto::v1::{self, JobState, TaskState, job_event::What};
use tokio::time::timeout;
use tonic::Streaming;

use crate::house::{House, SOON, Worker, nothing};

async fn next(events: &mut Streaming<v1::JobEvent>) -> Option<v1::JobEvent> {
    timeout(SOON, events.message()).await.unwrap().unwrap()
}

async fn rest(events: &mut Streaming<v1::JobEvent>) -> Vec<v1::JobEvent> {
    let mut all = Vec::new();
    while let Some(event) = next(events).await {
        all.push(event);
    }
    all
}

#[tokio::test]
async fn the_job_comes_first_and_last_and_numbers_have_no_gap() {
    let house = House::open().await;
    let job = house.create(nothing("ad", 10)).await;
    let mut events = house.watch(&job.name, "").await.unwrap();
    let first = next(&mut events).await.unwrap();
    assert_eq!(first.sequence, 1);
    assert!(matches!(&first.what, Some(What::Job(job)) if job.state() == JobState::Active));
    let (worker, _) = Worker::join(&house, "w1", 2).await;
    let working = worker.work();
    let events = rest(&mut events).await;
    let numbers: Vec<u64> = events.iter().map(|event| event.sequence).collect();
    assert_eq!(numbers, (2..2 + events.len() as u64).collect::<Vec<_>>());
    let Some(What::Job(last)) = &events.last().unwrap().what else { panic!("the job is last") };
    assert_eq!((last.state(), last.counts.as_ref().unwrap().succeeded), (JobState::Succeeded, 10));
    let mut states = BTreeMap::new();
    for event in &events {
        if let Some(What::Task(task)) = &event.what {
            states.insert(task.name.clone(), task.state());
        }
    }
    assert_eq!(states.len(), 10);
    assert!(states.values().all(|state| *state == TaskState::Succeeded), "{states:?}");
    house.close().await.unwrap();
    working.await.unwrap();
}

#[tokio::test]
async fn a_settled_job_is_told_and_the_stream_ends() {
    let house = House::open().await;
    let job = house.create(nothing("ad", 1)).await;
    let cancel = v1::CancelJobRequest { name: job.name.clone(), now: true };
    house.jobs().cancel_job(cancel).await.unwrap();
    let events = rest(&mut house.watch(&job.name, "").await.unwrap()).await;
    assert_eq!(events.len(), 1);
    house.close().await.unwrap();
}

#[tokio::test]
async fn a_reader_that_comes_back_hears_what_it_missed() {
    let house = House::open().await;
    let job = house.create(nothing("ad", 6)).await;
    let mut events = house.watch(&job.name, "").await.unwrap();
    let seen = next(&mut events).await.unwrap();
    drop(events);
    let (worker, _) = Worker::join(&house, "w1", 1).await;
    let working = worker.work();
    house.settled(&job.name).await;
    let missed = rest(&mut house.watch(&job.name, &seen.resume_token).await.unwrap()).await;
    assert_eq!(missed[0].sequence, seen.sequence + 1);
    let tasks = missed.iter().filter(|event| matches!(event.what, Some(What::Task(_)))).count();
    assert_eq!(tasks, 6);

    // A token of an earlier life of the coordinator: the whole job, then every task that has begun.
    let forgotten = rest(&mut house.watch(&job.name, "9.5").await.unwrap()).await;
    assert!(matches!(forgotten[0].what, Some(What::Job(_))));
    assert_eq!(forgotten[0].sequence, 10);
    assert_eq!(forgotten.iter().filter(|event| matches!(event.what, Some(What::Task(_)))).count(), 6);

    let nonsense = house.watch(&job.name, "nonsense").await.unwrap_err();
    assert_eq!(nonsense.code(), tonic::Code::InvalidArgument);
    house.close().await.unwrap();
    working.await.unwrap();
}

#[tokio::test]
async fn a_slow_reader_misses_no_task() {
    let house = House::open().await;
    // More changes than a job remembers.
    let job = house.create(nothing("ad", 9_000)).await;
    let mut events = house.watch(&job.name, "").await.unwrap();
    next(&mut events).await.unwrap();
    let (worker, _) = Worker::join(&house, "w1", 8).await;
    let working = worker.work();
    // It reads nothing while all of it happens.
    house.settled(&job.name).await;
    let mut succeeded = std::collections::BTreeSet::new();
    let events = rest(&mut events).await;
    for event in &events {
        if let Some(What::Task(task)) = &event.what
            && task.state() == TaskState::Succeeded
        {
            succeeded.insert(task.name.clone());
        }
    }
    assert_eq!(succeeded.len(), 9_000);
    assert!(events.len() < 60_000, "it was not told every step: {}", events.len());
    house.close().await.unwrap();
    working.await.unwrap();
}

#[tokio::test]
async fn watchers_are_told_when_the_coordinator_ends() {
    let house = House::open().await;
    let job = house.create(nothing("ad", 1)).await;
    let mut events = house.watch(&job.name, "").await.unwrap();
    next(&mut events).await.unwrap();
    house.close().await.unwrap();
    let end = timeout(SOON, events.message()).await.unwrap();
    assert_eq!(end.unwrap_err().code(), tonic::Code::Unavailable);
}
