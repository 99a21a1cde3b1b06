//! What a job asks of the farm beside its pictures: retries, patience, order; and its name, priority and labels.

use std::collections::BTreeMap;

use super::{
    axes::Axis,
    read::{Fields, Found, entries},
    report::{Place, Report, did_you_mean, quoted},
    tree::{Entry, Value, join},
};
use crate::{failure::Cause, ids::JobId, step::Stage};

const RETRIES_MAX: i64 = 100;
const RETRIES: u32 = 3;
const RETRIES_OF_STORE: u32 = 60;
/// Long enough for a long clip on a slow device; a task that hangs is found by its missing progress much sooner.
const TIMEOUT_TOTAL_MS: u64 = 6 * 3_600_000;
const TIMEOUT_MS_MAX: u64 = 30 * 24 * 3_600_000;
const NO_PROGRESS_TIMES: f64 = 8.0;
const NO_PROGRESS_TIMES_MAX: f64 = 1000.0;
const TIMEOUTS: [&str; 7] = ["total", "no_progress", "load", "encode", "denoise", "decode", "save"];
const LABELS_MAX: usize = 64;
const LABEL_BYTES_MAX: usize = 256;

/// How long a task may go without progress.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NoProgress {
    Ms(u64),
    /// Times the usual pause between two signs of progress.
    Times(f64),
}

/// In which order tasks of equal rank start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Natural,
    /// Every value of this axis early.
    Interleave(usize),
}

/// How often a task is tried again, by the cause of its failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retries {
    pub default: u32,
    pub by_cause: BTreeMap<Cause, u32>,
}

impl Retries {
    /// Tries after the first that a cause is worth.
    #[must_use]
    pub fn of(&self, cause: Cause) -> u32 {
        let of_cause = self.by_cause.get(&cause).copied();
        // No task is to blame for a store that is away, and outages last: with its waits this is about an hour.
        let default = if cause == Cause::StoreUnavailable { RETRIES_OF_STORE } else { self.default };
        of_cause.unwrap_or(default)
    }
}

/// The longest that each stage of an attempt may take, milliseconds; what is left out has only the total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StageLimits(pub [Option<u64>; 5]);

impl StageLimits {
    #[must_use]
    pub fn of(&self, stage: Stage) -> Option<u64> {
        self.0[stage as usize]
    }
}

/// In the order of [`Stage`].
const STAGES: [&str; 5] = ["load", "encode", "denoise", "decode", "save"];

#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) retries: Retries,
    pub(crate) timeout_total_ms: u64,
    pub(crate) stages: StageLimits,
    pub(crate) no_progress: NoProgress,
    pub(crate) order: Order,
}

pub(crate) fn read(found: Option<Found<'_>>, axes: &[Axis], report: &mut Report) -> Policy {
    let mut policy = Policy {
        retries: Retries { default: RETRIES, by_cause: BTreeMap::new() },
        stages: StageLimits::default(),
        timeout_total_ms: TIMEOUT_TOTAL_MS,
        no_progress: NoProgress::Times(NO_PROGRESS_TIMES),
        order: Order::Natural,
    };
    let Some(found) = found else { return policy };
    let Some(fields) = Fields::of(found.node, "policy", &["retries", "timeout", "order"], report) else {
        return policy;
    };
    if let Some(found) = fields.get("policy", "retries") {
        retries(&found, &mut policy.retries, report);
    }
    if let Some(timeout) = fields.get("policy", "timeout")
        && let Some(fields) = Fields::of(timeout.node, "policy.timeout", &TIMEOUTS, report)
    {
        for (at, stage) in STAGES.iter().enumerate() {
            let found = fields.get("policy.timeout", stage);
            policy.stages.0[at] = found.and_then(|found| duration_ms(&found, report));
        }
        if let Some(ms) = fields.get("policy.timeout", "total").and_then(|found| duration_ms(&found, report))
        {
            policy.timeout_total_ms = ms;
        }
        if let Some(patience) =
            fields.get("policy.timeout", "no_progress").and_then(|f| no_progress(&f, report))
        {
            policy.no_progress = patience;
        }
    }
    if let Some(order) = fields.get("policy", "order").and_then(|found| order(&found, axes, report)) {
        policy.order = order;
    }
    policy
}

