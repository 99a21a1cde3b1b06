//! A rank: one process around one engine, the child of a worker, spoken to over an inherited Unix socket.
//!
//! One thread reads what the worker says, one starts and ends renders, and each render has one. Several are under way where
//! ranks share a model layer by layer; they take turns on the device. The loaded model stays warm from clip to clip. A rank
//! knows recipes and folders; jobs, stores and networks are the worker's.

pub mod confine;
mod convert;
mod engine;
mod gang;
mod halfway;
mod peak;
mod save;
mod serve;
mod socket;

use std::path::Path;

use confine::Network;
use croft_engine::{card::Card, device, request::Request};
use croft_proto::v1::{RankFailed, RankRender};

pub use croft_engine::device::Device;
pub use serve::{Error, serve, serve_on};

/// Gives up all that a rank on `device` does not need, writing below `scratch` alone; then serves on the inherited
/// descriptor `fd` until the worker closes it, then ends the process: a rank without a worker has nobody to render for,
/// however deep in a step it is.
///
/// # Errors
/// When the program was built without `device`, the descriptor is no socket, the thread pool was set up before, or the
/// worker speaks nonsense.
pub fn run(fd: i32, threads: u32, scratch: &Path, network: Network, device: Device) -> Result<(), Error> {
    if matches!(device, Device::Cuda { .. }) && !device::has_cuda() {
        return Err(Error::Device(device));
    }
    let stream = socket::inherited(fd).map_err(Error::Socket)?;
    // Before there is a second thread: each is confined by itself.
    let confine::Confinement { files, calls } = confine::confine(scratch, network, device);
    tracing::debug!(%device, %files, %calls, "confined");
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads as usize)
        .build_global()
        .map_err(|e| Error::Threads(e.to_string()))?;
    serve_on(device, stream, |ended| match ended {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            tracing::error!("the worker is not understood: {error}");
            std::process::exit(1)
        }
    })
}

/// What a rank makes of a worker's words before it opens anything.
///
/// # Errors
/// When they ask for what the model of `card` cannot do.
#[doc(hidden)]
pub fn understood(render: &RankRender, card: &Card) -> Result<Request, Box<RankFailed>> {
    engine::understood(render, card).map_err(Box::new)
}
