//! Publication on a store in memory, in a folder, and on odd ones: the same rules everywhere.

mod odd_store;

use std::sync::atomic::Ordering;

use croft_core::{
    ids::{Fence, JobId, TaskId},
    model_card::Makes,
};
use object_store::{local::LocalFileSystem, memory::InMemory};

use super::*;
use odd_store::OddStore;

const PREFIX: &str = ".attempts/ad/hero/0001/1-7";

fn attempt() -> AttemptId {
    let task = TaskId { job: JobId::new("ad").unwrap(), layer: 0, task: 0 };
    AttemptId { task, number: 1, fence: Fence(7) }
}

fn output() -> Output {
    Output {
        makes: Makes::Clip,
        frames_dir: "ad/tote".into(),
        still: String::new(),
        preview: "ad/tote.mp4".into(),
        sidecar: "ad/tote.json".into(),
        png_bits: 8,
    }
}

async fn saved(store: &dyn ObjectStore, files: &[(&str, &str)]) -> Vec<Artifact> {
    let mut artifacts = Vec::new();
    for (path, text) in files {
        let at = Path::parse(format!("{PREFIX}/{path}")).unwrap();
        store.put(&at, PutPayload::from((*text).to_owned())).await.unwrap();
        artifacts.push(Artifact {
            path: (*path).to_owned(),
            size_bytes: text.len() as u64,
            digest: hex(&Sha256::digest(text)),
            media_type: "image/png".into(),
        });
    }
    artifacts
}

async fn read(store: &dyn ObjectStore, path: &str) -> Option<String> {
    let bytes = store.get(&Path::from(path)).await.ok()?.bytes().await.unwrap();
    Some(String::from_utf8(bytes.to_vec()).unwrap())
}

async fn publish(store: &Arc<dyn ObjectStore>, artifacts: &[Artifact]) -> Result<Vec<Artifact>, Failure> {
    let publisher = Publisher { wait: Duration::from_millis(1), ..Publisher::new(store.clone(), 2) };
    let event = publisher.publish(attempt(), PREFIX, artifacts.to_vec(), &output()).await;
    let Event::Published { outcome, .. } = event else { panic!("another event") };
    outcome
}

/// The same check on every kind of store.
async fn on_each<F: Future<Output = ()>>(check: impl Fn(Arc<dyn ObjectStore>) -> F) {
    check(Arc::new(InMemory::new())).await;
    let folder = tempfile::tempdir().unwrap();
    check(Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap())).await;
}

