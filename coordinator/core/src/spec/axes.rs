//! Axes: what varies in a job. Each is a list of values by number, whatever way it was written.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    range::{self, Run, Runs},
    read::{Fields, Found, entries},
    report::{Place, Report, did_you_mean, quoted},
    table::{self, COLUMNS_MAX},
    tree::{Node, Value, join},
};
use crate::plan::TASKS_MAX;

/// Axes of one job.
pub(crate) const AXES_MAX: usize = 16;
const NAME_BYTES_MAX: usize = 63;
/// Names that templates use for something else.
const TAKEN: [&str; 5] = ["show", "job", "layer", "task", "frame"];

#[derive(Debug, Clone)]
pub(crate) struct Axis {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) values: Values,
}

#[derive(Debug, Clone)]
pub(crate) enum Values {
    Runs(Runs),
    Rows {
        /// Empty for plain values.
        columns: Vec<String>,
        /// The column that names a row.
        id: usize,
        /// Row after row, each as wide as `columns`, or one cell.
        cells: Vec<String>,
    },
}

impl Values {
    /// Stands for values that were refused, so that what names them is not refused as well.
    fn broken() -> Self {
        Self::Rows { columns: Vec::new(), id: 0, cells: Vec::new() }
    }
}

impl Axis {
    pub(crate) fn is_broken(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> u64 {
        match &self.values {
            Values::Runs(runs) => runs.len(),
            Values::Rows { columns, cells, .. } => (cells.len() / columns.len().max(1)) as u64,
        }
    }

    /// How the value at `at < len` is called.
    pub(crate) fn text(&self, at: u32) -> Cow<'_, str> {
        match &self.values {
            Values::Runs(runs) => Cow::Owned(runs.value(u64::from(at)).to_string()),
            Values::Rows { id, .. } => Cow::Borrowed(self.cell(at, *id)),
        }
    }

    /// A cell of an axis with columns.
    pub(crate) fn cell(&self, at: u32, column: usize) -> &str {
        match &self.values {
            Values::Runs(_) => unreachable!("templates name columns of axes that have them"),
            Values::Rows { columns, cells, .. } => &cells[at as usize * columns.len().max(1) + column],
        }
    }

    pub(crate) fn columns(&self) -> &[String] {
        match &self.values {
            Values::Runs(_) => &[],
            Values::Rows { columns, .. } => columns,
        }
    }
}

/// Reads all axes. `files` are those sent along; the names of used ones go into `used`.
pub(crate) fn read(
    found: Option<Found<'_>>,
    files: &BTreeMap<String, Vec<u8>>,
    used: &mut BTreeSet<String>,
    report: &mut Report,
) -> Vec<Axis> {
    let Some(found) = found else { return Vec::new() };
    let Some(all) = entries(found.node, "axes", report) else { return Vec::new() };
    if all.len() > AXES_MAX {
        let message = format!("{} axes, more than {AXES_MAX}", all.len());
        report.add(&found.place, message, "put values that go together into the columns of one axis");
        return Vec::new();
    }
    let mut axes = Vec::new();
    for entry in all {
        let field = join("axes", &entry.key);
        let place = Place { line: entry.line, column: entry.column, field: field.clone() };
        if !is_name(&entry.key) {
            let remedy = "use letters, digits, '_' and '-', beginning with a letter";
            report.add(&place, format!("{} is no name for an axis", quoted(&entry.key)), remedy);
        } else if TAKEN.contains(&entry.key.as_str()) {
            let message = format!("'{{{}}}' already means something in templates", entry.key);
            report.add(&place, message, "give the axis another name");
        }
        let mut reader = Reader { files, used, report };
        let values = reader.values(&entry.node, &field).unwrap_or_else(Values::broken);
        let axis = Axis { name: entry.key.clone(), place, values };
        check(&axis, report);
        axes.push(axis);
    }
    axes
}

