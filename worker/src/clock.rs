//! The worker's only reader of the calendar; durations are measured with `Instant`.

use std::time::SystemTime;

use prost_types::Timestamp;

/// Now, as sidecars write it: `2026-11-23T15:42:00.123Z`.
pub(crate) fn now() -> String {
    let mut now = Timestamp::from(moment());
    // Milliseconds are what anyone can use.
    now.nanos = now.nanos / 1_000_000 * 1_000_000;
    now.to_string()
}

/// Now, as certificates count it.
pub(crate) fn unix_seconds() -> i64 {
    let now = croft_proto::identity::facts::now();
    i64::try_from(now).unwrap_or(i64::MAX)
}

/// Now, for spans.
#[allow(clippy::disallowed_methods, reason = "this file is the one place")]
pub(crate) fn moment() -> SystemTime {
    SystemTime::now()
}
