//! The gRPC services. A service reads its request, asks the farm through the handle and words the answer; the farm
//! decides.

mod artifacts;
mod auth;
pub(crate) mod convert;
mod dispatch;
pub mod edge;
mod farm;
mod identity;
mod jobs;
mod logs;
mod page;
pub(crate) mod paths;
mod planning;
mod status;
mod too_large;
mod usage;
mod watch;
mod wishes;

pub(crate) use artifacts::Artifacts;
pub(crate) use auth::{Book, GateLayer};
pub(crate) use dispatch::{Dispatch, Hears};
pub(crate) use farm::Farm;
pub(crate) use identity::Identity;
pub(crate) use jobs::Jobs;
pub(crate) use logs::Reading;
pub(crate) use too_large::TooLarge;
