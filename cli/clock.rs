//! The command line's only reader of the calendar; durations are measured with `Instant`.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since the Unix epoch.
#[allow(clippy::disallowed_methods, reason = "this file is the one place")]
pub(crate) fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Now, for spans.
#[allow(clippy::disallowed_methods, reason = "this file is the one place")]
pub(crate) fn moment() -> SystemTime {
    SystemTime::now()
}
