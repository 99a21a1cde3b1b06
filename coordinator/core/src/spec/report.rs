//! Problems: where they are, what they are, what to do. Reading goes on after one, so that all are told at once.

use std::fmt;

/// Problems told of one spec. Who has more repairs these first.
pub(crate) const PROBLEMS_MAX: usize = 50;
/// Of a value in a message, the characters shown.
const SHOWN_CHARS_MAX: usize = 60;
/// Longer words are no slips of a known one, and comparing them would cost their square.
const WORD_BYTES_MAX: usize = 64;

/// One thing wrong with a spec. `line` 0 stands for a value that `--set` gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Counted from 1.
    pub line: u32,
    /// Counted from 1, in characters.
    pub column: u32,
    /// As `layers[0].params.size`; empty for the text as a whole.
    pub field: String,
    pub message: String,
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, field, message, remedy } = self;
        if *line == 0 {
            f.write_str("--set: ")?;
        } else {
            write!(f, "{line}:{column}: ")?;
        }
        if !field.is_empty() {
            write!(f, "{field}: ")?;
        }
        write!(f, "{message}; {remedy}")
    }
}

/// Where a value stands in the text and in the tree of fields.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Place {
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) field: String,
}

impl Place {
    /// Some characters further on the same line.
    pub(crate) fn further(&self, characters: usize) -> Self {
        let by = if self.line == 0 { 0 } else { u32::try_from(characters).unwrap_or(0) };
        Self { column: self.column + by, ..self.clone() }
    }

    pub(crate) fn problem(&self, message: impl Into<String>, remedy: impl Into<String>) -> Problem {
        Problem {
            line: self.line,
            column: self.column,
            field: shown(self.field.clone()),
            message: shown(message.into()),
            remedy: shown(remedy.into()),
        }
    }
}

/// What a spec says may be anything, and a problem is a line in a terminal and in a log.
fn shown(text: String) -> String {
    if text.contains(char::is_control) { text.replace(char::is_control, "\u{fffd}") } else { text }
}

/// The problems found so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    problems: Vec<Problem>,
}

impl Report {
    pub(crate) fn add(&mut self, place: &Place, message: impl Into<String>, remedy: impl Into<String>) {
        self.push(place.problem(message, remedy));
    }

    /// What a layer takes from another is read for both, and told once.
    pub(crate) fn push(&mut self, problem: Problem) {
        if !self.is_full() && !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.problems.len() >= PROBLEMS_MAX
    }

    /// Passes `value` when there was no problem; otherwise all problems in the order of the text.
    pub(crate) fn conclude<T>(mut self, value: Option<T>) -> Result<T, Vec<Problem>> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => {
                self.problems.sort_by_key(|problem| (problem.line, problem.column));
                assert!(!self.problems.is_empty(), "a spec without a value has a problem");
                Err(self.problems)
            }
        }
    }
}

/// A value of the spec for a message: short, on one line, in quotes.
pub(crate) fn quoted(text: &str) -> String {
    let mut shown: String =
        text.chars().take(SHOWN_CHARS_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    format!("'{shown}'")
}

/// The known word that `word` is probably a slip of.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    // Half of the longer word may differ, but never more than a plural's worth.
    let far = |candidate: &str| (word.chars().count().max(candidate.chars().count()) / 2).min(3);
    known
        .into_iter()
        .filter(|candidate| candidate.len() <= WORD_BYTES_MAX)
        .map(|candidate| {
            (strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase()), candidate)
        })
        .filter(|(distance, candidate)| *distance <= far(candidate))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A remedy for an unknown word: the nearest known one, or some of those there are.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    const LISTED: usize = 16;
    if let Some(near) = nearest(word, known.clone()) {
        return format!("did you mean '{near}'?");
    }
    let mut all = known.into_iter();
    let listed: Vec<&str> = all.by_ref().take(LISTED).collect();
    match (listed.is_empty(), all.next()) {
        (true, _) => "there is none to name".to_owned(),
        (false, None) => format!("known here: {}", listed.join(", ")),
        (false, Some(_)) => format!("known here: {}, …", listed.join(", ")),
    }
}
