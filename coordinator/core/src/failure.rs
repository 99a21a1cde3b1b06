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

/// What the farm does about a cause. The whole retry policy is this and [`Cause::verdict`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Another try would end the same way.
    Fail,
    /// Try again, at the cost of one of the task's tries; the first wait is this long and doubles with each.
    Retry { wait_ms: u64, blame: Blame },
    /// Try again at no cost: nobody failed.
    Again,
    /// Somebody asked for the end.
    Cancel,
}

/// Whose fault a retried failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The device's or its worker's: a row of such failures puts the device on hold.
    Device,
    /// Something that all devices share.
    Farm,
}

/// The longest wait before a retry, milliseconds.
pub const RETRY_WAIT_MS_MAX: u64 = 60_000;

impl Cause {
    /// Those that are worth another try, at the cost of one: the keys of `policy.retries`.
    pub const RETRIED: [Self; 13] = [
        Self::OomDevice,
        Self::OomHost,
        Self::ModelMissing,
        Self::ModelCorrupt,
        Self::DeviceLost,
        Self::CollectiveTimeout,
        Self::StoreUnavailable,
        Self::LeaseLost,
        Self::TimeoutTotal,
        Self::TimeoutNoProgress,
        Self::Crashed,
        Self::DiskFull,
        Self::Internal,
    ];

    /// Whether the same task may do better another time.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        let device = |wait_ms| Verdict::Retry { wait_ms, blame: Blame::Device };
        match self {
            // The same seed and weights give the same numbers anywhere.
            Self::BadSpec | Self::NanOutput | Self::OutputExists => Verdict::Fail,
            Self::LeaseLost | Self::Crashed | Self::TimeoutNoProgress | Self::DeviceLost => device(200),
            Self::OomDevice | Self::OomHost | Self::TimeoutTotal | Self::Internal => device(1_000),
            // Another worker's copy may be whole.
            Self::ModelMissing | Self::ModelCorrupt | Self::DiskFull => device(1_000),
            Self::StoreUnavailable | Self::CollectiveTimeout => {
                Verdict::Retry { wait_ms: 1_000, blame: Blame::Farm }
            }
            Self::Yielded => Verdict::Again,
            Self::Cancelled => Verdict::Cancel,
        }
    }

    /// As the wire and people write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OomDevice => "OOM_DEVICE",
            Self::OomHost => "OOM_HOST",
            Self::ModelMissing => "MODEL_MISSING",
            Self::ModelCorrupt => "MODEL_CORRUPT",
            Self::DeviceLost => "DEVICE_LOST",
            Self::CollectiveTimeout => "COLLECTIVE_TIMEOUT",
            Self::StoreUnavailable => "STORE_UNAVAILABLE",
            Self::BadSpec => "BAD_SPEC",
            Self::NanOutput => "NAN_OUTPUT",
            Self::Yielded => "YIELDED",
            Self::Cancelled => "CANCELLED",
            Self::LeaseLost => "LEASE_LOST",
            Self::TimeoutTotal => "TIMEOUT_TOTAL",
            Self::TimeoutNoProgress => "TIMEOUT_NO_PROGRESS",
            Self::Crashed => "CRASHED",
            Self::DiskFull => "DISK_FULL",
            Self::OutputExists => "OUTPUT_EXISTS",
            Self::Internal => "INTERNAL",
        }
    }
}

/// The wait before try number `tries + 1`, when `tries` have failed.
#[must_use]
pub fn retry_wait_ms(first_ms: u64, tries: u32) -> u64 {
    first_ms.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(RETRY_WAIT_MS_MAX)
}

impl Failure {
    /// A failure with a remedy.
    #[must_use]
    pub fn new(cause: Cause, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { cause, message: message.into(), remedy: remedy.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_bound() {
        assert_eq!(retry_wait_ms(200, 1), 200);
        assert_eq!(retry_wait_ms(200, 3), 800);
        assert_eq!(retry_wait_ms(1_000, 40), RETRY_WAIT_MS_MAX);
    }

    #[test]
    fn a_failure_that_must_repeat_is_not_tried_again() {
        assert_eq!(Cause::NanOutput.verdict(), Verdict::Fail);
        assert_eq!(Cause::BadSpec.verdict(), Verdict::Fail);
    }
}
