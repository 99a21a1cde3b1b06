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

/// Saves an attempt's files with a sidecar that lists them and says which host made them; gives the sidecar.
async fn saved_on(store: &dyn ObjectStore, host: &str, files: &[(&str, &str)]) -> Artifact {
    let listed: Vec<(&str, String)> =
        files.iter().map(|(path, text)| (*path, hex(&Sha256::digest(text)))).collect();
    let text = sidecar(host, &listed);
    for (path, text) in files.iter().copied().chain([(SIDECAR, text.as_str())]) {
        let at = Path::parse(format!("{PREFIX}/{path}")).unwrap();
        store.put(&at, PutPayload::from(text.to_owned())).await.unwrap();
    }
    Artifact {
        path: SIDECAR.to_owned(),
        size_bytes: text.len() as u64,
        digest: hex(&Sha256::digest(&text)),
        media_type: "application/json".into(),
    }
}

async fn saved(store: &dyn ObjectStore, files: &[(&str, &str)]) -> Artifact {
    saved_on(store, "here", files).await
}

fn sidecar(host: &str, files: &[(&str, String)]) -> String {
    let file = |(path, digest): &(&str, String)| {
        format!(r#"{{"path": "{path}", "digest": "{digest}", "size_bytes": 3}}"#)
    };
    let files: Vec<String> = files.iter().map(file).collect();
    format!(r#"{{"host": "{host}", "artifacts": [{}]}}"#, files.join(", "))
}

async fn read(store: &dyn ObjectStore, path: &str) -> Option<String> {
    let bytes = store.get(&Path::from(path)).await.ok()?.bytes().await.unwrap();
    Some(String::from_utf8(bytes.to_vec()).unwrap())
}

async fn publish(store: &Arc<dyn ObjectStore>, sidecar: &Artifact) -> Result<Published, Failure> {
    let publisher = Publisher { wait: Duration::from_millis(1), ..Publisher::new(store.clone(), 2) };
    let Event::Published { outcome, .. } = publisher.publish(attempt(), PREFIX, sidecar, &output()).await
    else {
        panic!("another event")
    };
    outcome
}

/// The same check on every kind of store.
async fn on_each<F: Future<Output = ()>>(check: impl Fn(Arc<dyn ObjectStore>) -> F) {
    check(Arc::new(InMemory::new())).await;
    let folder = tempfile::tempdir().unwrap();
    check(Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap())).await;
}

#[tokio::test]
async fn files_get_their_names_and_the_prefix_is_removed() {
    on_each(|store| async move {
        let decided = saved(&*store, &[("ad/tote/0001.png", "one"), ("ad/tote.mp4", "film")]).await;
        let published = publish(&store, &decided).await.unwrap();
        assert_eq!(
            (published.sidecar.path.as_str(), published.files, published.bytes),
            ("ad/tote.json", 2, 6)
        );
        assert_eq!(read(&*store, "ad/tote/0001.png").await.unwrap(), "one");
        assert_eq!(read(&*store, "ad/tote.mp4").await.unwrap(), "film");
        assert_eq!(published.sidecar.digest, decided.digest);
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
        let artifacts = saved(&*store, &[("ad/tote/0001.png", "one")]).await;
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
        let artifacts = saved(&*store, &[("ad/tote/0001.png", "one")]).await;
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
        let theirs = sidecar("there", &[("ad/tote/0001.png", hex(&Sha256::digest("one")))]);
        store.put(&Path::from("ad/tote.json"), PutPayload::from(theirs.clone())).await.unwrap();
        let artifacts = saved(&*store, &[("ad/tote/0001.png", "one")]).await;
        let published = publish(&store, &artifacts).await.unwrap();
        assert_eq!(
            published.sidecar.digest,
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
        let theirs = sidecar("here", &[("ad/tote/0001.png", "00".to_owned())]);
        store.put(&Path::from("ad/tote.json"), PutPayload::from(theirs)).await.unwrap();
        let artifacts = saved(&*store, &[("ad/tote/0001.png", "one")]).await;
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
        // What an honest worker could not even save is only listed.
        let text = sidecar("here", &[(path, "00".to_owned())]);
        let at = Path::parse(format!("{PREFIX}/{SIDECAR}")).unwrap();
        store.put(&at, PutPayload::from(text.clone())).await.unwrap();
        let decided = Artifact {
            path: SIDECAR.into(),
            size_bytes: 0,
            digest: hex(&Sha256::digest(&text)),
            media_type: String::new(),
        };
        let failure = publish(&store, &decided).await.unwrap_err();
        assert_eq!(failure.cause, Cause::Internal, "{path}");
    }
}

#[tokio::test]
async fn a_sidecar_that_is_not_the_one_decided_on_publishes_nothing() {
    on_each(|store| async move {
        let decided = saved(&*store, &[("ad/tote/0001.png", "one")]).await;
        saved_on(&*store, "a zombie", &[("ad/tote/0001.png", "two")]).await;
        assert_eq!(publish(&store, &decided).await.unwrap_err().cause, Cause::Internal);
        assert_eq!(read(&*store, "ad/tote/0001.png").await, None);
    })
    .await;
}

#[tokio::test]
async fn an_attempt_whose_files_are_gone_is_rendered_again() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let artifacts = saved(&*store, &[("ad/tote/0001.png", "one")]).await;
    Publisher::new(store.clone(), 1).collect(PREFIX).await;
    assert_eq!(publish(&store, &artifacts).await.unwrap_err().cause, Cause::Internal);
}

#[tokio::test]
async fn a_store_without_conditional_copies_publishes_by_conditional_puts() {
    let odd = OddStore { lacks_conditional_copy: true, ..OddStore::default() };
    let memory = odd.inner.clone();
    let store: Arc<dyn ObjectStore> = Arc::new(odd);
    let artifacts = saved(&*store, &[("ad/tote/0001.png", "one")]).await;
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
    let artifacts = saved(&*store, &[("ad/tote/0001.png", "one")]).await;
    odd.failures.store(TRIES - 1, Ordering::Relaxed);
    publish(&store, &artifacts).await.unwrap();

    odd.inner.delete(&Path::from("ad/tote.json")).await.unwrap();
    odd.failures.store(u32::MAX, Ordering::Relaxed);
    let failure = publish(&store, &artifacts).await.unwrap_err();
    assert_eq!(failure.cause, Cause::StoreUnavailable);
    assert!(failure.message.contains("503 slow down"), "{}", failure.message);
    assert_eq!(u32::MAX - odd.failures.load(Ordering::Relaxed), TRIES, "a bounded number of tries");
}
