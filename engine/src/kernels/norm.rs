//! RMS and layer normalisation over the last dimension, with what follows them in the models done in the same pass:
//! a learned weight, the shift and scale of AdaLN, SiLU, and the rotary turn of queries and keys.
//!
//! Sums run over one row in an order that its width alone decides.

use super::activation::{Curve, Silu};
use super::par::{self, Shared};
use super::simd::{Isa, Simd, dispatch};
use super::volume::Padded;

/// Values of a piece, in whole rows.
const PIECE: usize = 16_384;

/// How rows are brought to size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Norm {
    /// Divided by the root of the mean square.
    Rms { eps: f32 },
    /// Less the mean, then divided by the standard deviation.
    Layer { eps: f32 },
    /// Times a factor that is known already.
    By { factor: f32 },
}

/// What happens to a row after it has been normalised.
#[derive(Clone, Copy, Debug)]
pub(crate) enum After<'a> {
    Nothing,
    /// Times a weight of the width of a row.
    Weight(&'a [f32]),
    /// `x (1 + scale) + shift`: AdaLN. Each is `(batch, width)`; the rows are shared out evenly over the batch.
    Modulate {
        scale: &'a [f32],
        shift: &'a [f32],
    },
}

impl After<'_> {
    /// The vectors for row `row` of `rows`: factor and offset, and what is added to the factor.
    fn vectors(&self, row: usize, rows: usize, width: usize) -> Vectors {
        match *self {
            Self::Nothing => Vectors { factor: None, plus: 0.0, offset: None },
            Self::Weight(weight) => Vectors { factor: Some(weight.as_ptr()), plus: 0.0, offset: None },
            Self::Modulate { scale, shift } => {
                let at = row / (rows * width / scale.len()) * width;
                Vectors { factor: Some(scale[at..].as_ptr()), plus: 1.0, offset: Some(shift[at..].as_ptr()) }
            }
        }
    }

    fn check(&self, rows: usize, width: usize) {
        match *self {
            Self::Nothing => {}
            Self::Weight(weight) => assert_eq!(weight.len(), width, "a weight of the width of a row"),
            Self::Modulate { scale, shift } => {
                assert_eq!(scale.len(), shift.len(), "scale and shift of one size");
                let batch = scale.len() / width;
                assert!(
                    batch * width == scale.len() && batch > 0 && rows.is_multiple_of(batch),
                    "{rows} rows over {batch} entries"
                );
            }
        }
    }
}

/// Normalises each row of `width` values of `x` and applies `after`, into `out`.
pub(crate) fn norm(x: &[f32], width: usize, norm: Norm, after: After<'_>, out: &mut [f32]) {
    norm_with(Isa::best(), x, width, norm, after, out);
}

pub(crate) fn norm_with(isa: Isa, x: &[f32], width: usize, norm: Norm, after: After<'_>, out: &mut [f32]) {
    let rows = rows_of(x, width);
    assert_eq!(out.len(), x.len(), "an output of the size of the input");
    after.check(rows, width);
    by_rows(rows, width, out, |row, out| {
        run(
            isa,
            Row {
                x: x[row * width..].as_ptr(),
                out: out.as_mut_ptr(),
                width,
                norm,
                silu: false,
                after: after.vectors(row, rows, width),
            },
        );
    });
}

/// The step before each convolution of the video decoders, done while its bordered input is written: each pixel
/// divided by the root mean square of its channels, `x (1 + scale) + shift` where there is conditioning, then SiLU.
///
/// `x` is `(frames, height, width, channels)`; its batch is one.
pub(crate) fn norm_silu_into(x: &[f32], norm: Norm, after: After<'_>, out: &mut Padded) {
    norm_silu_into_with(Isa::best(), x, norm, after, out);
}

pub(crate) fn norm_silu_into_with(isa: Isa, x: &[f32], norm: Norm, after: After<'_>, out: &mut Padded) {
    let width = out.inner().channels;
    after.check(1, width);
    let vectors = after.vectors(0, 1, width);
    out.fill(x, |line, out| {
        for (x, out) in line.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            run(isa, Row { x: x.as_ptr(), out: out.as_mut_ptr(), width, norm, silu: true, after: vectors });
        }
    });
}

