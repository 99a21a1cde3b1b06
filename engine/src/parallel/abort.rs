//! The end of a gang, in the hands of whoever must be able to bring it about while its ranks wait.

use super::{tcp, threads};

/// Ends the gang from another thread: whatever waits, returns.
#[derive(Clone, Debug)]
pub struct Abort(pub(super) Ends);

#[derive(Clone, Debug)]
pub(super) enum Ends {
    Solo,
    Threads(threads::End),
    Tcp(tcp::End),
    #[cfg(feature = "nccl")]
    Nccl(super::nccl::End),
}

impl Abort {
    pub fn abort(&self) {
        match &self.0 {
            Ends::Solo => {}
            Ends::Threads(end) => end.end(),
            Ends::Tcp(end) => end.end(),
            #[cfg(feature = "nccl")]
            Ends::Nccl(end) => end.end(),
        }
    }
}