fn sidecar(host: &str, digest: &str) -> String {
    format!(r#"{{"host": "{host}", "artifacts": [{{"path": "ad/tote/0001.png", "digest": "{digest}"}}]}}"#)
}

#[tokio::test]
async fn files_get_their_names_and_the_prefix_is_removed() {
    on_each(|store| async move {
        let files = [("ad/tote/0001.png", "one"), ("ad/tote.mp4", "film"), (SIDECAR, "{}")];
        let artifacts = saved(&*store, &files).await;
        let published = publish(&store, &artifacts).await.unwrap();
        let paths: Vec<_> = published.iter().map(|a| a.path.as_str()).collect();
        assert_eq!(paths, ["ad/tote/0001.png", "ad/tote.mp4", "ad/tote.json"]);
        assert_eq!(read(&*store, "ad/tote/0001.png").await.unwrap(), "one");
        assert_eq!(read(&*store, "ad/tote.json").await.unwrap(), "{}");
        Publisher::new(store.clone(), 1).collect(PREFIX).await;
        let left: Vec<_> = store.list(Some(&Path::from(".attempts"))).try_collect().await.unwrap();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(
            read(&*store, "ad/tote/0001.png").await.unwrap(),
            "one",
            "a collected link is another's file"
        );
    })
    .await;
}

#[tokio::test]
async fn publishing_again_changes_nothing() {
    on_each(|store| async move {
        let artifacts = saved(&*store, &[("ad/tote/0001.png", "one"), (SIDECAR, "{}")]).await;
        let first = publish(&store, &artifacts).await.unwrap();
        assert_eq!(publish(&store, &artifacts).await.unwrap(), first);
        Publisher::new(store.clone(), 1).collect(PREFIX).await;
        assert_eq!(publish(&store, &artifacts).await.unwrap(), first, "after the prefix was removed, too");
    })
    .await;
}

#[tokio::test]
async fn another_file_in_the_way_is_named_and_kept() {
    on_each(|store| async move {
        store.put(&Path::from("ad/tote/0001.png"), PutPayload::from("older")).await.unwrap();
        let artifacts = saved(&*store, &[("ad/tote/0001.png", "one"), (SIDECAR, "{}")]).await;
        let failure = publish(&store, &artifacts).await.unwrap_err();
        assert_eq!(failure.cause, Cause::OutputExists);
        assert!(failure.message.contains("ad/tote/0001.png"), "{}", failure.message);
        assert_eq!(read(&*store, "ad/tote/0001.png").await.unwrap(), "older");
        assert_eq!(read(&*store, "ad/tote.json").await, None, "no sidecar says that it is whole");
    })
    .await;
}

#[tokio::test]
async fn a_sidecar_of_the_same_pictures_counts_though_it_says_another_host() {
    on_each(|store| async move {
        let digest = hex(&Sha256::digest("one"));
        let (theirs, ours) = (sidecar("a", &digest), sidecar("b", &digest));
        store.put(&Path::from("ad/tote.json"), PutPayload::from(theirs.clone())).await.unwrap();
        let artifacts = saved(&*store, &[("ad/tote/0001.png", "one"), (SIDECAR, &ours)]).await;
        let published = publish(&store, &artifacts).await.unwrap();
        assert_eq!(
            published[1].digest,
            hex(&Sha256::digest(&theirs)),
            "the digest is that of the file which is there"
        );
        assert_eq!(read(&*store, "ad/tote.json").await.unwrap(), theirs);
    })
    .await;
}

#[tokio::test]
async fn a_sidecar_of_other_pictures_is_in_the_way() {
    on_each(|store| async move {
        store.put(&Path::from("ad/tote.json"), PutPayload::from(sidecar("a", "00"))).await.unwrap();
        let ours = sidecar("a", &hex(&Sha256::digest("one")));
        let artifacts = saved(&*store, &[("ad/tote/0001.png", "one"), (SIDECAR, &ours)]).await;
        let failure = publish(&store, &artifacts).await.unwrap_err();
        assert_eq!((failure.cause, failure.message.contains("ad/tote.json")), (Cause::OutputExists, true));
    })
    .await;
}

#[tokio::test]
async fn a_worker_publishes_only_what_its_task_makes() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    for path in
        ["../etc/passwd", "ad/other.mp4", "ad/tote/a/b.png", ".croft/store-id", "ad/tote/..", "ad/tote/"]
    {
        let artifact =
            Artifact { path: path.into(), size_bytes: 0, digest: String::new(), media_type: String::new() };
        let failure = publish(&store, &[artifact]).await.unwrap_err();
        assert_eq!(failure.cause, Cause::Internal, "{path}");
    }
}

#[tokio::test]
async fn an_attempt_whose_files_are_gone_is_rendered_again() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let artifacts = saved(&*store, &[("ad/tote/0001.png", "one")]).await;
    Publisher::new(store.clone(), 1).collect(PREFIX).await;
    assert_eq!(publish(&store, &artifacts).await.unwrap_err().cause, Cause::StoreUnavailable);
}

#[tokio::test]
async fn a_store_without_conditional_copies_publishes_by_conditional_puts() {
    let odd = OddStore { lacks_conditional_copy: true, ..OddStore::default() };
    let memory = odd.inner.clone();
    let store: Arc<dyn ObjectStore> = Arc::new(odd);
    let artifacts = saved(&*store, &[("ad/tote/0001.png", "one"), (SIDECAR, "{}")]).await;
    let first = publish(&store, &artifacts).await.unwrap();
    assert_eq!(publish(&store, &artifacts).await.unwrap(), first);
    memory.put(&Path::from("ad/tote/0001.png"), PutPayload::from("other")).await.unwrap();
    assert_eq!(publish(&store, &artifacts).await.unwrap_err().cause, Cause::OutputExists);
    assert_eq!(read(&*store, "ad/tote/0001.png").await.unwrap(), "other", "nothing is overwritten");
}

#[tokio::test]
async fn a_store_that_stumbles_is_tried_again_and_one_that_stays_down_is_named() {
    let odd = Arc::new(OddStore::default());
    let store: Arc<dyn ObjectStore> = odd.clone();
    let artifacts = saved(&*store, &[("ad/tote/0001.png", "one"), (SIDECAR, "{}")]).await;
    odd.failures.store(TRIES - 1, Ordering::Relaxed);
    publish(&store, &artifacts).await.unwrap();

    odd.inner.delete(&Path::from("ad/tote.json")).await.unwrap();
    odd.failures.store(u32::MAX, Ordering::Relaxed);
    let failure = publish(&store, &artifacts).await.unwrap_err();
    assert_eq!(failure.cause, Cause::StoreUnavailable);
    assert!(failure.message.contains("503 slow down"), "{}", failure.message);
    assert_eq!(u32::MAX - odd.failures.load(Ordering::Relaxed), TRIES, "a bounded number of tries");
}
