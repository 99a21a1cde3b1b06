//! The folder that an embedded farm works in: claimed by one render at a time, swept before and after.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use crate::exit::Failed;

/// What the farm needs while it runs: locks, logs, scratch space of workers.
const SCRATCH: &str = ".croft";

/// Attempts that were not published.
const ATTEMPTS: &str = ".attempts";

/// What ranks of failed attempts said.
const LOGS: &str = ".logs";

const LOCK: &str = "render.lock";

/// A claimed folder. The claim ends with the process, however it ends.
#[derive(Debug)]
pub(super) struct House {
    dir: PathBuf,
    made: bool,
    _lock: File,
}

impl House {
    /// Makes `dir` where it is missing and claims it; sweeps out what a killed render left.
    pub(super) fn claim(dir: &Path) -> Result<Self, Failed> {
        let bad = |e: std::io::Error| {
            Failed::new(format!("{}: {e}", dir.display()))
                .help("give a folder that can be written, by -o DIR")
        };
        let made = !dir.exists();
        let scratch = dir.join(SCRATCH);
        let lock_path = scratch.join(LOCK);
        if scratch.exists() && !lock_path.exists() {
            return Err(Failed::new(format!("{} is the artifact store of a coordinator", dir.display()))
                .help("give another folder by -o DIR, or submit the job there with `croft submit`"));
        }
        fs::create_dir_all(&scratch).map_err(bad)?;
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(bad)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failed::new(format!("another render works in {}", dir.display()))
                    .help("wait for it, or give another folder by -o DIR"));
            }
            Err(TryLockError::Error(e)) => return Err(bad(e)),
        }
        let house = Self { dir: dir.to_owned(), made, _lock: lock };
        house.sweep(|name| name != LOCK).map_err(bad)?;
        Ok(house)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn scratch(&self, name: &str) -> PathBuf {
        self.dir.join(SCRATCH).join(name)
    }

    /// Takes away everything that is not a published file.
    pub(super) fn leave(self) -> Result<(), Failed> {
        let bad = |e: std::io::Error| Failed::new(format!("{}: {e}", self.dir.display()));
        self.sweep(|_| true).map_err(bad)?;
        fs::remove_dir(self.dir.join(SCRATCH)).map_err(bad)?;
        if self.made {
            // Only empties go: a folder with files in it refuses.
            let _ = fs::remove_dir(&self.dir);
        }
        Ok(())
    }

    fn sweep(&self, goes: impl Fn(&str) -> bool) -> std::io::Result<()> {
        for unpublished in [ATTEMPTS, LOGS].map(|name| self.dir.join(name)) {
            if unpublished.exists() {
                fs::remove_dir_all(unpublished)?;
            }
        }
        for entry in fs::read_dir(self.dir.join(SCRATCH))? {
            let entry = entry?;
            if !goes(&entry.file_name().to_string_lossy()) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_render_at_a_time_and_nothing_is_left_but_published_files() {
        let root = tempfile::tempdir().expect("scratch");
        let dir = root.path().join("out");
        let house = House::claim(&dir).expect("free");
        let second = House::claim(&dir).expect_err("taken");
        assert!(second.to_string().contains("another render"), "{second}");
        fs::write(house.scratch("worker-1.log"), "x").expect("log");
        fs::create_dir_all(dir.join(".attempts/j/l/1")).expect("attempt");
        fs::write(dir.join("clip.mp4"), "x").expect("published");
        house.leave().expect("left");
        let left: Vec<_> = fs::read_dir(&dir).expect("dir").map(|e| e.expect("entry").file_name()).collect();
        assert_eq!(left, ["clip.mp4"]);
    }

    #[test]
    fn a_render_that_made_nothing_leaves_no_folder() {
        let root = tempfile::tempdir().expect("scratch");
        let dir = root.path().join("out");
        House::claim(&dir).expect("free").leave().expect("left");
        assert!(!dir.exists());
    }

    #[test]
    fn what_a_killed_render_left_is_swept_and_a_coordinators_store_is_not_touched() {
        let root = tempfile::tempdir().expect("scratch");
        let scratch = root.path().join(SCRATCH);
        fs::create_dir_all(scratch.join("worker-1")).expect("left over");
        fs::write(scratch.join(LOCK), "").expect("left over");
        let house = House::claim(root.path()).expect("nobody holds it");
        assert!(!house.scratch("worker-1").exists());
        house.leave().expect("left");

        fs::create_dir_all(&scratch).expect("a store");
        fs::write(scratch.join("store-id"), "x").expect("a store");
        let failed = House::claim(root.path()).expect_err("a coordinator's");
        assert!(failed.to_string().contains("artifact store of a coordinator"), "{failed}");
        assert!(scratch.join("store-id").exists());
    }
}
