//! The book of who did what.

use croft_core::{
    audit::{Entry, Numbered},
    time::Time,
};
use croft_proto::v1;
use prost_types::Timestamp;

use super::timestamp;

/// A moment of a stranger's; none at all, or one before all time, is the beginning.
pub(in crate::api) fn time(at: Option<Timestamp>) -> Time {
    let Timestamp { seconds, nanos } = at.unwrap_or_default();
    let ms = seconds.checked_mul(1_000).and_then(|ms| ms.checked_add(i64::from(nanos) / 1_000_000));
    Time(ms.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0))
}

pub(in crate::api) fn audit_event(numbered: Numbered) -> v1::AuditEvent {
    let Entry { at, who, role, serial, from, method, resource, request_id, result, reason, times } =
        numbered.entry;
    v1::AuditEvent {
        time: Some(timestamp(at)),
        who,
        role,
        serial,
        from,
        method,
        resource,
        request_id,
        result,
        reason,
        times,
    }
}