/// The turn of pairs: `(a, b)` at `2i` becomes `(a cos - b sin, b cos + a sin)` with the values of `cos` and `sin` at `2i`
/// and `2i + 1`. Each is `(tokens, width)`, the same for every batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turns<'a> {
    pub(crate) cos: &'a [f32],
    pub(crate) sin: &'a [f32],
}

/// Where the mean square of a row comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mean<'a> {
    /// The row itself.
    OfRow,
    /// A sum of squares for each row, over rows of `width` of which these are parts.
    OfWhole { squares: &'a [f32], width: usize },
}

/// `x = x * rsqrt(mean(x^2) + eps) * weight`, then turned where there are turns. In place.
///
/// `x` is `(batch, tokens, width)`.
pub(crate) fn rms_norm(x: &mut [f32], weight: &[f32], eps: f32, mean: Mean<'_>, turns: Option<Turns<'_>>) {
    rms_norm_with(Isa::best(), x, weight, eps, mean, turns);
}

pub(crate) fn rms_norm_with(
    isa: Isa,
    x: &mut [f32],
    weight: &[f32],
    eps: f32,
    mean: Mean<'_>,
    turns: Option<Turns<'_>>,
) {
    let width = weight.len();
    let rows = rows_of(x, width);
    if let Some(Turns { cos, sin }) = turns {
        let tokens = rows_of(cos, width);
        assert_eq!(cos.len(), sin.len(), "cos and sin of one size");
        assert!(tokens > 0 && rows.is_multiple_of(tokens), "{rows} rows of {tokens} tokens");
        assert!(width.is_multiple_of(2), "pairs: an even width");
    }
    if let Mean::OfWhole { squares, width: whole } = mean {
        assert!(squares.len() == rows && whole >= width, "a sum for each of {rows} rows");
    }
    by_rows(rows, width, x, |row, x| {
        let norm = match mean {
            Mean::OfRow => Norm::Rms { eps },
            Mean::OfWhole { squares, width } => {
                Norm::By { factor: 1.0 / (squares[row] / width as f32 + eps).sqrt() }
            }
        };
        let after = After::Weight(weight).vectors(row, rows, width);
        run(isa, Row { x: x.as_ptr(), out: x.as_mut_ptr(), width, norm, silu: false, after });
        if let Some(Turns { cos, sin }) = turns {
            let at = row * width % cos.len();
            turn(isa, x, &cos[at..at + width], &sin[at..at + width]);
        }
    });
}

/// The sum of squares of each row of `width`.
pub(crate) fn squares(x: &[f32], width: usize) -> Vec<f32> {
    let isa = Isa::best();
    let mut sums = vec![0.0; rows_of(x, width)];
    by_rows(sums.len(), 1, &mut sums, |row, sum| square(isa, &x[row * width..(row + 1) * width], sum));
    sums
}

fn rows_of(x: &[f32], width: usize) -> usize {
    assert!(width > 0 && x.len().is_multiple_of(width), "whole rows of {width}");
    x.len() / width
}

/// Hands `work` each row of `out`.
fn by_rows(rows: usize, width: usize, out: &mut [f32], work: impl Fn(usize, &mut [f32]) + Sync) {
    let per_piece = (PIECE / width).max(1);
    let shared = Shared::new(out);
    par::for_each(rows.div_ceil(per_piece), |piece| {
        for row in piece * per_piece..rows.min((piece + 1) * per_piece) {
            // SAFETY: row `row` lies in the output and belongs to this piece alone.
            work(row, unsafe { shared.slice(row * width, width) });
        }
    });
}

#[derive(Clone, Copy)]
struct Vectors {
    factor: Option<*const f32>,
    plus: f32,
    offset: Option<*const f32>,
}

// SAFETY: the pointers are to slices that outlive the call and are only read.
unsafe impl Send for Vectors {}
// SAFETY: as above.
unsafe impl Sync for Vectors {}

/// One row to normalise; `out` may be `x`.
#[derive(Clone, Copy)]
struct Row {
    x: *const f32,
    out: *mut f32,
    width: usize,
    norm: Norm,
    silu: bool,
    after: Vectors,
}

fn run(isa: Isa, row: Row) {
    dispatch!(isa, row_body, (row: Row));
}

