//! Why a worker cannot go on at all. What goes wrong with one attempt is a failure of that attempt, not one of these.

use std::{io, path::PathBuf};

use croft_proto::channel::{Address, DialError};

/// Why a worker ended by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(transparent)]
    Channel(#[from] croft_proto::channel::Error),
    #[error("{address}: {source}")]
    Guarded { address: Address, source: DialError },
    #[error(transparent)]
    Moved(#[from] croft_proto::egress::Error),
    #[error("another worker works in {}; give this one another --data-dir", path.display())]
    Taken { path: PathBuf },
    #[error("{}: {source}", path.display())]
    Scratch { path: PathBuf, source: io::Error },
    #[error("the coordinator refuses this worker: {reason}")]
    Refused { reason: String },
    #[error("the coordinator lets this worker do nothing: {reason}")]
    Denied { reason: String },
    #[error("no devices: give --devices cpu:N with N of 1 to {max}")]
    NoDevices { max: u32 },
    #[error("{what}; {remedy}")]
    Device { what: String, remedy: String },
}
