//! The worker's own folder: claimed by one worker at a time, swept at its start, one folder an attempt.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use crate::Error;

/// A claimed folder. The claim ends with the process, however it ends.
#[derive(Debug)]
pub(crate) struct Scratch {
    attempts: PathBuf,
    logs: PathBuf,
    _lock: File,
}

/// The folder of one attempt; removed when dropped.
#[derive(Debug)]
pub(crate) struct AttemptFolder {
    path: PathBuf,
}

impl Scratch {
    /// Makes `dir` where it is missing, claims it, and sweeps out what a killed worker left.
    pub(crate) fn claim(dir: &Path) -> Result<Self, Error> {
        let bad = |source| Error::Scratch { path: dir.to_owned(), source };
        fs::create_dir_all(dir).map_err(bad)?;
        let dir = fs::canonicalize(dir).map_err(bad)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join("worker.lock"))
            .map_err(bad)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Taken { path: dir }),
            Err(TryLockError::Error(source)) => return Err(bad(source)),
        }
        let attempts = dir.join("attempts");
        match fs::remove_dir_all(&attempts) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(bad(error)),
            Ok(()) | Err(_) => {}
        }
        fs::create_dir_all(&attempts).map_err(bad)?;
        let logs = dir.join("logs");
        fs::create_dir_all(&logs).map_err(bad)?;
        Ok(Self { attempts, logs, _lock: lock })
    }

    /// Where the folders of attempts are: ranks write nowhere else.
    pub(crate) fn attempts(&self) -> &Path {
        &self.attempts
    }

    /// Where ranks' logs are; they outlive the worker.
    pub(crate) fn logs(&self) -> &Path {
        &self.logs
    }

    /// An empty folder for a rank of the attempt with `fence`.
    pub(crate) fn attempt(&self, fence: u64, rank: u32) -> io::Result<AttemptFolder> {
        let path = self.attempts.join(format!("{fence:x}-{rank}"));
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        fs::create_dir_all(&path)?;
        Ok(AttemptFolder { path })
    }
}

impl AttemptFolder {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for AttemptFolder {
    fn drop(&mut self) {
        // What stays is swept at the next start.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_at_a_time_and_leftovers_go() {
        let dir = tempfile::tempdir().expect("scratch");
        let left = dir.path().join("attempts/7/0001.png");
        fs::create_dir_all(left.parent().expect("a folder")).expect("made");
        fs::write(&left, "x").expect("written");
        let scratch = Scratch::claim(dir.path()).expect("free");
        assert!(!left.exists());
        assert!(matches!(Scratch::claim(dir.path()), Err(Error::Taken { .. })));
        let attempt = scratch.attempt(9, 0).expect("made");
        let path = attempt.path().to_owned();
        assert!(path.is_dir());
        drop(attempt);
        assert!(!path.exists());
        drop(scratch);
        Scratch::claim(dir.path()).expect("free again");
    }
}
