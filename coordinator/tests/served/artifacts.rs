//! Files over the wire: only what is published can be read, only a current attempt may write.

use croft_proto::v1::{self, put_artifact_request::Part, worker_message::What};
use futures::stream;
use tonic::{Code, Status};

use crate::house::{House, Worker, nothing};

async fn get(house: &House, path: &str) -> Result<Vec<Vec<u8>>, Status> {
    let request = v1::GetArtifactRequest { path: path.into() };
    let mut chunks = house.artifacts().get_artifact(request).await?.into_inner();
    let mut all = Vec::new();
    while let Some(chunk) = chunks.message().await? {
        all.push(chunk.data.to_vec());
    }
    Ok(all)
}

async fn put(
    house: &House,
    attempt: v1::AttemptRef,
    path: &str,
    parts: &[&[u8]],
) -> Result<v1::Artifact, Status> {
    let header = v1::PutArtifactHeader { attempt: Some(attempt), path: path.into() };
    let mut messages = vec![v1::PutArtifactRequest { part: Some(Part::Header(header)) }];
    messages
        .extend(parts.iter().map(|p| v1::PutArtifactRequest { part: Some(Part::Data(p.to_vec().into())) }));
    let answer = house.artifacts().put_artifact(stream::iter(messages)).await?;
    Ok(answer.into_inner().artifact.unwrap())
}

#[tokio::test]
async fn a_published_file_comes_in_chunks_of_a_mebibyte() {
    let house = House::open().await;
    let bytes: Vec<u8> = (0..2_500_000_u32).map(|n| (n % 251) as u8).collect();
    std::fs::create_dir(house.store.path().join("ad")).unwrap();
    std::fs::write(house.store.path().join("ad/film.mp4"), &bytes).unwrap();
    let chunks = get(&house, "ad/film.mp4").await.unwrap();
    assert!(chunks.iter().all(|chunk| chunk.len() <= 1 << 20));
    assert_eq!(chunks.concat(), bytes);
    house.close().await.unwrap();
}

#[tokio::test]
async fn no_path_leads_out_of_what_is_published() {
    let house = House::open().await;
    let outside = house.store.path().parent().unwrap().join("croft-outside");
    std::fs::write(&outside, "secret").unwrap();
    for path in
        ["../croft-outside", "ad/../../croft-outside", "/etc/passwd/..", ".croft/store-id", ".attempts/a", ""]
    {
        let code = get(&house, path).await.unwrap_err().code();
        assert_eq!(code, Code::InvalidArgument, "{path}");
    }
    for path in ["ad/none.png", "/etc/passwd"] {
        assert_eq!(get(&house, path).await.unwrap_err().code(), Code::NotFound, "{path}");
    }
    std::fs::remove_file(outside).unwrap();
    house.close().await.unwrap();
}

async fn keep(
    house: &House,
    attempt: &v1::AttemptRef,
    path: &str,
    bytes: &'static [u8],
) -> Result<(), Status> {
    let header = v1::PutArtifactHeader { attempt: Some(attempt.clone()), path: path.into() };
    let parts = [Part::Header(header), Part::Data(bytes.into())];
    let messages = parts.map(|part| v1::PutArtifactRequest { part: Some(part) });
    house.artifacts().put_checkpoint(stream::iter(messages)).await.map(drop)
}

async fn kept(house: &House, attempt: &v1::AttemptRef, skip: u32) -> Result<Vec<u8>, Status> {
    let request = v1::GetCheckpointRequest { attempt: Some(attempt.clone()), skip };
    let mut chunks = house.artifacts().get_checkpoint(request).await?.into_inner();
    let mut all = Vec::new();
    while let Some(chunk) = chunks.message().await? {
        all.extend_from_slice(&chunk.data);
    }
    Ok(all)
}

#[tokio::test]
async fn the_newest_step_of_a_task_is_there_for_its_next_attempt_until_it_is_done() {
    let house = House::open().await;
    house.create(nothing("ad", 1)).await;
    let (mut worker, _) = Worker::join(&house, "w1", 1).await;
    let first = worker.assignments().await.remove(0).attempt.unwrap();
    assert_eq!(kept(&house, &first, 0).await.unwrap_err().code(), Code::NotFound);
    keep(&house, &first, "00009.safetensors", b"nine").await.unwrap();
    keep(&house, &first, "00010.safetensors", b"ten").await.unwrap();
    for path in ["10.safetensors", "../00010.safetensors", "00010.png", "0001x.safetensors", ""] {
        let refused = keep(&house, &first, path, b"x").await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{path}");
    }
    let failure = v1::Failure { cause: v1::ExitCause::Crashed.into(), ..v1::Failure::default() };
    let failed = v1::AttemptFailed {
        attempt: Some(first.clone()),
        failure: Some(failure),
        ..v1::AttemptFailed::default()
    };
    worker.say(What::Failed(failed)).await;
    let next = worker.assignments().await.remove(0).attempt.unwrap();
    assert_eq!(next.attempt, 2);
    assert_eq!(kept(&house, &next, 0).await.unwrap(), b"ten");
    assert_eq!(kept(&house, &next, 1).await.unwrap_err().code(), Code::NotFound, "the older one went");
    // The last word of an attempt that has ended already counts as well.
    keep(&house, &first, "00011.safetensors", b"eleven").await.unwrap();
    assert_eq!(kept(&house, &next, 0).await.unwrap(), b"eleven");
    worker.done(Some(next.clone())).await;
    house.settled("jobs/ad").await;
    let late = keep(&house, &next, "00012.safetensors", b"twelve").await.unwrap_err();
    assert_eq!(late.code(), Code::FailedPrecondition);
    house.close().await.unwrap();
}

#[tokio::test]
async fn only_the_current_attempt_uploads_and_only_under_its_prefix() {
    let house = House::open().await;
    house.create(nothing("ad", 1)).await;
    let (mut worker, _) = Worker::join(&house, "w1", 1).await;
    let assignment = worker.assignments().await.remove(0);
    let mine = assignment.attempt.clone().unwrap();

    let file = put(&house, mine.clone(), "ad/s0/0001.png", &[b"one", b"two"]).await.unwrap();
    assert_eq!((file.path.as_str(), file.size_bytes), ("ad/s0/0001.png", 6));
    assert_eq!(file.digest, "25b6746d5172ed6352966a013d93ac846e1110d5a25e8f183b5931f4688842a1");
    let stored = house.store.path().join(&assignment.prefix).join("ad/s0/0001.png");
    assert_eq!(std::fs::read(stored).unwrap(), b"onetwo");

    let echo = v1::AttemptRef { fence: mine.fence ^ 1, ..mine.clone() };
    assert_eq!(put(&house, echo, "a.png", &[b"x"]).await.unwrap_err().code(), Code::FailedPrecondition);
    for path in ["../a.png", ".croft/store-id", "a/../../b", ""] {
        let refused = put(&house, mine.clone(), path, &[b"x"]).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{path}");
    }
    worker.done(Some(mine.clone())).await;
    house.settled("jobs/ad").await;
    assert_eq!(put(&house, mine, "late.png", &[b"x"]).await.unwrap_err().code(), Code::FailedPrecondition);
    house.close().await.unwrap();
}
