//! Creating, asking for, cancelling and retrying jobs.

use croft_proto::v1::{self, JobState, TaskState};
use tonic::Code;
use tonic_types::StatusExt;

use crate::house::{House, Worker, nothing};

fn create(spec: String, request_id: &str) -> v1::CreateJobRequest {
    v1::CreateJobRequest {
        spec,
        request_id: request_id.into(),
        spec_name: "job.yaml".into(),
        ..v1::CreateJobRequest::default()
    }
}

#[tokio::test]
async fn one_request_makes_one_job_however_often_it_is_sent() {
    let house = House::open().await;
    let mut jobs = house.jobs();
    let first = jobs.create_job(create(nothing("ad", 3), "r1")).await.unwrap().into_inner();
    let again = jobs.create_job(create(nothing("ad", 3), "r1")).await.unwrap().into_inner();
    let other = jobs.create_job(create(nothing("ad", 3), "r2")).await.unwrap().into_inner();
    let unnamed = jobs.create_job(create(nothing("ad", 3), "")).await.unwrap().into_inner();
    assert_eq!([&first.name, &again.name], ["jobs/ad", "jobs/ad"]);
    assert_eq!([&other.name, &unnamed.name], ["jobs/ad-2", "jobs/ad-3"]);
    assert_eq!(first.counts.unwrap().queued, 3);
    house.close().await.unwrap();
}

#[tokio::test]
async fn a_job_is_rendered_and_settles() {
    let house = House::open().await;
    let (worker, _) = Worker::join(&house, "w1", 2).await;
    let working = worker.work();
    let job = house.create(nothing("ad", 25)).await;
    let job = house.settled(&job.name).await;
    assert_eq!((job.state(), job.counts.unwrap().succeeded), (JobState::Succeeded, 25));
    house.close().await.unwrap();
    assert_eq!(working.await.unwrap(), 25, "each task is done once");
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let house = House::open().await;
    let name = "jobs/none".to_owned();
    let mut jobs = house.jobs();
    let job = jobs.get_job(v1::GetJobRequest { name: name.clone() }).await.unwrap_err();
    assert_eq!((job.code(), job.message()), (Code::NotFound, "job 'jobs/none' not found"));
    let cancel = v1::CancelJobRequest { name: name.clone(), now: true };
    assert_eq!(jobs.cancel_job(cancel).await.unwrap_err().code(), Code::NotFound);
    let tasks = v1::ListTasksRequest { parent: name.clone(), ..v1::ListTasksRequest::default() };
    assert_eq!(jobs.list_tasks(tasks).await.unwrap_err().code(), Code::NotFound);
    let retry = v1::RetryTasksRequest { parent: name.clone(), selector: None };
    assert_eq!(jobs.retry_tasks(retry).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(house.watch(&name, "").await.unwrap_err().code(), Code::NotFound);
    let files = v1::ListArtifactsRequest { parent: name.clone(), ..v1::ListArtifactsRequest::default() };
    assert_eq!(house.artifacts().list_artifacts(files).await.unwrap_err().code(), Code::NotFound);
    let worker = v1::GetWorkerRequest { name: "workers/none".into() };
    assert_eq!(house.farm().get_worker(worker).await.unwrap_err().code(), Code::NotFound);
    let bad = jobs.get_job(v1::GetJobRequest { name: "none".into() }).await.unwrap_err();
    assert_eq!(bad.get_details_bad_request().unwrap().field_violations[0].field, "name");
    house.close().await.unwrap();
}

#[tokio::test]
async fn a_bad_spec_names_place_and_field_and_leaves_nothing_behind() {
    let house = House::open().await;
    let mut jobs = house.jobs();
    let spec = nothing("ad", 1).replace("prompt: nothing", "prompt: nothing\n    promt: x");
    let refused = jobs.create_job(create(spec, "")).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let violations = refused.get_details_bad_request().unwrap().field_violations;
    assert!(violations[0].field.starts_with("layers[0]"), "{violations:?}");
    assert!(violations[0].description.starts_with("10:"), "line and column first: {violations:?}");
    assert!(refused.message().starts_with("job.yaml:10:"), "{}", refused.message());

    let spec = nothing("ad", 1).replace("builtin://noop", "/no/such/folder");
    let refused = jobs.create_job(create(spec, "")).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("/no/such/folder"), "{}", refused.message());

    let none = jobs.list_jobs(v1::ListJobsRequest::default()).await.unwrap().into_inner();
    assert!(none.jobs.is_empty());
    house.close().await.unwrap();
}

