//! Why a gang broke, as one of its ranks saw it.

use std::time::Duration;

/// What one rank saw when it could not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rank {rank} {fault}")]
pub struct Broken {
    /// Whom it waited for; not necessarily whose fault it was.
    pub rank: usize,
    pub fault: Fault,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Its process ended, or its connection.
    #[error("is gone ({0})")]
    Lost(String),
    /// It said nothing for as long as a step may take.
    #[error("said nothing for {:.1} s", .0.as_secs_f64())]
    Late(Duration),
    /// It is not where this rank is: two versions, or two requests.
    #[error("is out of step ({0})")]
    OutOfStep(String),
    /// It cannot take part: its machine lacks something, or the device refused.
    #[error("cannot take part: {0}")]
    Unable(String),
    /// This rank was told to end.
    #[error("was not waited for any longer: the gang was ended")]
    Aborted,
}

impl Broken {
    pub(super) fn lost(rank: usize, why: impl ToString) -> Self {
        Self { rank, fault: Fault::Lost(why.to_string()) }
    }

    #[cfg(feature = "nccl")]
    pub(super) fn unable(rank: usize, why: impl ToString) -> Self {
        Self { rank, fault: Fault::Unable(why.to_string()) }
    }

    pub(super) fn out_of_step(rank: usize, why: impl ToString) -> Self {
        Self { rank, fault: Fault::OutOfStep(why.to_string()) }
    }
}