pub(crate) fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// No value twice; seeds are whole numbers.
fn check(axis: &Axis, report: &mut Report) {
    let Values::Rows { id, .. } = &axis.values else {
        if let Values::Runs(runs) = &axis.values
            && axis.name == "seed"
            && runs.min() < 0
        {
            report.add(
                &axis.place,
                format!("seed {} is below 0", runs.min()),
                "seeds are whole numbers from 0 on",
            );
        }
        return;
    };
    let mut seen = BTreeSet::new();
    for at in 0..axis.len() as u32 {
        let value = axis.cell(at, *id);
        if !seen.insert(value) {
            report.add(&axis.place, format!("has {} twice", quoted(value)), "every value must be named once");
        }
        if axis.name == "seed" && value.parse::<u64>().is_err() {
            report.add(
                &axis.place,
                format!("{} is no seed", quoted(value)),
                "seeds are whole numbers from 0 on",
            );
        }
        if report.is_full() {
            return;
        }
    }
}

struct Reader<'a> {
    files: &'a BTreeMap<String, Vec<u8>>,
    used: &'a mut BTreeSet<String>,
    report: &'a mut Report,
}

impl Reader<'_> {
    fn values(&mut self, node: &Node, field: &str) -> Option<Values> {
        let place = node.place(field);
        match &node.value {
            Value::Null => {
                self.report.add(
                    &place,
                    "has no values",
                    "write a list, '{from: 1, count: 4}' or '{file: x.csv}'",
                );
                None
            }
            Value::Scalar { text, .. } => self.range(text, &place),
            Value::List(items) if items.is_empty() => {
                self.report.add(&place, "has no values", "give one, or leave the axis out");
                None
            }
            Value::List(items) if matches!(items[0].value, Value::Map(_)) => self.rows(items, field),
            Value::List(items) => self.plain(items, field),
            Value::Map(_) => self.made(node, field),
        }
    }

    fn range(&mut self, text: &str, place: &Place) -> Option<Values> {
        match range::parse(text) {
            Ok(runs) => Some(Values::Runs(runs)),
            Err(why) => {
                self.report.add(
                    place,
                    why,
                    "write a range as '1001-1100:2' or '1,3,5-7', or a list as '[a, b]'",
                );
                None
            }
        }
    }

    fn plain(&mut self, items: &[Node], field: &str) -> Option<Values> {
        let cells: Vec<_> = items
            .iter()
            .enumerate()
            .map(|(at, item)| self.cell(item, &format!("{field}[{at}]")).map(str::to_owned))
            .collect();
        Some(Values::Rows { columns: Vec::new(), id: 0, cells: cells.into_iter().collect::<Option<_>>()? })
    }

    fn cell<'n>(&mut self, item: &'n Node, field: &str) -> Option<&'n str> {
        match &item.value {
            Value::Scalar { text, .. } => Some(text),
            _ => {
                let message = format!("is {}, must be one value", item.kind());
                self.report.add(
                    &item.place(field),
                    message,
                    "all values of an axis are plain, or all are maps",
                );
                None
            }
        }
    }

    /// Maps that all have the columns of the first.
    fn rows(&mut self, items: &[Node], field: &str) -> Option<Values> {
        let Value::Map(first) = &items[0].value else { return None };
        let columns: Vec<String> = first.iter().map(|entry| entry.key.clone()).collect();
        let place = items[0].place(format!("{field}[0]"));
        let id = self.id_column(&columns, "id", &place)?;
        let mut cells = Vec::with_capacity(items.len() * columns.len());
        let mut is_good = true;
        for (at, item) in items.iter().enumerate() {
            let field = format!("{field}[{at}]");
            let Value::Map(row) = &item.value else {
                let remedy = "all values of an axis are plain, or all are maps";
                self.report.add(&item.place(&*field), format!("is {}, must be a map", item.kind()), remedy);
                is_good = false;
                continue;
            };
            for entry in row.iter().filter(|entry| !columns.contains(&entry.key)) {
                let place = Place { line: entry.line, column: entry.column, field: join(&field, &entry.key) };
                let remedy = did_you_mean(&entry.key, columns.iter().map(String::as_str));
                self.report.add(&place, format!("the first value has no {}", quoted(&entry.key)), remedy);
                is_good = false;
            }
            for column in &columns {
                match item.get(column).map(|cell| self.cell(cell, &join(&field, column))) {
                    Some(cell) => cells.extend(cell.map(str::to_owned)),
                    None => {
                        let remedy = "give it: all values of an axis have the same columns";
                        self.report.add(&item.place(&*field), format!("has no {}", quoted(column)), remedy);
                    }
                }
            }
        }
        (is_good && cells.len() == items.len() * columns.len()).then_some(Values::Rows { columns, id, cells })
    }

    fn id_column(&mut self, columns: &[String], id: &str, place: &Place) -> Option<usize> {
        if columns.len() > COLUMNS_MAX {
            self.report.add(
                place,
                format!("more than {COLUMNS_MAX} columns"),
                "leave out what no template uses",
            );
            return None;
        }
        let mut seen = BTreeSet::new();
        for column in columns {
            if !is_name(column) || !seen.insert(column) {
                let remedy = "name each column once, by letters, digits, '_' and '-'";
                self.report.add(place, format!("{} cannot name a column here", quoted(column)), remedy);
                return None;
            }
        }
        let found = columns.iter().position(|column| column == id);
        if found.is_none() {
            let message = format!("there is no column {} to name the values by", quoted(id));
            self.report.add(place, message, did_you_mean(id, columns.iter().map(String::as_str)));
        }
        found
    }

    /// `{from, count, step}`, `{range}` or `{file, id}`.
    fn made(&mut self, node: &Node, field: &str) -> Option<Values> {
        let fields = Fields::of(node, field, &["from", "count", "step", "range", "file", "id"], self.report)?;
        let place = node.place(field);
        let [from, range, file] = ["from", "range", "file"].map(|key| fields.get(field, key));
        match (from, range, file) {
            (Some(from), None, None) => {
                let from = from.whole(i64::MIN, i64::MAX, self.report)?;
                let step = match fields.get(field, "step") {
                    Some(step) => step.whole(i64::MIN, i64::MAX, self.report)?,
                    None => 1,
                };
                let Some(count) = fields.get(field, "count") else {
                    self.report.add(&place, "has no count", "write '{from: 1, count: 4}'");
                    return None;
                };
                let at = count.place.clone();
                let count = count.whole(1, TASKS_MAX as i64, self.report)?;
                if step == 0 {
                    self.report.add(&place, "has a step of 0", "leave it out for steps of 1");
                    return None;
                }
                match Runs::new(vec![Run { from, step, count: count.unsigned_abs() }]) {
                    Ok(runs) => Some(Values::Runs(runs)),
                    Err(why) => {
                        self.report.add(&at, why, "give a smaller count");
                        None
                    }
                }
            }
            (None, Some(range), None) => {
                let text = range.text(self.report)?;
                self.range(text, &range.place)
            }
            (None, None, Some(file)) => self.table(&file, fields.get(field, "id")),
            _ => {
                let remedy =
                    "write '{from: 1, count: 4}', '{range: \"1-9:2\"}' or '{file: x.csv, id: column}'";
                self.report.add(&place, "must have one of from, range and file", remedy);
                None
            }
        }
    }

    fn table(&mut self, file: &Found<'_>, id: Option<Found<'_>>) -> Option<Values> {
        let name = file.text(self.report)?;
        self.used.insert(name.to_owned());
        let Some(bytes) = self.files.get(name) else {
            let remedy = "put it beside the spec; a client sends it along";
            self.report.add(&file.place, format!("file {} is not there", quoted(name)), remedy);
            return None;
        };
        let table = match table::read(bytes) {
            Ok(table) => table,
            Err(why) => {
                let remedy = "give a CSV file: a header line, then rows of as many cells";
                self.report.add(&file.place, format!("{}: {why}", quoted(name)), remedy);
                return None;
            }
        };
        let (id, place) = match &id {
            Some(id) => (id.text(self.report)?.to_owned(), &id.place),
            None => (table.columns[0].clone(), &file.place),
        };
        let id = self.id_column(&table.columns, &id, place)?;
        Some(Values::Rows { columns: table.columns, id, cells: table.cells })
    }
}
