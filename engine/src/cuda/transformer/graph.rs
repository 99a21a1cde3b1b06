//! A forward pass that is recorded once and then begun by one call: small clips are over before a host has told the device of
//! hundreds of kernels.
//!
//! The first pass is an ordinary one, in which all is chosen and made that is chosen and made once. The second is recorded, and
//! every later one is that record again, with other numbers in the same places.

use std::sync::Arc;

use cudarc::driver::{
    result,
    sys::{self, CUgraphExec, CUstreamCaptureMode},
};

use super::Gpu;
use crate::cuda::gpu::said;
use crate::error::Error;

/// How far it is.
#[derive(Debug, Default)]
pub(super) enum Graph {
    #[default]
    Nothing,
    /// A pass was done: the next can be recorded.
    Seen,
    Recorded(Recorded),
    /// It could not be recorded; passes are ordinary ones.
    Refused,
}

/// A record, on the device.
#[derive(Debug)]
pub(super) struct Recorded {
    gpu: Arc<Gpu>,
    exec: CUgraphExec,
}

// SAFETY: it is used by one thread at a time, which has entered the device.
unsafe impl Send for Recorded {}

impl Drop for Recorded {
    fn drop(&mut self) {
        if self.gpu.enter().is_ok() {
            // SAFETY: nobody begins it any more; the driver waits for what runs.
            let _ = unsafe { result::graph::exec_destroy(self.exec) };
        }
    }
}

impl Graph {
    /// Does what `pass` does, by recording it or by its record where that is allowed.
    pub(super) fn run(
        &mut self,
        gpu: &Arc<Gpu>,
        may_record: bool,
        mut pass: impl FnMut() -> Result<(), Error>,
    ) -> Result<(), Error> {
        if !may_record {
            return pass();
        }
        match self {
            Self::Nothing => {
                pass()?;
                *self = Self::Seen;
                Ok(())
            }
            Self::Seen => match record(gpu, &mut pass) {
                Ok(recorded) => {
                    let begun = recorded.begin();
                    *self = Self::Recorded(recorded);
                    begun
                }
                Err(error) => {
                    tracing::warn!(%error, "a pass was not recorded; every kernel is begun by itself");
                    *self = Self::Refused;
                    pass()
                }
            },
            Self::Recorded(recorded) => recorded.begin(),
            Self::Refused => pass(),
        }
    }
}

impl Recorded {
    fn begin(&self) -> Result<(), Error> {
        // SAFETY: the record is whole, and what it uses is kept beside it.
        unsafe { result::graph::launch(self.exec, self.gpu.stream()) }
            .map_err(|error| said("a recorded pass", error))
    }
}

fn record(gpu: &Arc<Gpu>, pass: &mut impl FnMut() -> Result<(), Error>) -> Result<Recorded, Error> {
    let told = |error| said("recording a pass", error);
    let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    // SAFETY: the stream is the device's.
    unsafe { result::stream::begin_capture(gpu.stream(), mode) }.map_err(told)?;
    let passed = pass();
    // SAFETY: as above; a capture that was begun is ended, whatever came of it.
    let drawn = unsafe { result::stream::end_capture(gpu.stream()) };
    let exec = match (passed, drawn) {
        (Ok(()), Ok(graph)) => {
            let flags = sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
            // SAFETY: the graph was just made.
            unsafe { result::graph::instantiate(graph, flags) }.map_err(told)
        }
        (Ok(()), Err(error)) => Err(told(error)),
        (Err(error), _) => Err(error),
    };
    if let Ok(graph) = drawn
        && !graph.is_null()
    {
        // SAFETY: nobody else has it, and what was made of it does without it.
        let _ = unsafe { result::graph::destroy(graph) };
    }
    Ok(Recorded { gpu: Arc::clone(gpu), exec: exec? })
}
