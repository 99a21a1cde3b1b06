//! `croft get`: fetches what a job has published, each file checked against its digest.

use std::{
    fs::File,
    io::Read,
    path::{Component, Path, PathBuf},
};

use anyhow::Context;
use croft_proto::v1::{Artifact, GetArtifactRequest, GetJobRequest, ListArtifactsRequest, TaskSelector};
use futures::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use super::tasks;
use crate::{
    args,
    client::{self, Coordinator, Target},
    exit::{Exit, Failed},
    output::{self, Table, bytes},
    sheet,
};

/// Files named at once.
const PAGE: u32 = 1000;

/// Files fetched at once: enough to fill a link with small files.
const AT_ONCE: usize = 4;

pub(super) async fn run(args: args::Get) -> Result<Exit, Failed> {
    let target = Target::parse(&args.job)?;
    let coordinator = Coordinator::find(&args.client).await?;
    let name = target.job_name();
    let request = client::request(GetJobRequest { name: name.clone() });
    let job = coordinator.jobs().get_job(request).await?.into_inner();
    let dir = args.dir.unwrap_or_else(|| Path::new("out").join(&target.job));
    let artifacts = list(&coordinator, &name).await?;
    let total = artifacts.len();

    let mut fetches =
        stream::iter(artifacts).map(|artifact| fetch(&coordinator, &dir, artifact)).buffer_unordered(AT_ONCE);
    let (mut fetched, mut size) = (0, 0);
    let mut told = std::time::Instant::now();
    while let Some(got) = fetches.try_next().await? {
        fetched += usize::from(got.is_some());
        size += got.unwrap_or(0);
        if told.elapsed().as_secs() >= 5 {
            told = std::time::Instant::now();
            tracing::info!(fetched, total, "fetching");
        }
    }
    drop(fetches);

    let tasks = tasks::all(&coordinator, &name, TaskSelector::default()).await?;
    let note = format!("{} tasks, {total} files", tasks.len());
    let pages = {
        let dir = dir.clone();
        let write = move || sheet::write(&dir, &client::short(&job.name), &note, &tasks);
        tokio::task::spawn_blocking(write).await.map_err(|e| Failed::new(e.to_string()))??
    };
    let mut table = Table::new(&["FETCHED", "ALREADY THERE", "BYTES", "FILES IN", "CONTACT SHEET"]);
    table.row([
        fetched.to_string(),
        (total - fetched).to_string(),
        if output::for_people() { bytes(size) } else { size.to_string() },
        dir.display().to_string(),
        pages.first().map(|p| p.display().to_string()).unwrap_or_default(),
    ]);
    table.print()?;
    Ok(Exit::Ok)
}

async fn list(coordinator: &Coordinator, job: &str) -> Result<Vec<Artifact>, Failed> {
    let artifacts = client::all(async |page_token| {
        let request = ListArtifactsRequest { parent: job.to_owned(), page_size: PAGE, page_token };
        let page = coordinator.artifacts().list_artifacts(client::request(request)).await?.into_inner();
        Ok((page.artifacts, page.next_page_token))
    });
    artifacts.await
}

/// Fetches one file, unless it is there already. Its bytes, when it came over the wire.
async fn fetch(coordinator: &Coordinator, dir: &Path, artifact: Artifact) -> Result<Option<u64>, Failed> {
    let path = inside(dir, &artifact.path)?;
    if let Some(digest) = digest_of(path.clone()).await? {
        if digest == artifact.digest {
            return Ok(None);
        }
        return Err(Failed::new(format!("{}: another file is there already", path.display()))
            .help("move it away, or give another folder by -d"));
    }
    let part = PathBuf::from(format!("{}.part", path.display()));
    let digest = download(coordinator, &artifact, &part).await;
    let moved = match digest {
        Ok(digest) if digest == artifact.digest => {
            tokio::fs::rename(&part, &path).await.map_err(|e| Failed::new(format!("{}: {e}", path.display())))
        }
        Ok(digest) => Err(Failed::new(format!(
            "{}: arrived with digest {digest}, but {} was published",
            artifact.path, artifact.digest
        ))
        .help("the file in the store is damaged; `croft verify` there says which others are")),
        Err(failed) => Err(failed),
    };
    if moved.is_err() {
        // What did arrive is worth nothing; the failure that is told is the one that matters.
        let _ = tokio::fs::remove_file(&part).await;
    }
    moved.map(|()| Some(artifact.size_bytes))
}

async fn download(coordinator: &Coordinator, artifact: &Artifact, part: &Path) -> Result<String, Failed> {
    let place = |e: std::io::Error| Failed::new(format!("{}: {e}", part.display()));
    if let Some(folder) = part.parent() {
        tokio::fs::create_dir_all(folder).await.map_err(place)?;
    }
    let request = GetArtifactRequest { path: artifact.path.clone() };
    let mut chunks = coordinator.artifacts().get_artifact(request).await?.into_inner();
    let mut file = tokio::fs::File::create(part).await.map_err(place)?;
    let mut hash = Sha256::new();
    while let Some(chunk) = chunks.message().await? {
        hash.update(&chunk.data);
        file.write_all(&chunk.data).await.map_err(place)?;
    }
    file.flush().await.map_err(place)?;
    Ok(hex(&hash.finalize()))
}

/// `path` under `dir`. A coordinator names files; it does not get to choose where on this disk they go.
fn inside(dir: &Path, path: &str) -> Result<PathBuf, Failed> {
    let stays = !path.is_empty() && Path::new(path).components().all(|c| matches!(c, Component::Normal(_)));
    if stays {
        Ok(dir.join(path))
    } else {
        Err(Failed::new(format!("the coordinator names a file '{path}'")))
    }
}

async fn digest_of(path: PathBuf) -> Result<Option<String>, Failed> {
    let digest = tokio::task::spawn_blocking(move || digest_file(&path)).await;
    Ok(digest.map_err(|e| Failed::new(e.to_string()))??)
}

/// sha256 of a file, hex; `None` where there is none.
pub(super) fn digest_file(path: &Path) -> anyhow::Result<Option<String>> {
    let place = || path.display().to_string();
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).with_context(place),
    };
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).with_context(place)? {
            0 => return Ok(Some(hex(&hash.finalize()))),
            n => hash.update(&buffer[..n]),
        }
    }
}

fn hex(digest: &[u8]) -> String {
    use std::fmt::Write;
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinator_cannot_name_a_file_outside_the_folder() {
        let dir = Path::new("out");
        assert_eq!(inside(dir, "a/b.png").expect("inside"), Path::new("out/a/b.png"));
        for bad in ["", "../a", "/etc/passwd", "a/../../b"] {
            assert!(inside(dir, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_digest_is_sha256_and_an_absent_file_has_none() {
        let dir = tempfile::tempdir().expect("scratch");
        let path = dir.path().join("a");
        assert_eq!(digest_file(&path).expect("absent is fine"), None);
        std::fs::write(&path, "abc").expect("written");
        let digest = digest_file(&path).expect("readable").expect("there");
        assert_eq!(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
