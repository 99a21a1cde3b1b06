//! YAML (of which JSON is a part) as a tree in which every value knows its line and column.
//!
//! Scalars stay text: whoever reads a field says what it should be, so `no` is never false and `1.50` never 1.5 by
//! accident. What makes a text mean something other than it shows is refused: anchors, aliases, merge keys, tags.

use std::collections::{BTreeMap, btree_map};

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use super::report::{Place, Problem, Report, quoted};

/// Fields lie five deep at most.
const DEPTH_MAX: usize = 16;

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) value: Value,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Null,
    Scalar {
        text: String,
        /// Characters between the value's column and its first one (1 for a quote), when the text stands in the source as
        /// it is, so that a place inside it can be shown.
        lead: Option<usize>,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) node: Node,
}

impl Node {
    pub(crate) fn place(&self, field: impl Into<String>) -> Place {
        Place { line: self.line, column: self.column, field: field.into() }
    }

    /// What it is, for a message.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }
}

/// Reads one document. Doubled keys go into `report` and reading goes on; anything else ends it.
pub(crate) fn read(text: &str, report: &mut Report) -> Result<Node, Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder { parser: Parser::new_from_str(text), report };
    let mut root = None;
    loop {
        let (event, span) = builder.next()?;
        match event {
            Event::StreamEnd => break,
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            _ if root.is_some() => {
                return Err(
                    place(&span, "").problem("a second document begins here", "one file holds one job")
                );
            }
            event => root = Some(builder.node(event, &span, "", 0)?),
        }
    }
    root.ok_or_else(|| {
        Place { line: 1, column: 1, field: String::new() }
            .problem("the spec is empty", "begin with 'apiVersion: croft/v1'")
    })
}

struct Builder<'t, 'r> {
    parser: Parser<'t, StrInput<'t>>,
    report: &'r mut Report,
}

impl<'t> Builder<'t, '_> {
    fn next(&mut self) -> Result<(Event<'t>, Span), Problem> {
        match self.parser.next_event() {
            Some(Ok(found)) => Ok(found),
            Some(Err(error)) => {
                let (line, column) = (error.marker().line(), error.marker().col() + 1);
                let place = Place { line: narrow(line), column: narrow(column), field: String::new() };
                let remedy = "check indentation, quotes and brackets here and in the line above";
                Err(place.problem(format!("not YAML: {}", error.info()), remedy))
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'t>, span: &Span, field: &str, depth: usize) -> Result<Node, Problem> {
        let here = place(span, field);
        if depth > DEPTH_MAX {
            return Err(
                here.problem(format!("nested deeper than {DEPTH_MAX}"), "a job spec is flatter than this")
            );
        }
        let value = match event {
            Event::Scalar(text, style, anchor, tag) => {
                plain_node(anchor, tag.is_some(), &here)?;
                let is_plain = style == ScalarStyle::Plain;
                if is_plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
                    Value::Null
                } else {
                    let lead = match style {
                        ScalarStyle::Plain => Some(0),
                        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Some(1),
                        ScalarStyle::Literal | ScalarStyle::Folded => None,
                    };
                    let source = span.end.index().saturating_sub(span.start.index());
                    let lead = lead.filter(|lead| source == text.chars().count() + 2 * lead);
                    Value::Scalar { text: text.into_owned(), lead }
                }
            }
            Event::SequenceStart(anchor, tag) => {
                plain_node(anchor, tag.is_some(), &here)?;
                Value::List(self.list(field, depth)?)
            }
            Event::MappingStart(anchor, tag) => {
                plain_node(anchor, tag.is_some(), &here)?;
                Value::Map(self.map(field, depth)?)
            }
            Event::Alias(_) => return Err(repeats(&here)),
            _ => return Err(here.problem("a value is missing here", "give one, or leave the key out")),
        };
        Ok(Node { line: here.line, column: here.column, value })
    }

    fn list(&mut self, field: &str, depth: usize) -> Result<Vec<Node>, Problem> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(items);
            }
            items.push(self.node(event, &span, &format!("{field}[{}]", items.len()), depth + 1)?);
        }
    }

    fn map(&mut self, field: &str, depth: usize) -> Result<Vec<Entry>, Problem> {
        let mut entries = Vec::new();
        let mut lines = BTreeMap::new();
        loop {
            let (event, span) = self.next()?;
            let (key, at) = match event {
                Event::MappingEnd => return Ok(entries),
                Event::Scalar(key, _, anchor, tag) => {
                    let at = place(&span, &join(field, &key));
                    plain_node(anchor, tag.is_some(), &at)?;
                    (key.into_owned(), at)
                }
                Event::Alias(_) => return Err(repeats(&place(&span, field))),
                _ => return Err(place(&span, field).problem("a key must be a word", "write 'key: value'")),
            };
            if key == "<<" {
                return Err(at.problem("merge keys are not read", "write the merged keys out"));
            }
            let (event, span) = self.next()?;
            let node = self.node(event, &span, &at.field, depth + 1)?;
            match lines.entry(key.clone()) {
                btree_map::Entry::Occupied(first) => {
                    let message =
                        format!("key {} is given twice, first in line {}", quoted(&key), first.get());
                    self.report.add(&at, message, "keep one of them");
                }
                btree_map::Entry::Vacant(vacant) => {
                    vacant.insert(at.line);
                    entries.push(Entry { key, line: at.line, column: at.column, node });
                }
            }
        }
    }
}

fn plain_node(anchor: usize, tagged: bool, place: &Place) -> Result<(), Problem> {
    if anchor != 0 {
        return Err(repeats(place));
    }
    if tagged {
        return Err(place.problem("tags ('!…') are not read", "leave the tag out: fields know their types"));
    }
    Ok(())
}

fn repeats(place: &Place) -> Problem {
    place.problem(
        "anchors and aliases ('&' and '*') are not read",
        "write the value out, or put it into an axis",
    )
}

fn place(span: &Span, field: &str) -> Place {
    Place { line: narrow(span.start.line()), column: narrow(span.start.col() + 1), field: field.to_owned() }
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The path of a key in a field.
pub(crate) fn join(field: &str, key: &str) -> String {
    let key: String = key.chars().take(64).collect();
    if field.is_empty() { key } else { format!("{field}.{key}") }
}
