//! Why a worker cannot go on at all. What goes wrong with one attempt is a failure of that attempt, not one of these.

use std::{io, path::PathBuf};

/// Why a worker ended by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("'{address}' is not the address of a coordinator; give HOST:PORT")]
    Address { address: String },
    #[error(
        "{address}: plaintext is refused anywhere but on loopback; reach it through an SSH tunnel \
         (`ssh -L 7400:127.0.0.1:7400 HOST`) and give 127.0.0.1:7400"
    )]
    Plaintext { address: String },
    #[error("another worker works in {}; give this one another --data-dir", path.display())]
    Taken { path: PathBuf },
    #[error("{}: {source}", path.display())]
    Scratch { path: PathBuf, source: io::Error },
    #[error("the coordinator refuses this worker: {reason}")]
    Refused { reason: String },
    #[error("no devices: give --devices cpu:N with N of 1 to {max}")]
    NoDevices { max: u32 },
}
