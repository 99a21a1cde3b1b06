//! Supervised hands: a worker dials out, holds one stream to the coordinator, gives its devices to ranks (child
//! processes), and moves bytes. It holds no policy of the farm: what runs where, and what is tried again, is decided
//! elsewhere.

mod attempt;
mod backoff;
mod clock;
mod config;
mod convert;
mod device;
mod error;
mod eyes;
pub mod inventory;
mod journal;
mod logs;
mod nimby;
mod rank;
mod renew;
mod run;
mod scratch;
mod session;
mod sidecar;
mod target;
#[cfg(test)]
mod told;
mod trace;

pub use config::{Config, Cpu, Cuda, Devices, Pick, RankProgram};
pub use error::Error;
pub use inventory::host_name;
pub use nimby::FILE as NIMBY_FILE;
pub use run::run;
