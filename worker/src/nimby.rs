//! The workstation is its owner's: a file in the worker's folder keeps work from it, whoever wrote it there
//! (`croft nimby on`, a log-in script, a screen saver's hook). The file outlives the worker; its text is the reason.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{sync::watch, time::sleep};

/// The file's name in the worker's folder.
pub const FILE: &str = "nimby";
/// It is looked for this often.
const LOOK: Duration = Duration::from_millis(500);
const REASON_BYTES_MAX: u64 = 200;

/// Why there is to be no work, or `None`.
pub(crate) type Reason = Option<String>;

/// The reason in `dir`, if there is one.
pub(crate) fn read(dir: &Path) -> Reason {
    let open = || -> io::Result<String> {
        let mut bytes = Vec::new();
        std::fs::File::open(dir.join(FILE))?.take(REASON_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    match open() {
        Ok(reason) => Some(reason),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        // A file that cannot be read is there all the same.
        Err(error) => Some(format!("{FILE}: {error}")),
    }
}

/// Keeps `told` in line with the file, until nobody listens.
pub(crate) async fn look(dir: PathBuf, told: watch::Sender<Reason>) {
    while !told.is_closed() {
        let now = read(&dir);
        told.send_if_modified(|reason| {
            let news = *reason != now;
            *reason = now;
            news
        });
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_says_whether_and_why() {
        let dir = tempfile::tempdir().expect("scratch");
        assert_eq!(read(dir.path()), None);
        std::fs::write(dir.path().join(FILE), "kim is painting\n").expect("written");
        assert_eq!(read(dir.path()).as_deref(), Some("kim is painting"));
        std::fs::write(dir.path().join(FILE), "x".repeat(10_000)).expect("written");
        assert_eq!(read(dir.path()).map(|reason| reason.len()), Some(200));
    }

    #[tokio::test]
    async fn a_change_is_told() {
        let dir = tempfile::tempdir().expect("scratch");
        let (told, mut heard) = watch::channel(None);
        let mut looking = tokio::task::JoinSet::new();
        looking.spawn(look(dir.path().to_owned(), told));
        std::fs::write(dir.path().join(FILE), "").expect("written");
        assert_eq!(heard.wait_for(Option::is_some).await.expect("it looks").as_deref(), Some(""));
        std::fs::remove_file(dir.path().join(FILE)).expect("removed");
        assert!(heard.wait_for(Option::is_none).await.is_ok());
        drop(heard);
        looking.join_next().await.expect("one task").expect("it ends when nobody listens");
    }
}
