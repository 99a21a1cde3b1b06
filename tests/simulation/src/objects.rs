//! The object store: attempts save under their prefixes, publications give files their final names by conditional put.
//! A file's content is a number here; equal numbers are equal bytes.

use std::collections::BTreeMap;

/// What one attempt saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Saved {
    pub(crate) fence: u64,
    /// Its files, by the names that they get, and their contents.
    pub(crate) files: Vec<(String, u64)>,
}

impl Saved {
    /// The digest of its sidecar, which names the attempt as well.
    pub(crate) fn sidecar(&self) -> String {
        let files = self.files.iter().fold(0, |sum: u64, (_, content)| sum.rotate_left(7) ^ content);
        format!("{files:016x}-{:x}", self.fence)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Objects {
    /// By prefix.
    pub(crate) attempts: BTreeMap<String, Saved>,
    /// Final names: content, and the fence of the attempt that brought it.
    pub(crate) files: BTreeMap<String, (u64, u64)>,
    /// Final sidecars.
    pub(crate) sidecars: BTreeMap<String, Saved>,
    pub(crate) down_until: u64,
    pub(crate) slow_until: u64,
}

/// Why a name was not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Other bytes lie there.
    Exists,
    /// The attempt's file is gone.
    Vanished,
}

impl Objects {
    /// A conditional put; the same bytes again are no change.
    pub(crate) fn put(&mut self, name: &str, content: u64, fence: u64) -> Result<(), Refused> {
        match self.files.get(name) {
            None => {
                self.files.insert(name.to_owned(), (content, fence));
                Ok(())
            }
            Some((theirs, _)) if *theirs == content => Ok(()),
            Some(_) => Err(Refused::Exists),
        }
    }

    /// The last file of a publication. One of the same pictures counts as the same.
    pub(crate) fn put_sidecar(&mut self, name: &str, saved: &Saved) -> Result<(), Refused> {
        match self.sidecars.get(name) {
            None => {
                self.sidecars.insert(name.to_owned(), saved.clone());
                Ok(())
            }
            Some(theirs) if theirs.files == saved.files => Ok(()),
            Some(_) => Err(Refused::Exists),
        }
    }
}
