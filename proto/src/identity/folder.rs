//! The files by which somebody proves who they are: `ca.pem`, `cert.pem`, `key.pem` of one folder.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::Error;

/// Certificates are a page of text.
pub(crate) const BYTES_MAX: u64 = 1 << 20;

/// A folder that holds an identity, or is to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn authority(&self) -> PathBuf {
        self.0.join("ca.pem")
    }

    pub fn certificate(&self) -> PathBuf {
        self.0.join("cert.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.0.join("key.pem")
    }

    /// Whether somebody was named here.
    pub fn is_there(&self) -> bool {
        self.certificate().exists()
    }

    /// Writes all three. The certificate comes last: with it the identity is there.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, authority: &str, certificate: &str, key: &str) -> Result<(), Error> {
        make(&self.0)?;
        replace(&self.authority(), authority.as_bytes(), 0o644)?;
        replace(&self.key(), key.as_bytes(), 0o600)?;
        replace(&self.certificate(), certificate.as_bytes(), 0o644)
    }
}

/// A new certificate for the same key: one file, so that nobody ever sees half of the change.
///
/// # Errors
/// When it cannot be written.
pub fn renew(path: &Path, certificate: &str) -> Result<(), Error> {
    replace(path, certificate.as_bytes(), 0o644)
}

/// Makes a folder that only its owner enters.
pub(crate) fn make(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| Error::File { path: path.to_owned(), source })
}

/// Writes beside and renames, so that a reader sees the old file or the new one.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let part = path.with_extension(format!("part-{}", uuid::Uuid::new_v4().simple()));
    let write = || -> io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().map_err(|source| {
        let _ = fs::remove_file(&part);
        Error::File { path: path.to_owned(), source }
    })
}

/// A text file of a sane size.
pub(crate) fn read(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    if fs::metadata(path).map_err(failed)?.len() > BYTES_MAX {
        return Err(Error::Odd { path: path.to_owned(), what: "no certificate is that large".to_owned() });
    }
    fs::read_to_string(path).map_err(failed)
}
