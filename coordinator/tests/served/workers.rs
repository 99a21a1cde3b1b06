//! Workers' streams: welcomed, refused, packed assignments, echoes.

use croft_proto::v1::{self, ExitCause, JobState, coordinator_message::What, worker_message};
use tonic::Code;

use crate::house::{House, Worker, hello, nothing};

#[tokio::test]
async fn a_worker_is_welcomed_with_the_store_and_shown() {
    let house = House::open().await;
    let (_worker, welcome) = Worker::join(&house, "w1", 3).await;
    let id = std::fs::read_to_string(house.store.path().join(".croft/store-id")).unwrap();
    assert_eq!(welcome.store_id, id);
    assert!(welcome.artifacts.starts_with("file:///"), "{}", welcome.artifacts);
    let workers = house.farm().list_workers(v1::ListWorkersRequest::default()).await.unwrap().into_inner();
    assert_eq!(workers.workers.len(), 1);
    assert_eq!(workers.workers[0].devices[2].name, "workers/w1/devices/2");
    let status = house.farm().get_farm_status(v1::GetFarmStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.workers, status.devices, status.devices_busy), (1, 3, 0));
    house.close().await.unwrap();
}

#[tokio::test]
async fn a_worker_of_another_protocol_is_refused_with_both_numbers() {
    let house = House::open().await;
    let strange = v1::Hello { protocol_min: 7, protocol_max: 9, ..hello("w1", 1) };
    let mut worker = Worker::dial(&house, strange).await;
    let Some(What::Refused(refused)) = worker.hear().await else { panic!("refused") };
    assert!(refused.reason.contains("7 to 9"), "{}", refused.reason);
    assert!(worker.hear().await.is_none(), "the stream ends");
    house.close().await.unwrap();
}

#[tokio::test]
async fn a_stream_that_begins_without_a_hello_is_closed() {
    let house = House::open().await;
    let mut worker = Worker::dial(&house, hello("Not A Name", 1)).await;
    assert!(matches!(worker.hear().await, Some(What::Refused(_))));
    house.close().await.unwrap();
}

#[tokio::test]
async fn assignments_of_several_devices_come_in_one_message() {
    let house = House::open().await;
    house.create(nothing("ad", 8)).await;
    let (mut worker, _) = Worker::join(&house, "w1", 5).await;
    let packed = worker.assignments().await;
    assert_eq!(packed.len(), 5);
    let attempt = packed[0].attempt.as_ref().unwrap();
    assert_eq!((attempt.job.as_str(), attempt.layer.as_str(), attempt.attempt), ("ad", "main", 1));
    assert!(packed[0].prefix.starts_with(".attempts/ad/main/"), "{}", packed[0].prefix);
    house.close().await.unwrap();
}

#[tokio::test]
async fn a_report_without_the_current_fence_changes_nothing() {
    let house = House::open().await;
    let job = house.create(nothing("ad", 1)).await;
    let (mut worker, _) = Worker::join(&house, "w1", 1).await;
    let mine = worker.assignments().await[0].attempt.clone().unwrap();
    worker.done(Some(v1::AttemptRef { fence: mine.fence ^ 1, ..mine.clone() })).await;
    worker.done(Some(v1::AttemptRef { job: "other".into(), ..mine.clone() })).await;
    worker.done(None).await;
    let failure = v1::Failure { cause: ExitCause::Cancelled.into(), ..v1::Failure::default() };
    let echo = v1::AttemptRef { attempt: 9, fence: 1, ..mine.clone() };
    let failed = v1::AttemptFailed { attempt: Some(echo), failure: Some(failure) };
    worker.say(worker_message::What::Failed(failed)).await;
    worker.done(Some(mine)).await;
    let job = house.settled(&job.name).await;
    assert_eq!((job.state(), job.counts.unwrap().succeeded), (JobState::Succeeded, 1));
    house.close().await.unwrap();
}

#[tokio::test]
async fn a_worker_that_says_goodbye_gives_its_work_back() {
    let house = House::open().await;
    let job = house.create(nothing("ad", 1)).await;
    let (mut first, _) = Worker::join(&house, "w1", 1).await;
    first.assignments().await;
    first.say(worker_message::What::Goodbye(v1::Goodbye {})).await;
    let (second, _) = Worker::join(&house, "w2", 1).await;
    let working = second.work();
    let job = house.settled(&job.name).await;
    assert_eq!(job.state(), JobState::Succeeded);
    house.close().await.unwrap();
    assert_eq!(working.await.unwrap(), 1);
}

#[tokio::test]
async fn an_attempt_of_a_forgotten_job_is_revoked() {
    let house = House::open().await;
    let stranger = v1::AttemptRef {
        job: "gone".into(),
        layer: "main".into(),
        task: "0001".into(),
        attempt: 1,
        fence: 5,
        rank: 0,
    };
    let returning = v1::Hello { running: vec![stranger.clone()], ..hello("w1", 1) };
    let mut worker = Worker::dial(&house, returning).await;
    assert!(matches!(worker.hear().await, Some(What::Welcome(_))));
    let Some(What::Revoke(revoke)) = worker.hear().await else { panic!("revoked") };
    assert_eq!((revoke.attempt.unwrap(), revoke.now), (stranger, true));
    house.close().await.unwrap();
}

#[tokio::test]
async fn health_and_reflection_answer() {
    let house = House::open().await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(house.channel.clone());
    let serving = health.check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(serving.status(), tonic_health::pb::health_check_response::ServingStatus::Serving);
    let missing =
        health.check(tonic_health::pb::HealthCheckRequest { service: "croft.v1.None".into() }).await;
    assert_eq!(missing.unwrap_err().code(), Code::NotFound);
    house.close().await.unwrap();
}

#[tokio::test]
async fn plaintext_is_refused_anywhere_but_on_loopback() {
    let config = croft_coordinator::Config {
        listen: "0.0.0.0:0".parse().unwrap(),
        ..croft_coordinator::Config::default()
    };
    let error = croft_coordinator::Coordinator::bind(config).await.unwrap_err().to_string();
    assert!(error.contains("plaintext is refused anywhere but on loopback"), "{error}");
}
