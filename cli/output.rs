//! Standard output: tables for people, tab-separated lines for pipes, versioned JSON for programs.

use std::io::{ErrorKind, IsTerminal, Write};

use serde_json::{Value, json};

use crate::exit::{Exit, Failed};

/// Stands in every JSON answer; what it promises is only added to.
pub(crate) const API_VERSION: &str = "croft.cli/v1";

/// Writes `text` and a line end. A reader that went away ends the command quietly, as it does other programs.
pub(crate) fn line(text: &str) -> Result<(), Failed> {
    const SIGPIPE: u8 = 13;
    match writeln!(std::io::stdout().lock(), "{text}") {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => {
            Err(Failed { exit: Exit::Signal(SIGPIPE), messages: Vec::new() })
        }
        Err(e) => Err(Failed::new(format!("cannot write to standard output: {e}"))),
    }
}

/// Whether a person reads standard output.
pub(crate) fn for_people() -> bool {
    std::io::stdout().is_terminal()
}

/// One JSON document of `kind` with `fields` beside its version.
pub(crate) fn json(kind: &str, fields: Value) -> Result<(), Failed> {
    line(&format!("{:#}", envelope(kind, fields)))
}

/// The same on one line, for streams.
pub(crate) fn json_line(kind: &str, fields: Value) -> Result<(), Failed> {
    line(&envelope(kind, fields).to_string())
}

fn envelope(kind: &str, fields: Value) -> Value {
    let mut document = json!({ "apiVersion": API_VERSION, "kind": kind });
    if let (Value::Object(document), Value::Object(fields)) = (&mut document, fields) {
        document.extend(fields);
    }
    document
}

/// Rows under a heading. The heading is for people only: a pipe gets the rows.
#[derive(Debug)]
pub(crate) struct Table {
    heading: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(heading: &[&'static str]) -> Self {
        Self { heading: heading.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.heading.len(), "a cell for each column");
        self.rows.push(cells.iter().map(|c| clean(c)).collect());
    }

    pub(crate) fn print(&self) -> Result<(), Failed> {
        line_each(&self.lines(for_people()))
    }

    fn lines(&self, aligned: bool) -> Vec<String> {
        if !aligned {
            return self.rows.iter().map(|r| r.join("\t")).collect();
        }
        let heading: Vec<String> = self.heading.iter().map(|h| (*h).to_owned()).collect();
        let all: Vec<&Vec<String>> = std::iter::once(&heading).chain(&self.rows).collect();
        let widths: Vec<usize> = (0..heading.len())
            .map(|i| all.iter().map(|row| row[i].chars().count()).max().unwrap_or(0))
            .collect();
        all.iter()
            .map(|row| {
                let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, &w)| format!("{cell:<w$}")).collect();
                cells.join("  ").trim_end().to_owned()
            })
            .collect()
    }
}

fn line_each(lines: &[String]) -> Result<(), Failed> {
    lines.iter().try_for_each(|l| line(l))
}

/// Text of others made safe for a terminal and for one cell: no control characters.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// `95`, `1.2 s`, `3m04s`, `2h07m`: the two largest units.
pub(crate) fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..10 => format!("{:.1} s", ms as f64 / 1000.0),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// `1.9 GiB`, `9.8 MiB`, `812 B`.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// `6.2B`, `1.9M`, `812`: parameters as the field counts them.
pub(crate) fn count(n: u64) -> String {
    match n {
        0..1_000 => n.to_string(),
        1_000..1_000_000 => format!("{:.1}K", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1}M", n as f64 / 1e6),
        _ => format!("{:.1}B", n as f64 / 1e9),
    }
}

/// Seconds since the Unix epoch as `2026-11-23T15:42:00Z`.
pub(crate) fn utc(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Days from 1970-01-01 to a date; a day that a month does not have counts into the next.
pub(crate) fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let year_of_era = year.rem_euclid(400);
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

/// The Gregorian date, `days` after 1970-01-01. Years are counted from March, so that leap days come last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_gets_rows_without_heading_and_people_get_columns() {
        let mut table = Table::new(&["JOB", "STATE"]);
        table.row(["spring-launch".into(), "RUNNING".into()]);
        table.row(["a".into(), "FAILED".into()]);
        assert_eq!(table.lines(false), ["spring-launch\tRUNNING", "a\tFAILED"]);
        assert_eq!(
            table.lines(true),
            ["JOB            STATE", "spring-launch  RUNNING", "a              FAILED"]
        );
    }

    #[test]
    fn a_cell_cannot_break_its_row_or_drive_the_terminal() {
        let mut table = Table::new(&["PROMPT"]);
        table.row(["a\tb\n\u{1b}[31mc".into()]);
        assert_eq!(table.lines(false), ["a b  [31mc"]);
    }

    #[test]
    fn dates_agree_with_the_calendar() {
        assert_eq!([days(1970, 1, 1), days(2000, 2, 29), days(2026, 11, 23)], [0, 11_016, 20_780]);
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_795_448_615), "2026-11-23T15:43:35Z");
    }

    #[test]
    fn quantities_read_as_people_say_them() {
        assert_eq!(
            [duration(1100), duration(42_000), duration(184_000), duration(7_620_000)],
            ["1.1 s", "42 s", "3m04s", "2h07m"]
        );
        assert_eq!([bytes(812), bytes(1 << 20), bytes(16_000_000_000)], ["812 B", "1.0 MiB", "14.9 GiB"]);
        assert_eq!([count(6_200_000_000), count(1_930_000), count(12)], ["6.2B", "1.9M", "12"]);
    }
}
