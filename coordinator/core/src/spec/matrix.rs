//! Which combinations of the axes a job makes.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    axes::{Axis, Values},
    combine::{self, Expr},
    read::{Fields, Found},
    report::{Place, Report, did_you_mean, quoted},
    tree::{Entry, Node, Value, join},
};
use crate::plan::TASKS_MAX;

/// Axes named in all entries of `exclude` together: each is looked at for every task. One may list many values.
const TESTS_MAX: usize = 512;

#[derive(Debug, Clone)]
pub(crate) struct Matrix {
    /// `None` without axes: one task.
    pub(crate) combine: Option<Expr>,
    pub(crate) exclude: Vec<Exclude>,
    pub(crate) expect: Option<(u64, Place)>,
    /// Where to point when the combination does not go.
    pub(crate) place: Place,
}

/// Removes the tasks of which every named axis has one of the given values.
#[derive(Debug, Clone)]
pub(crate) struct Exclude {
    pub(crate) place: Place,
    /// Axes and the sorted numbers of their values.
    pub(crate) tests: Vec<(usize, Vec<u32>)>,
}

pub(crate) fn read(found: Option<Found<'_>>, axes: &[Axis], root: &Place, report: &mut Report) -> Matrix {
    let mut matrix = Matrix {
        combine: all(axes),
        exclude: Vec::new(),
        expect: None,
        place: axes
            .first()
            .map_or_else(|| root.clone(), |axis| Place { field: "axes".into(), ..axis.place.clone() }),
    };
    let Some(found) = found else { return matrix };
    let Some(fields) = Fields::of(found.node, "matrix", &["combine", "exclude", "expect"], report) else {
        return matrix;
    };
    if let Some(combine) = fields.get("matrix", "combine") {
        matrix.place = combine.place.clone();
        read_combine(&combine, axes, &mut matrix, report);
    }
    if let Some(exclude) = fields.get("matrix", "exclude") {
        matrix.exclude = read_exclude(&exclude, axes, report);
    }
    if let Some(expect) = fields.get("matrix", "expect")
        && let Some(number) = expect.whole(1, TASKS_MAX as i64, report)
    {
        matrix.expect = Some((number.unsigned_abs(), expect.place));
    }
    matrix
}

/// The product of all axes, as they were written.
fn all(axes: &[Axis]) -> Option<Expr> {
    match axes.len() {
        0 => None,
        1 => Some(Expr::Axis(0)),
        n => Some(Expr::Product((0..n).map(Expr::Axis).collect())),
    }
}

fn read_combine(found: &Found<'_>, axes: &[Axis], matrix: &mut Matrix, report: &mut Report) {
    let Some(text) = found.text(report) else { return };
    let names: Vec<&str> = axes.iter().map(|axis| axis.name.as_str()).collect();
    match combine::parse(text, &names) {
        Ok(expr) => matrix.combine = Some(expr),
        Err(wrong) => {
            let column = text[..wrong.offset].chars().count() + 1;
            let message = format!("at character {column} of {}: {}", quoted(text), wrong.message);
            report.add(&found.inside(wrong.offset), message, wrong.remedy);
        }
    }
}

fn read_exclude(found: &Found<'_>, axes: &[Axis], report: &mut Report) -> Vec<Exclude> {
    let Some(items) = found.list(report) else { return Vec::new() };
    let tests =
        items.iter().map(|item| if let Value::Map(entries) = &item.value { entries.len() } else { 1 });
    let tests: usize = tests.sum();
    if tests > TESTS_MAX {
        let message = format!("names {tests} axes in all, more than {TESTS_MAX}");
        report.add(
            &found.place,
            message,
            "list values in one entry, as in '{product: [cap, tote], scene: beach}'",
        );
        return Vec::new();
    }
    let mut finder = Finder { axes, rows: BTreeMap::new() };
    items.iter().enumerate().filter_map(|(at, item)| one(item, at, &mut finder, report)).collect()
}

fn one(item: &Node, at: usize, finder: &mut Finder<'_>, report: &mut Report) -> Option<Exclude> {
    let field = format!("matrix.exclude[{at}]");
    let place = item.place(&*field);
    let Value::Map(entries) = &item.value else {
        report.add(
            &place,
            format!("is {}, must be a map", item.kind()),
            "write '{product: cap, scene: beach}'",
        );
        return None;
    };
    if entries.is_empty() {
        report.add(&place, "names no axis, so it would remove everything", "name axes and values");
        return None;
    }
    let tests: Option<Vec<_>> = entries.iter().map(|entry| test(entry, &field, finder, report)).collect();
    Some(Exclude { place, tests: tests? })
}

fn test(
    entry: &Entry,
    field: &str,
    finder: &mut Finder<'_>,
    report: &mut Report,
) -> Option<(usize, Vec<u32>)> {
    let axes = finder.axes;
    let field = join(field, &entry.key);
    let place = Place { line: entry.line, column: entry.column, field: field.clone() };
    let (name, column) = entry.key.split_once('.').map_or((entry.key.as_str(), None), |(a, c)| (a, Some(c)));
    let Some(number) = axes.iter().position(|axis| axis.name == name) else {
        let remedy = did_you_mean(name, axes.iter().map(|axis| axis.name.as_str()));
        report.add(&place, format!("{} names no axis", quoted(name)), remedy);
        return None;
    };
    let axis = &axes[number];
    if axis.is_broken() {
        return None;
    }
    let column = match column {
        None => None,
        Some(column) => match axis.columns().iter().position(|known| known == column) {
            Some(found) => Some(found),
            None => {
                let remedy = did_you_mean(column, axis.columns().iter().map(String::as_str));
                report.add(&place, format!("axis '{name}' has no column {}", quoted(column)), remedy);
                return None;
            }
        },
    };
    let values = match &entry.node.value {
        Value::List(items) => items.iter().collect(),
        _ => vec![&entry.node],
    };
    let mut numbers = BTreeSet::new();
    for value in values {
        let found = Found { node: value, place: value.place(&*field) };
        let text = found.text(report)?;
        let at = finder.find(number, column, text);
        if report.is_full() {
            return None;
        }
        if at.is_empty() {
            let known: Vec<_> = (0..axis.len().min(1000) as u32).map(|at| axis.text(at)).collect();
            let remedy = match column {
                None => did_you_mean(text, known.iter().map(|text| &**text)),
                Some(_) => "give a value that the column has".to_owned(),
            };
            report.add(&found.place, format!("axis '{name}' has no value {}", quoted(text)), remedy);
        }
        numbers.extend(at);
    }
    Some((number, numbers.into_iter().collect()))
}

/// Finds values by what they are called, each column's in one table that is made when it is first asked for.
struct Finder<'a> {
    axes: &'a [Axis],
    rows: BTreeMap<(usize, usize), BTreeMap<&'a str, Vec<u32>>>,
}

impl Finder<'_> {
    /// The numbers of the values.
    fn find(&mut self, axis: usize, column: Option<usize>, text: &str) -> Vec<u32> {
        let of = &self.axes[axis];
        match &of.values {
            Values::Runs(runs) => {
                let found = text.parse().ok().and_then(|value| runs.find(value));
                found.and_then(|at| u32::try_from(at).ok()).into_iter().collect()
            }
            Values::Rows { id, .. } => {
                let column = column.unwrap_or(*id);
                let rows = self.rows.entry((axis, column)).or_insert_with(|| {
                    let mut rows: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
                    (0..of.len() as u32).for_each(|at| rows.entry(of.cell(at, column)).or_default().push(at));
                    rows
                });
                rows.get(text).cloned().unwrap_or_default()
            }
        }
    }
}
