//! CSV files that axes name: a header row, then rows of as many cells.

use csv_core::{ReadRecordResult, Reader};

use crate::plan::TASKS_MAX;

/// Columns of one table or of one list of maps.
pub(crate) const COLUMNS_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) columns: Vec<String>,
    /// Row after row.
    pub(crate) cells: Vec<String>,
}

/// Reads the table; the error is in words and begins with the line.
pub(crate) fn read(bytes: &[u8]) -> Result<Table, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = Reader::new();
    let mut table = Table { columns: Vec::new(), cells: Vec::new() };
    let mut left = bytes;
    let mut cells = vec![0; bytes.len()];
    let mut ends = [0; COLUMNS_MAX + 1];
    let (mut written, mut ended) = (0, 0);
    loop {
        let line = reader.line();
        let (result, read, wrote, ends_now) =
            reader.read_record(left, &mut cells[written..], &mut ends[ended..]);
        left = &left[read..];
        written += wrote;
        ended += ends_now;
        match result {
            // All input is at hand: an empty one makes the reader end its last record.
            ReadRecordResult::InputEmpty => {}
            ReadRecordResult::OutputEndsFull => {
                return Err(format!("line {line}: more than {COLUMNS_MAX} columns"));
            }
            ReadRecordResult::OutputFull => return Err(format!("line {line}: a cell without end")),
            ReadRecordResult::End => break,
            ReadRecordResult::Record => {
                take(&mut table, &cells[..written], &ends[..ended], line)?;
                (written, ended) = (0, 0);
            }
        }
    }
    if table.columns.is_empty() {
        return Err("it is empty; its first line must name the columns".to_owned());
    }
    if table.cells.is_empty() {
        return Err("it has no rows under its header".to_owned());
    }
    Ok(table)
}

fn take(table: &mut Table, bytes: &[u8], ends: &[usize], line: u64) -> Result<(), String> {
    if ends.is_empty() {
        return Ok(());
    }
    let mut from = 0;
    let mut row = Vec::with_capacity(ends.len());
    for &end in ends {
        let cell =
            std::str::from_utf8(&bytes[from..end]).map_err(|_| format!("line {line}: not UTF-8 text"))?;
        row.push(cell.to_owned());
        from = end;
    }
    if table.columns.is_empty() {
        table.columns = row.iter().map(|name| name.trim().to_owned()).collect();
        return Ok(());
    }
    let (got, want) = (row.len(), table.columns.len());
    if got != want {
        return Err(format!("line {line}: {got} cells, but the header has {want}"));
    }
    table.cells.append(&mut row);
    if (table.cells.len() / want) as u64 > TASKS_MAX {
        return Err(format!("line {line}: more than {TASKS_MAX} rows"));
    }
    Ok(())
}
