//! Records as a store gives them back. One that cannot be read ends the start: a farm that forgets is worse than one
//! that waits for a person.

use serde::{Deserialize, de::DeserializeOwned};

use super::{
    FenceRecord, JobRecord, LimitRecord, ShowRecord, VERSION, WorkerRecord,
    chunk::{Chunk, ChunkRecord},
    doors::{AuditRecord, InvitationRecord, audit_chunk},
};
use crate::{
    audit::{self, Kind},
    ids::{JobId, WorkerId},
};

/// Fences are the largest: milliseconds since the Unix epoch, times 2^20.
const COUNTED_MAX: u64 = 1 << 62;

/// Why the records of a store cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "record '{key}' has format {version}, and this croft knows formats up to {known}: start the newer croft that \
         wrote it"
    )]
    Newer { key: String, version: u32, known: u32 },
    #[error(
        "record '{key}' is damaged ({what}): nothing was changed; restore the store from a copy, or move it away to \
         start empty"
    )]
    Damaged { key: String, what: String },
    #[error("record '{key}' is none of croft's: this store belongs to something else, or to a newer croft")]
    Unknown { key: String },
}

/// All records of a store, by kind.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) fences: u64,
    pub(crate) jobs: Vec<(JobId, JobRecord)>,
    pub(crate) chunks: Vec<(Chunk, ChunkRecord)>,
    pub(crate) workers: Vec<(WorkerId, WorkerRecord)>,
    pub(crate) shows: Vec<(String, ShowRecord)>,
    pub(crate) limits: Vec<(String, LimitRecord)>,
    pub(crate) invitations: Vec<(String, InvitationRecord)>,
    /// In the order of their keys.
    pub(crate) audit: Vec<((Kind, u64), AuditRecord)>,
}

impl Records {
    pub(crate) fn read(all: &[(String, Vec<u8>)]) -> Result<Self, Error> {
        let mut records = Self::default();
        for (key, value) in all {
            let unknown = || Error::Unknown { key: key.clone() };
            let (kind, name) = key.split_once('/').unwrap_or((key, ""));
            match kind {
                "fences" => records.fences = counted(key, record::<FenceRecord>(key, value)?.limit)?,
                "jobs" => {
                    let job = JobId::new(name).map_err(|_| unknown())?;
                    let record: JobRecord = record(key, value)?;
                    counted(key, record.number)?;
                    records.jobs.push((job, record));
                }
                "tasks" => {
                    let record: ChunkRecord = record(key, value)?;
                    // An attempt's number has 32 bits, and room above it as well.
                    record.tasks.iter().try_for_each(|task| counted(key, task.attempts() << 31).map(drop))?;
                    records.chunks.push((chunk(name).ok_or_else(unknown)?, record));
                }
                "workers" => {
                    let worker = WorkerId::new(name).map_err(|_| unknown())?;
                    records.workers.push((worker, record(key, value)?));
                }
                "shows" => records.shows.push((name.to_owned(), record(key, value)?)),
                "limits" => records.limits.push((name.to_owned(), record(key, value)?)),
                "invitations" => records.invitations.push((name.to_owned(), record(key, value)?)),
                "audit" => {
                    let (kind, chunk) = audit_chunk(name).ok_or_else(unknown)?;
                    let record: AuditRecord = record(key, value)?;
                    counted(key, chunk.saturating_mul(audit::CHUNK))?;
                    record.entries.iter().try_for_each(|entry| counted(key, entry.number).map(drop))?;
                    records.audit.push(((kind, chunk), record));
                }
                _ => return Err(unknown()),
            }
        }
        Ok(records)
    }
}

fn chunk(name: &str) -> Option<Chunk> {
    let mut parts = name.split('/');
    let job = JobId::new(parts.next()?).ok()?;
    let layer = parts.next()?.parse().ok()?;
    let index = parts.next()?.parse().ok()?;
    parts.next().is_none().then_some(Chunk { job, layer, index })
}

/// A number that the farm counts on from; one that nothing was ever counted to is refused.
fn counted(key: &str, number: u64) -> Result<u64, Error> {
    if number > COUNTED_MAX {
        return Err(Error::Damaged { key: key.to_owned(), what: format!("it counts to {number}") });
    }
    Ok(number)
}

/// Only the version: a later one may have changed all the rest.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

fn record<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, Error> {
    let damaged = |error: serde_json::Error| Error::Damaged { key: key.to_owned(), what: error.to_string() };
    let Versioned { version } = serde_json::from_slice(value).map_err(damaged)?;
    if version > VERSION {
        return Err(Error::Newer { key: key.to_owned(), version, known: VERSION });
    }
    serde_json::from_slice(value).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_leave_no_room_to_count_on_are_damage() {
        for (key, value) in [
            ("fences", r#"{"version":1,"limit":18446744073709551615}"#.to_owned()),
            (
                "tasks/j/0/000000",
                r#"{"version":1,"tasks":[{"task":0,"state":"Queued","number":4294967295}]}"#.to_owned(),
            ),
            ("audit/d/ffffffffffffffff", r#"{"version":1,"entries":[]}"#.to_owned()),
        ] {
            let read = Records::read(&[(key.to_owned(), value.into_bytes())]);
            let error = read.map(drop).expect_err(key);
            assert!(matches!(&error, Error::Damaged { what, .. } if what.contains("counts to")), "{error}");
        }
    }
}
