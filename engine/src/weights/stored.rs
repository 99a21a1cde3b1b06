//! A tensor's bytes as a device takes them: in the type in which they are stored, a piece at a time.

use std::ops::Range;

use safetensors::Dtype;

use super::bytes::Bytes;
use crate::error::Error;

/// Some columns of the rows of a tensor.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(super) dtype: Dtype,
    pub(super) rows: usize,
    /// Numbers of a whole row.
    pub(super) row: usize,
    pub(super) columns: Range<usize>,
    pub(super) bytes: Option<(Bytes, Range<usize>)>,
}

impl Stored {
    pub(crate) fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Bytes of a number.
    pub(crate) fn width(&self) -> usize {
        self.dtype.bitsize() / 8
    }

    /// Numbers that are wanted; none of a tensor without data.
    pub(crate) fn len(&self) -> usize {
        if self.bytes.is_some() { self.rows * self.columns.len() } else { 0 }
    }

    /// Copies the bytes from `at` on, counted over what is wanted.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn read(&self, mut at: usize, mut into: &mut [u8]) -> Result<(), Error> {
        let Some((bytes, range)) = &self.bytes else { return Ok(()) };
        let failed = |source| Error::Io { file: "weights".into(), source };
        if self.columns.len() == self.row {
            return bytes.read(range.start + at, into).map_err(failed);
        }
        let (line, width) = (self.columns.len() * self.width(), self.width());
        while !into.is_empty() {
            let (row, skip) = (at / line, at % line);
            let (part, rest) = into.split_at_mut((line - skip).min(into.len()));
            bytes
                .read(range.start + (row * self.row + self.columns.start) * width + skip, part)
                .map_err(failed)?;
            at += part.len();
            into = rest;
        }
        Ok(())
    }
}