#[tokio::test]
async fn a_dry_creation_creates_nothing() {
    let house = House::open().await;
    let mut jobs = house.jobs();
    let request = v1::CreateJobRequest { validate_only: true, ..create(nothing("ad", 7), "r1") };
    let job = jobs.create_job(request).await.unwrap().into_inner();
    assert_eq!((job.name.as_str(), job.counts.unwrap().queued), ("jobs/ad", 7));
    let none = jobs.list_jobs(v1::ListJobsRequest::default()).await.unwrap().into_inner();
    assert!(none.jobs.is_empty());
    house.close().await.unwrap();
}

#[tokio::test]
async fn a_flood_is_refused_by_its_size_in_words() {
    let house = House::open().await;
    let mut jobs = house.jobs();
    let long = jobs.create_job(create(format!("# {}", "x".repeat(2 << 20)), "")).await.unwrap_err();
    assert_eq!(long.code(), Code::InvalidArgument);
    assert!(long.message().contains("1 MiB"), "{}", long.message());
    let flood = jobs.create_job(create("x".repeat(100 << 20), "")).await.unwrap_err();
    assert_eq!(flood.code(), Code::ResourceExhausted, "{flood:?}");
    assert!(flood.message().contains("1 MiB"), "{}", flood.message());
    house.close().await.unwrap();
}

#[tokio::test]
async fn tasks_come_in_pages_and_by_selector() {
    let house = House::open().await;
    let job = house.create(nothing("ad", 25)).await;
    let mut jobs = house.jobs();
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListTasksRequest {
            parent: job.name.clone(),
            page_size: 10,
            page_token,
            ..v1::ListTasksRequest::default()
        };
        let page = jobs.list_tasks(request).await.unwrap().into_inner();
        assert!(page.tasks.len() <= 10);
        names.extend(page.tasks.into_iter().map(|task| task.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names.len(), 25);
    assert_eq!(names[24], "jobs/ad/layers/main/tasks/0025");
    let selector = v1::TaskSelector {
        states: vec![TaskState::Queued.into()],
        r#where: [("seed".to_owned(), "7".to_owned())].into(),
        ..v1::TaskSelector::default()
    };
    let request = v1::ListTasksRequest {
        parent: job.name.clone(),
        selector: Some(selector),
        ..v1::ListTasksRequest::default()
    };
    let found = jobs.list_tasks(request).await.unwrap().into_inner().tasks;
    assert_eq!(found.len(), 1);
    let one = jobs.get_task(v1::GetTaskRequest { name: found[0].name.clone() }).await.unwrap().into_inner();
    assert_eq!(one, found[0]);
    house.close().await.unwrap();
}

#[tokio::test]
async fn a_cancelled_job_can_be_retried() {
    let house = House::open().await;
    let job = house.create(nothing("ad", 5)).await;
    let mut jobs = house.jobs();
    let cancel = v1::CancelJobRequest { name: job.name.clone(), now: true };
    let cancelled = jobs.cancel_job(cancel).await.unwrap().into_inner();
    assert_eq!((cancelled.state(), cancelled.counts.unwrap().cancelled), (JobState::Cancelled, 5));
    let selector =
        v1::TaskSelector { tasks: vec!["0002".into(), "0004".into()], ..v1::TaskSelector::default() };
    let retry = v1::RetryTasksRequest { parent: job.name.clone(), selector: Some(selector) };
    let retried = jobs.retry_tasks(retry).await.unwrap().into_inner();
    assert_eq!((retried.queued, retried.job.unwrap().counts.unwrap().queued), (2, 2));
    let (worker, _) = Worker::join(&house, "w1", 1).await;
    let working = worker.work();
    let job = house.settled(&job.name).await;
    assert_eq!(job.counts.unwrap().succeeded, 2);
    house.close().await.unwrap();
    assert_eq!(working.await.unwrap(), 2);
}

#[tokio::test]
async fn a_plan_shows_what_a_job_would_be() {
    let house = House::open().await;
    let request = v1::PlanJobRequest { spec: nothing("ad", 12), ..v1::PlanJobRequest::default() };
    let plan = house.jobs().plan_job(request).await.unwrap().into_inner();
    assert_eq!((plan.job.as_str(), plan.tasks, plan.layers[0].tasks), ("ad", 12, 12));
    assert!(plan.arithmetic.contains("12"), "{}", plan.arithmetic);
    house.close().await.unwrap();
}
