//! A model's files by name, in a folder or inside the program. It never writes, and never looks outside the folder.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::weights::Bytes;

/// Where the files of a model are.
#[derive(Clone, Debug)]
pub enum Files {
    /// A folder in the diffusers layout; weights are mapped, not read.
    Folder(PathBuf),
    /// Name and content, built into the program.
    Embedded(&'static [(&'static str, &'static [u8])]),
}

impl Files {
    /// Opens `builtin://NAME` or an absolute folder.
    ///
    /// # Errors
    /// `UnknownModel` when there is no such built-in or no such folder.
    pub fn open(model: &str) -> Result<Self, Error> {
        let unknown = || Error::UnknownModel { model: model.to_owned() };
        if let Some(name) = model.strip_prefix("builtin://") {
            return crate::builtin::find(name).map(Self::Embedded).ok_or_else(unknown);
        }
        let path = Path::new(model);
        if path.is_absolute() && path.is_dir() { Ok(Self::Folder(path.to_owned())) } else { Err(unknown()) }
    }

    /// Whether `name` (such as `vae/config.json`) is there.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::Folder(root) => root.join(name).is_file(),
            Self::Embedded(files) => files.iter().any(|(n, _)| *n == name),
        }
    }

    /// The whole of a small file.
    ///
    /// # Errors
    /// `Missing`, or `Io` when it cannot be read.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
        match self {
            Self::Folder(root) => std::fs::read(root.join(name)).map_err(|e| read_error(name, e)),
            Self::Embedded(_) => Ok(self.embedded(name)?.to_vec()),
        }
    }

    /// A JSON file.
    ///
    /// # Errors
    /// As `read`, and `Config` when it is not JSON.
    pub fn json(&self, name: &str) -> Result<serde_json::Value, Error> {
        serde_json::from_slice(&self.read(name)?).map_err(|e| Error::Config {
            file: name.to_owned(),
            key: format!("line {}", e.line()),
            message: e.to_string(),
        })
    }

    /// A large file, mapped where it lies on a disk.
    pub(crate) fn map(&self, name: &str) -> Result<Bytes, Error> {
        match self {
            Self::Folder(root) => {
                let file = File::open(root.join(name)).map_err(|e| read_error(name, e))?;
                Bytes::map(&file).map_err(|e| read_error(name, e))
            }
            Self::Embedded(_) => Ok(Bytes::Static(self.embedded(name)?)),
        }
    }

    /// Hands a file's content to `each` in pieces of at most a mebibyte.
    pub(crate) fn stream(&self, name: &str, mut each: impl FnMut(&[u8])) -> Result<(), Error> {
        let Self::Folder(root) = self else {
            each(self.embedded(name)?);
            return Ok(());
        };
        let mut file = File::open(root.join(name)).map_err(|e| read_error(name, e))?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer).map_err(|e| read_error(name, e))? {
                0 => return Ok(()),
                n => each(&buffer[..n]),
            }
        }
    }

    /// The last part of the folder's name, or of the built-in's.
    pub(crate) fn name(&self, model: &str) -> String {
        model.trim_end_matches('/').rsplit('/').next().unwrap_or(model).to_owned()
    }

    fn embedded(&self, name: &str) -> Result<&'static [u8], Error> {
        let Self::Embedded(files) = self else { return Err(Error::Missing { file: name.to_owned() }) };
        files
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, bytes)| *bytes)
            .ok_or_else(|| Error::Missing { file: name.to_owned() })
    }
}

fn read_error(name: &str, source: std::io::Error) -> Error {
    let file = name.to_owned();
    if source.kind() == std::io::ErrorKind::NotFound {
        Error::Missing { file }
    } else {
        Error::Io { file, source }
    }
}
