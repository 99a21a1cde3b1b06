//! One coordinator, one file (redb): every commit is a transaction that is on the disk before it returns.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use croft_core::step::Write;
use redb::{
    Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, TableDefinition, TableError,
};

use super::{Epoch, Error, StateStore};

const STATE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("state");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Of this file's tables. What is in the values has versions of its own.
const FORMAT: u64 = 1;
const STORE: &str = "redb";

/// A state store in one file.
pub struct Embedded {
    path: PathBuf,
    /// Closed after a failed write, since nothing may be written over one; opened again with the next.
    database: Option<Database>,
    revision: u64,
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Embedded {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// When another process holds it, or it is none of ours; then it is left as it is.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let database = open(path)?;
        Ok(Self { path: path.to_owned(), database: Some(database), revision: 0 })
    }

    fn database(&mut self) -> Result<&Database, Error> {
        if self.database.is_none() {
            self.database = Some(open(&self.path)?);
        }
        Ok(self.database.as_ref().expect("it was opened just now"))
    }

    /// Closes the file after a failure: what is behind it may be half done, and opening puts that right.
    fn failed(&mut self, error: redb::Error) -> Error {
        self.database = None;
        told(&self.path, error)
    }

    fn write(&mut self, writes: &[Write]) -> Result<(), redb::Error> {
        let database = self.database.as_ref().expect("the caller opened it");
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate).map_err(redb::Error::from)?;
        {
            let mut table = transaction.open_table(STATE)?;
            for Write { key, value } in writes {
                match value {
                    Some(value) => drop(table.insert(key.as_str(), value.as_slice())?),
                    None => drop(table.remove(key.as_str())?),
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn read(&mut self) -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
        let database = self.database.as_ref().expect("the caller opened it");
        let table = database.begin_read()?.open_table(STATE)?;
        let all = table.iter()?.map(|entry| {
            let (key, value) = entry?;
            Ok((key.value().to_owned(), value.value().to_vec()))
        });
        all.collect()
    }
}

impl StateStore for Embedded {
    fn load(&mut self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        self.database()?;
        self.read().map_err(|error| self.failed(error))
    }

    fn commit(&mut self, _epoch: Epoch, writes: &[Write]) -> Result<(), Error> {
        self.database()?;
        self.write(writes).map_err(|error| self.failed(error))?;
        self.revision += 1;
        Ok(())
    }

    fn revision(&mut self) -> Result<u64, Error> {
        Ok(self.revision)
    }
}

/// Opens the file and looks at its format before anything is written to it.
fn open(path: &Path) -> Result<Database, Error> {
    let is_new = !path.metadata().is_ok_and(|found| found.len() > 0);
    let opened = if is_new { Database::create(path) } else { Database::open(path) };
    let database = opened.map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => Error::InUse { place: path.display().to_string() },
        DatabaseError::UpgradeRequired(found) => {
            Error::Newer { place: path.display().to_string(), found: found.into(), known: FORMAT }
        }
        error => told(path, error.into()),
    })?;
    let format = format(&database).map_err(|error| told(path, error))?;
    match format {
        Some(found) if found > FORMAT => {
            Err(Error::Newer { place: path.display().to_string(), found, known: FORMAT })
        }
        Some(_) => Ok(database),
        None => prepare(&database).map(|()| database).map_err(|error| told(path, error)),
    }
}

/// `None` for a file that was just made.
fn format(database: &Database) -> Result<Option<u64>, redb::Error> {
    match database.begin_read()?.open_table(META) {
        Ok(table) => Ok(table.get("format")?.map(|format| format.value())),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn prepare(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(META)?.insert("format", FORMAT)?;
    transaction.open_table(STATE)?;
    transaction.commit()?;
    Ok(())
}

fn told(path: &Path, error: redb::Error) -> Error {
    let place = path.display().to_string();
    match error {
        redb::Error::Io(error) if is_full(&error) => {
            Error::Full { store: STORE, what: format!("{place}: {error}; make room on that disk") }
        }
        redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            Error::Damaged { place, what: error.to_string() }
        }
        redb::Error::Corrupted(what) => Error::Damaged { place, what },
        redb::Error::TableTypeMismatch { .. } => Error::Damaged { place, what: error.to_string() },
        error => Error::Unavailable { store: STORE, what: format!("{place}: {error}") },
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

#[cfg(test)]
mod tests;
