//! Whole numbers in runs, as Open Job Description writes them: `1-10`, `1001-1100:2`, `10-1:-1`, `1,3,5-7`.

use std::collections::BTreeSet;

use crate::plan::TASKS_MAX;

/// Parts of one range expression: a value is looked for in each.
const PARTS_MAX: usize = 1000;

/// `count` numbers from `from` on, `step` apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) from: i64,
    pub(crate) step: i64,
    pub(crate) count: u64,
}

/// Runs one after another; no number twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Runs {
    /// Each with the number of values up to its end.
    runs: Vec<(u64, Run)>,
}

impl Runs {
    /// Checks the runs; says in words what is wrong with them.
    pub(crate) fn new(runs: Vec<Run>) -> Result<Self, String> {
        let mut end = 0u64;
        let mut with_ends = Vec::with_capacity(runs.len());
        for run in runs {
            let last = i128::from(run.from) + i128::from(run.step) * i128::from(run.count.saturating_sub(1));
            if i64::try_from(last).is_err() {
                return Err("leaves the range of 64-bit numbers".to_owned());
            }
            end = end.saturating_add(run.count);
            if end > TASKS_MAX {
                return Err(format!("has more than {TASKS_MAX} values"));
            }
            with_ends.push((end, run));
        }
        let runs = Self { runs: with_ends };
        if runs.runs.len() > 1 {
            let mut seen = BTreeSet::new();
            if let Some(twice) = (0..end).map(|at| runs.value(at)).find(|value| !seen.insert(*value)) {
                return Err(format!("has {twice} twice"));
            }
        }
        Ok(runs)
    }

    pub(crate) fn len(&self) -> u64 {
        self.runs.last().map_or(0, |(end, _)| *end)
    }

    /// The value at `at < len`.
    pub(crate) fn value(&self, at: u64) -> i64 {
        let which = self.runs.partition_point(|(end, _)| *end <= at);
        let (end, run) = self.runs[which];
        let offset = i64::try_from(at - (end - run.count)).expect("a run has at most TASKS_MAX values");
        run.from + run.step * offset
    }

    pub(crate) fn find(&self, value: i64) -> Option<u64> {
        let mut before = 0;
        for (end, run) in &self.runs {
            let away = i128::from(value) - i128::from(run.from);
            let step = i128::from(run.step);
            if away % step == 0
                && let Ok(at) = u64::try_from(away / step)
                && at < run.count
            {
                return Some(before + at);
            }
            before = *end;
        }
        None
    }

    pub(crate) fn min(&self) -> i64 {
        let ends = |(_, run): &(u64, Run)| run.from.min(run.from + run.step * (run.count as i64 - 1));
        self.runs.iter().map(ends).min().unwrap_or(0)
    }
}

/// Reads a range expression; the error is in words.
pub(crate) fn parse(text: &str) -> Result<Runs, String> {
    if text.split(',').count() > PARTS_MAX {
        return Err(format!("has more than {PARTS_MAX} parts"));
    }
    let runs: Result<Vec<Run>, String> = text.split(',').map(|part| run(part.trim())).collect();
    Runs::new(runs?)
}

fn run(text: &str) -> Result<Run, String> {
    let bad = || format!("'{}' is no range", text.chars().take(40).collect::<String>());
    let (span, step) = match text.split_once(':') {
        Some((span, step)) => (span, Some(step.trim().parse::<i64>().map_err(|_| bad())?)),
        None => (text, None),
    };
    // The first character may be a minus sign of its own.
    let dash = span.char_indices().skip(1).find(|(_, c)| *c == '-').map(|(at, _)| at);
    let (from, to) = match dash {
        Some(at) => (span[..at].trim(), span[at + 1..].trim()),
        None if step.is_some() => return Err(bad()),
        None => (span.trim(), span.trim()),
    };
    let from: i64 = from.parse().map_err(|_| bad())?;
    let to: i64 = to.parse().map_err(|_| bad())?;
    let step = step.unwrap_or(1);
    let away = i128::from(to) - i128::from(from);
    if step == 0 {
        return Err("has a step of 0".to_owned());
    }
    if away != 0 && (away > 0) != (step > 0) {
        return Err(format!("never gets from {from} to {to} by steps of {step}"));
    }
    let count = u64::try_from(away / i128::from(step) + 1).unwrap_or(u64::MAX);
    Ok(Run { from, step, count })
}