fn square(isa: Isa, x: &[f32], sum: &mut [f32]) {
    dispatch!(isa, square_body, (x: &[f32], sum: &mut [f32]));
}

fn turn(isa: Isa, x: &mut [f32], cos: &[f32], sin: &[f32]) {
    dispatch!(isa, turn_body, (x: &mut [f32], cos: &[f32], sin: &[f32]));
}

#[inline(always)]
unsafe fn row_body<V: Simd>(row: Row) {
    unsafe {
        let (mean, share) = match row.norm {
            Norm::Rms { eps } => {
                (0.0, 1.0 / (sum_of_squares::<V>(row.x, row.width, 0.0) / row.width as f32 + eps).sqrt())
            }
            Norm::Layer { eps } => {
                let mean = sum::<V>(row.x, row.width) / row.width as f32;
                (mean, 1.0 / (sum_of_squares::<V>(row.x, row.width, mean) / row.width as f32 + eps).sqrt())
            }
            Norm::By { factor } => (0.0, factor),
        };
        let mut i = 0;
        while i < row.width {
            let n = V::LANES.min(row.width - i);
            let mut x = some::<V>(row.x.add(i), n).sub(V::splat(mean)).mul(V::splat(share));
            if let Some(factor) = row.after.factor {
                let factor = some::<V>(factor.add(i), n).add(V::splat(row.after.plus));
                x = match row.after.offset {
                    Some(offset) => x.fma(factor, some::<V>(offset.add(i), n)),
                    None => x.mul(factor),
                };
            }
            if row.silu {
                x = Silu::at(x);
            }
            if n == V::LANES {
                x.store(row.out.add(i))
            } else {
                x.store_n(row.out.add(i), n)
            }
            i += V::LANES;
        }
    }
}

#[inline(always)]
unsafe fn square_body<V: Simd>(x: &[f32], sum: &mut [f32]) {
    sum[0] = unsafe { sum_of_squares::<V>(x.as_ptr(), x.len(), 0.0) };
}

#[inline(always)]
unsafe fn some<V: Simd>(p: *const f32, n: usize) -> V {
    unsafe { if n == V::LANES { V::load(p) } else { V::load_n(p, n) } }
}

#[inline(always)]
unsafe fn sum<V: Simd>(p: *const f32, len: usize) -> f32 {
    unsafe {
        let mut acc = V::splat(0.0);
        let mut i = 0;
        while i < len {
            acc = acc.add(some::<V>(p.add(i), V::LANES.min(len - i)));
            i += V::LANES;
        }
        acc.sum()
    }
}

/// Sum of `(x - mean)^2`.
#[inline(always)]
unsafe fn sum_of_squares<V: Simd>(p: *const f32, len: usize, mean: f32) -> f32 {
    unsafe {
        let mean_v = V::splat(mean);
        let (mut even, mut odd) = (V::splat(0.0), V::splat(0.0));
        let mut i = 0;
        while i + 2 * V::LANES <= len {
            let a = V::load(p.add(i)).sub(mean_v);
            let b = V::load(p.add(i + V::LANES)).sub(mean_v);
            even = a.fma(a, even);
            odd = b.fma(b, odd);
            i += 2 * V::LANES;
        }
        let mut total = 0.0;
        if i + V::LANES <= len {
            let a = V::load(p.add(i)).sub(mean_v);
            even = a.fma(a, even);
            i += V::LANES;
        }
        while i < len {
            let a = *p.add(i) - mean;
            total += a * a;
            i += 1;
        }
        even.add(odd).sum() + total
    }
}

#[inline(always)]
unsafe fn turn_body<V: Simd>(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    unsafe {
        let (len, p) = (x.len(), x.as_mut_ptr());
        let mut i = 0;
        while i < len {
            let n = V::LANES.min(len - i);
            let v = some::<V>(p.add(i), n);
            let turned = v.swap_pairs().negate_even();
            let y = turned.fma(some::<V>(sin.as_ptr().add(i), n), v.mul(some::<V>(cos.as_ptr().add(i), n)));
            if n == V::LANES {
                y.store(p.add(i))
            } else {
                y.store_n(p.add(i), n)
            }
            i += V::LANES;
        }
    }
}
