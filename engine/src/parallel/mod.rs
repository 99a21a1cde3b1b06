//! The ranks of a gang: who takes which part of a model, and how they put their parts together.
//!
//! A model that is split gives each rank whole heads of its attentions and a part of its feed-forward layers. After
//! each of them the ranks sum what they have, and all hold the same bytes again. One rank is the same code with nobody
//! to wait for.
//!
//! Several renders may share a device, each with a gang of its own: one computes, the others wait in line or for other
//! ranks, so that ranks which have some of the layers each are all at work.
//!
//! Every wait has a deadline, and every failure says which rank it was waiting for: a gang that lost one is not mended,
//! it ends, and another begins. Nothing here knows jobs, workers or how ranks find each other.

mod abort;
mod broken;
mod group;
mod hears;
#[cfg(feature = "nccl")]
pub mod nccl;
mod number;
mod shares;
mod staged;
mod tcp;
mod threads;
mod turn;

pub use abort::Abort;
pub use broken::{Broken, Fault};
pub use group::Group;
#[cfg(feature = "cuda")]
pub(crate) use number::Number;
pub use shares::{Mode, Split};
pub(crate) use staged::hand_out;
pub use tcp::{Listener, Peer, Roll, Token};
pub use turn::Turns;

/// A rank that waits says so this often: much less than anybody is waited for.
const SIGN: std::time::Duration = std::time::Duration::from_millis(500);

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test dials what it started")]
mod tests;
