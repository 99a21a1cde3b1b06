//! One tensor as it is stored, turned into f32 when it is used. It does no arithmetic.
#![allow(unsafe_code)]

use std::borrow::Cow;
use std::ops::Range;

use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;

use super::bytes::Bytes;
#[cfg(feature = "cuda")]
use super::stored::Stored;
use crate::error::Error;
use crate::kernels::{self, Packed};

/// A tensor of a model's file. One that comes from a `Source` without data gives empty vectors and weights.
#[derive(Debug)]
pub struct Tensor {
    shape: Vec<usize>,
    dtype: Dtype,
    bytes: Option<(Bytes, Range<usize>)>,
}

impl Tensor {
    pub(super) fn new(shape: Vec<usize>, dtype: Dtype, bytes: Option<(Bytes, Range<usize>)>) -> Self {
        Self { shape, dtype, bytes }
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its bytes as they are stored, of all columns or, of a matrix, of some.
    #[cfg(feature = "cuda")]
    pub(crate) fn stored(self, columns: Option<Range<usize>>) -> Stored {
        let row = self.shape.last().copied().unwrap_or(1);
        let columns = columns.unwrap_or(0..row);
        assert!(columns.end <= row, "columns {columns:?} of {row}");
        Stored {
            dtype: self.dtype,
            rows: self.shape.iter().product::<usize>() / row.max(1),
            row,
            columns,
            bytes: self.bytes,
        }
    }

    /// Its values in f32.
    pub fn into_vec(self) -> Vec<f32> {
        self.consume(|values| values.to_vec())
    }

    /// The outputs `rows` of a linear layer's weight or bias, or of a table: the rest is not read.
    #[must_use]
    pub fn rows(mut self, rows: Range<usize>) -> Self {
        assert!(rows.end <= self.shape[0], "rows {rows:?} of {:?}", self.shape);
        if let Some((_, range)) = &mut self.bytes {
            let row = range.len() / self.shape[0];
            *range = range.start + rows.start * row..range.start + rows.end * row;
        }
        self.shape[0] = rows.len();
        self
    }

    /// The inputs `columns` of a linear layer's weight `(outputs, inputs)`, packed: the rest is not read.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(crate) fn into_linear_columns(self, columns: Range<usize>) -> Result<Packed, Error> {
        let (n, k, width) = (self.shape[0], self.shape[1], self.dtype.bitsize() / 8);
        assert!(columns.end <= k, "columns {columns:?} of {k}");
        let Some((bytes, range)) = self.bytes else { return Ok(Packed::none()) };
        let part = columns.len();
        let mut values = kernels::zeros(n * part, "weights")?;
        let stored = &bytes.get()[range.clone()];
        let rows = values.par_chunks_exact_mut(part.max(1)).zip(stored.par_chunks_exact(k * width));
        rows.for_each(|(out, row)| widen(self.dtype, &row[columns.start * width..columns.end * width], out));
        bytes.release(range);
        Packed::from_linear(&values, n, part)
    }

    /// A linear layer's weight `(outputs, inputs)`, packed for the matrix kernel.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(crate) fn into_linear(self) -> Result<Packed, Error> {
        let (n, k) = (self.shape[0], self.shape[1]);
        if self.bytes.is_none() {
            return Ok(Packed::none());
        }
        self.consume(|values| Packed::from_linear(values, n, k))
    }

    /// A 3-D convolution's weight `(outputs, inputs, time, height, width)`, packed; output `j` of the result is
    /// output `order(j)` of the stored weight.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(crate) fn into_conv3d(self, order: impl Fn(usize) -> usize + Sync) -> Result<Packed, Error> {
        let shape = self.shape.clone();
        if self.bytes.is_none() {
            return Ok(Packed::none());
        }
        self.consume(|values| {
            Packed::from_conv3d(values, shape[0], shape[1], [shape[2], shape[3], shape[4]], order)
        })
    }

    /// Row `row` of a tensor whose rows have `out.len()` values, such as the embedding of one word: only that row is
    /// read. False when there is no such row.
    pub fn row(&self, row: usize, out: &mut [f32]) -> bool {
        let (Some((bytes, range)), width) = (&self.bytes, self.dtype.bitsize() / 8) else { return false };
        let stride = out.len() * width;
        let Some(stored) = bytes.get()[range.clone()].get(row * stride..(row + 1) * stride) else {
            return false;
        };
        widen(self.dtype, stored, out);
        true
    }

    /// Hands the values to `work`, then lets go of the pages that hold the stored form.
    fn consume<T>(self, work: impl FnOnce(&[f32]) -> T) -> T {
        let Some((bytes, range)) = self.bytes else { return work(&[]) };
        let result = work(&values(self.dtype, &bytes.get()[range.clone()]));
        bytes.release(range);
        result
    }
}

/// Stored bytes as f32, without a copy where they are f32 already and lie right.
fn values(dtype: Dtype, stored: &[u8]) -> Cow<'_, [f32]> {
    if dtype == Dtype::F32 && cfg!(target_endian = "little") {
        // SAFETY: every pattern of four bytes is an f32, and `align_to` gives a middle only where it is aligned.
        let (before, middle, after) = unsafe { stored.align_to::<f32>() };
        if before.is_empty() && after.is_empty() {
            return Cow::Borrowed(middle);
        }
    }
    let mut out = vec![0.0; stored.len() / (dtype.bitsize() / 8)];
    let piece = 1 << 16;
    let width = dtype.bitsize() / 8;
    out.par_chunks_mut(piece)
        .zip(stored.par_chunks(piece * width))
        .for_each(|(out, stored)| widen(dtype, stored, out));
    Cow::Owned(out)
}

fn widen(dtype: Dtype, stored: &[u8], out: &mut [f32]) {
    let pairs = stored.as_chunks::<2>().0.iter().zip(out.iter_mut());
    match dtype {
        Dtype::BF16 => pairs.for_each(|(b, o)| *o = bf16::from_le_bytes(*b).to_f32()),
        Dtype::F16 => pairs.for_each(|(b, o)| *o = f16::from_le_bytes(*b).to_f32()),
        _ => stored.as_chunks::<4>().0.iter().zip(out).for_each(|(b, o)| *o = f32::from_le_bytes(*b)),
    }
}
