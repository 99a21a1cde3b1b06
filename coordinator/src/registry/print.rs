//! The fingerprint of a model's folder: names, lengths and times of change, enough to see that nothing was touched
//! since its bytes were read.

use std::{fs, io, path::Path, time::SystemTime};

/// A pipeline's folder holds folders of files, and not many.
const DEPTH_MAX: u32 = 4;
const FILES_MAX: usize = 10_000;

/// One file: its path, length and time of change.
type Seen = (String, u64, Option<SystemTime>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Print(Vec<Seen>);

/// `None` where it cannot be told: then nothing is remembered.
pub(super) fn of(folder: &Path) -> Option<Print> {
    let mut seen = Vec::new();
    walk(folder, DEPTH_MAX, &mut seen).ok()?;
    seen.sort_unstable();
    Some(Print(seen))
}

fn walk(folder: &Path, depth: u32, seen: &mut Vec<Seen>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // Follows links: the weights of a hub's cache are links.
        let meta = fs::metadata(&path)?;
        if meta.is_dir() {
            if depth > 0 {
                walk(&path, depth - 1, seen)?;
            }
            continue;
        }
        if seen.len() == FILES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        seen.push((path.to_string_lossy().into_owned(), meta.len(), meta.modified().ok()));
    }
    Ok(())
}
