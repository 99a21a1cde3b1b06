//! Attention without the table of scores, by the kernel that suits the device and the size of a head.

use cudarc::driver::sys::CUdeviceptr;

use super::{Arg, Gpu, gpu::Shape};
use crate::error::Error;
use crate::kernels::Heads;

/// Queries of a block of the general kernel.
const GENERAL_QUERIES: usize = 16;

/// Heads side by side in rows: where they begin, and the numbers from one token, and from one batch, to the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    pub(crate) at: CUdeviceptr,
    pub(crate) token: usize,
    pub(crate) batch: usize,
}

/// What is added to the scaled scores, in f32.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bias {
    None,
    /// One value a key, `(batch, keys)`.
    Keys(CUdeviceptr),
    /// One value a pair, `(heads, queries, keys)`, the same for the whole batch.
    Pairs(CUdeviceptr),
}

/// Queries, keys and values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inputs {
    pub(crate) q: Rows,
    pub(crate) k: Rows,
    pub(crate) v: Rows,
}

/// Writes `softmax(scale q k^T + bias) v` for each head.
pub(crate) fn attention(gpu: &Gpu, size: Heads, inputs: Inputs, out: Rows, bias: Bias) -> Result<(), Error> {
    general(gpu, size, inputs, out, bias)
}

/// Any size of a head, in either precision; one block for each tile of queries of a head.
fn general(gpu: &Gpu, size: Heads, Inputs { q, k, v }: Inputs, out: Rows, bias: Bias) -> Result<(), Error> {
    let (keys, pairs) = match bias {
        Bias::None => (0, 0),
        Bias::Keys(at) => (at, 0),
        Bias::Pairs(at) => (0, at),
    };
    let mut args = [q.at, k.at, v.at, out.at, keys, pairs].map(Arg::At).to_vec();
    args.extend([size.queries, size.keys, size.heads, size.head].map(|n| Arg::Int(n as i32)));
    args.extend(strides([q, k, v, out]));
    args.push(Arg::Float(size.scale));
    let shape = Shape {
        grid: [size.queries.div_ceil(GENERAL_QUERIES) as u32, size.heads as u32, size.batch as u32],
        block: 128,
        shared: 0,
    };
    gpu.launch_typed("attention", shape, &args)
}

/// Of each, from token to token and from batch to batch.
fn strides(of: [Rows; 4]) -> impl Iterator<Item = Arg<'static>> {
    of.into_iter().flat_map(|rows| [Arg::Long(rows.token as i64), Arg::Long(rows.batch as i64)])
}
