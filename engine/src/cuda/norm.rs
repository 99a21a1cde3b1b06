//! Norms and what is done in the same pass over a row.

use cudarc::driver::sys::CUdeviceptr;

use super::{Arg, Floats, Gpu, gpu::Shape};
use crate::error::Error;
use crate::kernels::Norm;

/// What happens to a row after it has been normalised.
#[derive(Clone, Copy, Debug)]
pub(crate) enum After {
    Nothing,
    /// Times a weight of the width of a row.
    Weight(CUdeviceptr),
    /// `x (1 + scale) + shift`, the same for all rows.
    Modulate {
        scale: CUdeviceptr,
        shift: CUdeviceptr,
    },
}

impl After {
    fn args(self) -> [Arg<'static>; 3] {
        let (scale, shift, plus) = match self {
            Self::Nothing => (0, 0, 0.0),
            Self::Weight(weight) => (weight, 0, 0.0),
            Self::Modulate { scale, shift } => (scale, shift, 1.0),
        };
        [Arg::At(scale), Arg::At(shift), Arg::Float(plus)]
    }
}

fn kind(norm: Norm) -> [Arg<'static>; 2] {
    match norm {
        Norm::Rms { eps } => [Arg::Int(0), Arg::Float(eps)],
        Norm::Layer { eps } => [Arg::Int(1), Arg::Float(eps)],
        Norm::By { .. } => unreachable!("a factor that is known is a matter of the processor's kernels"),
    }
}

/// Threads for a row: each has one vector of bf16 or more.
fn block(width: usize) -> u32 {
    (width.div_ceil(8).next_multiple_of(32) as u32).clamp(32, 256)
}

/// Normalises `rows` of `width` numbers at `x` into `out`, which may be `x`.
pub(crate) fn norm(
    gpu: &Gpu,
    [x, out]: [CUdeviceptr; 2],
    [rows, width]: [usize; 2],
    norm: Norm,
    after: After,
) -> Result<(), Error> {
    let ([layer, eps], [scale, shift, plus]) = (kind(norm), after.args());
    let args = [Arg::At(x), Arg::At(out), Arg::Int(width as i32), layer, eps, scale, shift, plus];
    gpu.launch_typed("norm", Shape::rows(rows, 1, block(width)), &args)
}

/// What is added to a stream, and how much of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sum {
    /// The stream.
    pub(crate) x: CUdeviceptr,
    pub(crate) y: CUdeviceptr,
    /// f32, as wide as a row; 0 for none.
    pub(crate) gate: CUdeviceptr,
    /// As `gate`; added to `y` first.
    pub(crate) bias: CUdeviceptr,
}

/// Adds, and then normalises the stream into `out` where there is one.
pub(crate) fn add_and_norm(
    gpu: &Gpu,
    sum: Sum,
    [rows, width]: [usize; 2],
    then: Option<(CUdeviceptr, Norm, After)>,
) -> Result<(), Error> {
    let (out, by, after) = then.unwrap_or((0, Norm::Rms { eps: 1.0 }, After::Nothing));
    let ([layer, eps], [scale, shift, plus]) = (kind(by), after.args());
    let Sum { x, y, gate, bias } = sum;
    let args = [
        Arg::At(x),
        Arg::At(y),
        Arg::At(gate),
        Arg::At(bias),
        Arg::At(out),
        Arg::Int(width as i32),
        layer,
        eps,
        scale,
        shift,
        plus,
    ];
    gpu.launch_typed("residual_norm", Shape::rows(rows, 1, block(width)), &args)
}

/// The turns of all positions along each axis, and how tokens lie on the axes.
#[derive(Debug)]
pub(crate) struct Turns {
    /// `(frames + rows + columns, frequencies)` of cosine and sine.
    pub(crate) table: Floats,
    pub(crate) frequencies: usize,
    /// Pairs at the front of a whole row that are not turned.
    pub(crate) still: usize,
    /// Pairs of a whole row before this rank's.
    pub(crate) first: usize,
    pub(crate) size: [usize; 3],
}

/// Queries and keys side by side, or either alone: parts of rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) x: CUdeviceptr,
    pub(crate) rows: usize,
    /// From one row to the next.
    pub(crate) stride: usize,
    pub(crate) width: usize,
    /// One for each part.
    pub(crate) weights: &'a [CUdeviceptr],
}

/// Divides each part of each row by the root of its mean square over `whole` numbers, times its weight, and turns it.
/// `squares (rows, parts)` are the sums that ranks which share a row have put together; 0 where it is whole.
pub(crate) fn rms_turn(
    gpu: &Gpu,
    parts: Parts<'_>,
    whole: usize,
    eps: f32,
    squares: CUdeviceptr,
    turns: Option<&Turns>,
) -> Result<(), Error> {
    let Parts { x, rows, stride, width, weights } = parts;
    let mut args = vec![
        Arg::At(x),
        Arg::Long(stride as i64),
        Arg::At(weights[0]),
        Arg::At(weights.get(1).copied().unwrap_or(0)),
        Arg::Int(width as i32),
        Arg::Int(whole as i32),
        Arg::Float(eps),
        Arg::At(squares),
    ];
    match turns {
        Some(Turns { table, frequencies, still, first, size }) => {
            args.push(Arg::At(table.at()));
            args.extend([*frequencies, *first, *still].into_iter().chain(*size).map(|n| Arg::Int(n as i32)));
        }
        None => {
            args.push(Arg::At(0));
            args.extend([Arg::Int(0); 6]);
        }
    }
    gpu.launch_typed("rms_turn", Shape::rows(rows, weights.len(), block(width)), &args)
}

/// The sum of squares of each part of each row, `(rows, parts)`.
pub(crate) fn squares(gpu: &Gpu, parts: Parts<'_>, sums: CUdeviceptr) -> Result<(), Error> {
    let Parts { x, rows, stride, width, weights } = parts;
    let args = [Arg::At(x), Arg::Long(stride as i64), Arg::At(sums), Arg::Int(width as i32)];
    gpu.launch_typed("squares", Shape::rows(rows, weights.len(), block(width)), &args)
}
