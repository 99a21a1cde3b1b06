//! Why an attempt ended, who is to blame, and what that means for another try.

use serde::{Deserialize, Serialize};

/// Why an attempt ended badly. Travels as this enum from the rank to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Cause {
    OomDevice,
    OomHost,
    ModelMissing,
    ModelCorrupt,
    DeviceLost,
    CollectiveTimeout,
    StoreUnavailable,
    BadSpec,
    NanOutput,
    Yielded,
    Cancelled,
    /// The worker fell silent past its lease, or said goodbye.
    LeaseLost,
    TimeoutTotal,
    TimeoutNoProgress,
    /// The rank's process ended without saying why.
    Crashed,
    DiskFull,
    /// Another file lies where an output was to go.
    OutputExists,
    Internal,
}

/// A failure with the words a person needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub cause: Cause,
    pub message: String,
    /// What a person can do; empty when nothing is known to help.
    pub remedy: String,
}
