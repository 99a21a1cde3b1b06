//! `y = x W^T + b` for row-major `x (rows, k)` and packed weights, and what follows it, done while `y` is in the cache.
//!
//! It never transposes or copies its input.

use super::activation::{gelu_part, silu_part};
use super::gemm::{self, Block, Run, Start};
use super::pack::{PANEL, Packed};
use super::par::{self, Shared};
use super::residual::add_gated;
use super::simd::Isa;

/// Rows of a piece; a multiple of every tile height.
const PIECE_ROWS: usize = 96;
/// Columns of a piece.
const PIECE_COLS: usize = 16 * PANEL;
/// Inputs that are summed in one pass: 96 rows and two panels of 1,024 fill half of a 1 MiB second-level cache.
const PASS_K: usize = 1024;

/// What is done to the product.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Finish<'a> {
    Nothing,
    /// GELU, the tanh form.
    Gelu,
    Silu,
    /// `to + gate * y`, with `to (rows, n)` and `gate (batch, n)`; the rows are shared out evenly over the batch.
    AddTo {
        to: &'a [f32],
        gate: Option<&'a [f32]>,
    },
}

/// Multiplies each row of `x` by the packed weight, adds `bias` if there is one, and finishes.
///
/// `x` is `(rows, k)`, `out` is `(rows, n)`.
pub(crate) fn linear(x: &[f32], weight: &Packed, bias: Option<&[f32]>, finish: Finish<'_>, out: &mut [f32]) {
    linear_with(Isa::best(), x, weight, bias, finish, out);
}

pub(crate) fn linear_with(
    isa: Isa,
    x: &[f32],
    weight: &Packed,
    bias: Option<&[f32]>,
    finish: Finish<'_>,
    out: &mut [f32],
) {
    let (k, n) = (weight.k(), weight.n());
    if n == 0 || k == 0 {
        return;
    }
    let rows = x.len() / k;
    assert_eq!(x.len(), rows * k, "whole rows of {k}");
    assert_eq!(out.len(), rows * n, "{rows} output rows of {n}");
    assert!(bias.is_none_or(|b| b.len() == n), "a bias of {n}");
    finish.check(rows, n);
    let col_pieces = n.div_ceil(PIECE_COLS);
    let shared = Shared::new(out);
    par::for_each(rows.div_ceil(PIECE_ROWS) * col_pieces, |piece| {
        let (row0, col0) = (piece / col_pieces * PIECE_ROWS, piece % col_pieces * PIECE_COLS);
        let (height, cols) = (PIECE_ROWS.min(rows - row0), PIECE_COLS.min(n - col0));
        let mut starts = [x.as_ptr(); PIECE_ROWS];
        for (r, start) in starts[..height].iter_mut().enumerate() {
            *start = x[(row0 + r) * k..].as_ptr();
        }
        for k0 in (0..k).step_by(PASS_K) {
            let start = match bias {
                _ if k0 > 0 => Start::Output,
                Some(bias) => Start::Bias(bias[col0..].as_ptr()),
                None => Start::Zero,
            };
            let runs = [Run { offset: k0 as isize, len: PASS_K.min(k - k0) }];
            // SAFETY: rows, panels and outputs are inside the slices checked above; pieces are disjoint rectangles.
            unsafe {
                gemm::run(
                    isa,
                    &Block {
                        rows: &starts[..height],
                        runs: &runs,
                        b: weight.as_ptr().add(col0 * k + k0 * PANEL),
                        panel_stride: k * PANEL,
                        cols,
                        out: shared.at(row0 * n + col0),
                        out_stride: n,
                        start,
                    },
                );
            }
        }
        for row in row0..row0 + height {
            // SAFETY: this piece owns these columns of this row.
            let y = unsafe { shared.slice(row * n + col0, cols) };
            finish.apply(isa, row, rows, n, col0, y);
        }
    });
}

/// What `linear` does after its product, for a product `y (rows, n)` that was put together elsewhere.
pub(crate) fn finish(y: &mut [f32], n: usize, bias: Option<&[f32]>, finish: Finish<'_>) {
    let (isa, rows) = (Isa::best(), y.len() / n);
    assert_eq!(y.len(), rows * n, "whole rows of {n}");
    assert!(bias.is_none_or(|b| b.len() == n), "a bias of {n}");
    finish.check(rows, n);
    let shared = Shared::new(y);
    par::for_each(rows.div_ceil(PIECE_ROWS), |piece| {
        for row in piece * PIECE_ROWS..rows.min((piece + 1) * PIECE_ROWS) {
            // SAFETY: this piece owns these rows.
            let y = unsafe { shared.slice(row * n, n) };
            if let Some(bias) = bias {
                y.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
            }
            finish.apply(isa, row, rows, n, 0, y);
        }
    });
}

impl Finish<'_> {
    fn check(&self, rows: usize, n: usize) {
        if let Self::AddTo { to, gate } = self {
            assert_eq!(to.len(), rows * n, "a stream of {rows} rows of {n}");
            if let Some(gate) = gate {
                let batch = gate.len() / n;
                assert!(
                    batch * n == gate.len() && batch > 0 && rows.is_multiple_of(batch),
                    "{rows} rows over {batch} gates"
                );
            }
        }
    }

    /// Finishes columns `col0..` of row `row`.
    fn apply(&self, isa: Isa, row: usize, rows: usize, n: usize, col0: usize, y: &mut [f32]) {
        match *self {
            Self::Nothing => {}
            Self::Gelu => gelu_part(isa, y),
            Self::Silu => silu_part(isa, y),
            Self::AddTo { to, gate } => {
                let gate = gate.map(|g| &g[row / (rows * n / g.len()) * n + col0..][..y.len()]);
                add_gated(isa, &to[row * n + col0..][..y.len()], gate, y);
            }
        }
    }
}
