//! Reading fields out of the tree: known keys only, and each value as what it should be.

use super::{
    report::{Place, Report, did_you_mean, quoted},
    tree::{Entry, Node, Value, join},
};

/// A map of which every key is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    entries: &'a [Entry],
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Found<'a> {
    pub(crate) node: &'a Node,
    pub(crate) place: Place,
}

impl<'a> Fields<'a> {
    /// The map at `field`; keys other than `known` are problems.
    pub(crate) fn of(node: &'a Node, field: &str, known: &[&str], report: &mut Report) -> Option<Self> {
        let entries = entries(node, field, report)?;
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let place = Place { line: entry.line, column: entry.column, field: join(field, &entry.key) };
            let remedy = did_you_mean(&entry.key, known.iter().copied());
            report.add(&place, format!("unknown key {}", quoted(&entry.key)), remedy);
            if report.is_full() {
                break;
            }
        }
        Some(Self { entries })
    }

    /// The value of a key; nothing when it is left out or null.
    pub(crate) fn get(&self, field: &str, key: &str) -> Option<Found<'a>> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        let found = Found { node: &entry.node, place: entry.node.place(join(field, key)) };
        (!matches!(entry.node.value, Value::Null)).then_some(found)
    }
}

/// The entries of a map, whatever their keys; none when it is null.
pub(crate) fn entries<'a>(node: &'a Node, field: &str, report: &mut Report) -> Option<&'a [Entry]> {
    match &node.value {
        Value::Map(entries) => Some(entries),
        Value::Null => Some(&[]),
        _ => {
            report.add(
                &node.place(field),
                format!("is {}, must be a map", node.kind()),
                "write 'key: value' lines",
            );
            None
        }
    }
}

impl<'a> Found<'a> {
    pub(crate) fn text(&self, report: &mut Report) -> Option<&'a str> {
        match &self.node.value {
            Value::Scalar { text, .. } => Some(text),
            _ => {
                report.add(&self.place, format!("is {}, must be text", self.node.kind()), "write one value");
                None
            }
        }
    }

    pub(crate) fn list(&self, report: &mut Report) -> Option<&'a [Node]> {
        match &self.node.value {
            Value::List(items) => Some(items),
            _ => {
                report.add(&self.place, format!("is {}, must be a list", self.node.kind()), "write '[a, b]'");
                None
            }
        }
    }

    /// A whole number in `min..=max`.
    pub(crate) fn whole(&self, min: i64, max: i64, report: &mut Report) -> Option<i64> {
        let text = self.text(report)?;
        let number = text.parse().ok().filter(|n| (min..=max).contains(n));
        if number.is_none() {
            let remedy = format!("write a whole number from {min} to {max}");
            report.add(
                &self.place,
                format!("{} is no whole number from {min} to {max}", quoted(text)),
                remedy,
            );
        }
        number
    }

    /// The place `offset` bytes into the text, as far as it can be shown.
    pub(crate) fn inside(&self, offset: usize) -> Place {
        match &self.node.value {
            Value::Scalar { text, lead: Some(lead) } => {
                let characters = text.get(..offset).map_or(0, |before| before.chars().count());
                self.place.further(lead + characters)
            }
            _ => self.place.clone(),
        }
    }
}