/// A number for every cause, or a map of causes with `default` for the others.
fn retries(found: &Found<'_>, retries: &mut Retries, report: &mut Report) {
    let number = |found: &Found<'_>, report: &mut Report| {
        found.whole(0, RETRIES_MAX, report).map(|n| u32::try_from(n).expect("RETRIES_MAX"))
    };
    if !matches!(found.node.value, Value::Map(_)) {
        retries.default = number(found, report).unwrap_or(RETRIES);
        return;
    }
    let causes: Vec<&str> = Cause::RETRIED.iter().map(|cause| cause.name()).collect();
    let known: Vec<&str> = causes.iter().copied().chain(["default"]).collect();
    let Some(fields) = Fields::of(found.node, "policy.retries", &known, report) else { return };
    if let Some(default) = fields.get("policy.retries", "default").and_then(|f| number(&f, report)) {
        retries.default = default;
    }
    for cause in Cause::RETRIED {
        if let Some(tries) = fields.get("policy.retries", cause.name()).and_then(|f| number(&f, report)) {
            retries.by_cause.insert(cause, tries);
        }
    }
}

fn no_progress(found: &Found<'_>, report: &mut Report) -> Option<NoProgress> {
    let text = found.text(report)?;
    let Some(times) = text.strip_suffix('x') else {
        return duration_ms(found, report).map(NoProgress::Ms);
    };
    let times = times.parse::<f64>().ok().filter(|times| (1.0..=NO_PROGRESS_TIMES_MAX).contains(times));
    if times.is_none() {
        let message = format!("{} is not 1x to {NO_PROGRESS_TIMES_MAX}x", quoted(text));
        report.add(&found.place, message, "write '8x' for eight times the usual pause, or '60s'");
    }
    times.map(NoProgress::Times)
}

fn duration_ms(found: &Found<'_>, report: &mut Report) -> Option<u64> {
    let text = found.text(report)?;
    let ms = milliseconds(text).filter(|ms| (1..=TIMEOUT_MS_MAX).contains(ms));
    if ms.is_none() {
        let message = format!("{} is no duration from 1ms to 30d", quoted(text));
        report.add(&found.place, message, "write a number with ms, s, m, h or d, as in '10m' or '1h30m'");
    }
    ms
}

fn milliseconds(text: &str) -> Option<u64> {
    let mut total = 0.0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let unit = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        total += number
            * match &after[..unit] {
                "ms" => 1.0,
                "s" => 1e3,
                "m" => 6e4,
                "h" => 3.6e6,
                "d" => 8.64e7,
                _ => return None,
            };
        rest = after[unit..].trim_start();
    }
    Some(total.round() as u64)
}

fn order(found: &Found<'_>, axes: &[Axis], report: &mut Report) -> Option<Order> {
    let text = found.text(report)?;
    if text == "natural" {
        return Some(Order::Natural);
    }
    let Some(axis) = text.strip_prefix("interleave(").and_then(|rest| rest.strip_suffix(')')) else {
        report.add(
            &found.place,
            format!("{} is no order", quoted(text)),
            "write 'natural' or 'interleave(axis)'",
        );
        return None;
    };
    let axis = axis.trim();
    let at = axes.iter().position(|known| known.name == axis);
    if at.is_none() {
        let remedy = did_you_mean(axis, axes.iter().map(|axis| axis.name.as_str()));
        report.add(&found.place, format!("{} names no axis", quoted(axis)), remedy);
    }
    at.map(Order::Interleave)
}

/// The job's or show's name.
pub(crate) fn name(found: &Found<'_>, report: &mut Report) -> Option<String> {
    let text = found.text(report)?;
    if JobId::new(text).is_err() {
        let message = format!("{} cannot be a name", quoted(text));
        report.add(
            &found.place,
            message,
            "use 1 to 63 of a-z, 0-9, '-', '_' and '.', beginning with a letter or digit",
        );
        return None;
    }
    Some(text.to_owned())
}

pub(crate) fn labels(found: Option<Found<'_>>, report: &mut Report) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let Some(found) = found else { return labels };
    let Some(all) = entries(found.node, "labels", report) else { return labels };
    if all.len() > LABELS_MAX {
        report.add(
            &found.place,
            format!("{} labels, more than {LABELS_MAX}", all.len()),
            "keep those you search by",
        );
        return labels;
    }
    for Entry { key, line, column, node } in all {
        let place = Place { line: *line, column: *column, field: join("labels", key) };
        match &node.value {
            Value::Scalar { text, .. } if key.len().max(text.len()) <= LABEL_BYTES_MAX && !key.is_empty() => {
                labels.insert(key.clone(), text.clone());
            }
            Value::Scalar { .. } => {
                let message = format!("a label has 1 to {LABEL_BYTES_MAX} bytes");
                report.add(&place, message, "shorten it");
            }
            _ => report.add(&place, format!("is {}, must be one value", node.kind()), "write 'key: value'"),
        }
    }
    labels
}
