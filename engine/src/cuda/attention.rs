//! Attention without the table of scores, by the kernel that suits the device and the size of a head.

use cudarc::driver::sys::{self, CUdeviceptr};

use super::{Arg, Gpu, Precision, boxes::Boxes, gpu::Shape};
use crate::error::Error;
use crate::kernels::Heads;

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

/// The widest head that a kernel takes.
const HEAD_MAX: usize = 256;

/// Whether `what` can be computed here, whose heads are so wide.
///
/// # Errors
/// `Unsupported`.
pub(crate) fn check(what: &str, head: usize) -> Result<(), Error> {
    if head <= HEAD_MAX {
        return Ok(());
    }
    Err(Error::Unsupported {
        what: format!("{what} with heads {head} wide, more than {HEAD_MAX}, on an NVIDIA device"),
        remedy: "render it on the cores: --devices cpu".into(),
    })
}

/// Writes `softmax(scale q k^T + bias) v` for each head, whose width was checked.
pub(crate) fn attention(gpu: &Gpu, size: Heads, inputs: Inputs, out: Rows, bias: Bias) -> Result<(), Error> {
    let keys = match bias {
        Bias::None => 0,
        Bias::Keys(at) => at,
        Bias::Pairs(pairs) => return general(gpu, size, inputs, out, [0, pairs]),
    };
    let Inputs { q, k, v } = inputs;
    // Tensor cores read 16 bytes at a time.
    let is_even = [q, k, v, out].iter().all(|rows| {
        rows.at.is_multiple_of(16) && rows.token.is_multiple_of(8) && rows.batch.is_multiple_of(8)
    });
    if gpu.precision() != Precision::Bf16 || !is_even || size.keys == 0 {
        return general(gpu, size, inputs, out, [keys, 0]);
    }
    match Hopper::of(size.head, keys != 0).filter(|hopper| gpu.has(hopper.name)) {
        Some(hopper) => hopper.launch(gpu, size, inputs, out, keys),
        None => match Flash::of(size.head, gpu.capability()) {
            Some(flash) => flash.launch(gpu, size, inputs, out, keys),
            None => general(gpu, size, inputs, out, [keys, 0]),
        },
    }
}

/// Lets the kernels have the shared memory that they want.
pub(super) fn prepare(gpu: &Gpu) -> Result<(), Error> {
    for flash in [Flash::HEAD_64, Flash::HEAD_128, Flash::HEAD_128_NARROW] {
        gpu.allow_shared(flash.name, flash.shared())?;
    }
    for hopper in Hopper::ALL {
        gpu.allow_shared(hopper.name, hopper.shared)?;
    }
    for name in ["attention_bf16", "attention_f32"] {
        gpu.allow_shared(name, general_shared(usize::MAX))?;
    }
    Ok(())
}

/// A kernel of flash_sm90.cu: tiles come by tensor map, and as many blocks as there are processors walk over all of them.
struct Hopper {
    name: &'static str,
    head: usize,
    block: u32,
    shared: u32,
    /// Queries of a block, and rows of a box of keys or values.
    queries: usize,
    keys: usize,
    /// How much of a line beside what was asked for comes to the second-level cache.
    promotion: sys::CUtensorMapL2promotion,
}

impl Hopper {
    const ALL: [Self; 4] = [
        Self::new("flash_sm90_128", 128, 384, 214_112, [128, 176]),
        Self::new("flash_sm90_128_bias", 128, 384, 197_760, [128, 128]),
        Self::new("flash_sm90_64", 64, 512, 115_872, [192, 128]),
        Self::new("flash_sm90_64_bias", 64, 384, 99_456, [128, 128]),
    ];

    const fn new(
        name: &'static str,
        head: usize,
        block: u32,
        shared: u32,
        [queries, keys]: [usize; 2],
    ) -> Self {
        let promotion = if head == 128 {
            sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B
        } else {
            sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_128B
        };
        Self { name, head, block, shared, queries, keys, promotion }
    }

    fn of(head: usize, has_bias: bool) -> Option<Self> {
        Self::ALL.into_iter().find(|hopper| hopper.head == head && hopper.name.ends_with("_bias") == has_bias)
    }

    fn launch(
        &self,
        gpu: &Gpu,
        size: Heads,
        Inputs { q, k, v }: Inputs,
        out: Rows,
        bias: CUdeviceptr,
    ) -> Result<(), Error> {
        let Heads { batch, heads, queries, keys, scale, .. } = size;
        let maps = [
            self.map([batch, queries, heads], q, QUERY_BOX)?,
            self.map([batch, keys, heads], k, self.keys)?,
            self.map([batch, keys, heads], v, self.keys)?,
        ];
        let mut args = maps.each_ref().map(Arg::Map).to_vec();
        args.extend([Arg::At(out.at), Arg::At(bias)]);
        args.extend([batch, queries, keys, heads].map(|n| Arg::Int(n as i32)));
        args.extend([out.token, out.batch, keys].map(|n| Arg::Long(n as i64)));
        args.push(Arg::Float(scale));
        let tiles = queries.div_ceil(self.queries) * heads * batch;
        let blocks = tiles.min(gpu.processors() as usize) as u32;
        gpu.launch(self.name, Shape { grid: [blocks, 1, 1], block: self.block, shared: self.shared }, &args)
    }

    /// How tokens by heads by what a head holds lie in memory, and the box of them that comes at once: half of a wide head,
    /// for a line of it is 128 bytes.
    fn map(
        &self,
        [batch, tokens, heads]: [usize; 3],
        at: Rows,
        rows: usize,
    ) -> Result<sys::CUtensorMap, Error> {
        let (dims, strides) = ([self.head, heads, tokens, batch], [self.head, at.token, at.batch]);
        Boxes { at: at.at, dims, strides, lines: [1, rows, 1], promotion: self.promotion }.map()
    }
}

/// Queries come in boxes of as many rows as a group of warps multiplies.
const QUERY_BOX: usize = 64;

/// A kernel of flash_sm80.cu.
struct Flash {
    name: &'static str,
    head: usize,
    queries: usize,
    keys: usize,
}

impl Flash {
    const HEAD_64: Self = Self { name: "flash_sm80_64_bf16", head: 64, queries: 128, keys: 64 };
    const HEAD_128: Self = Self { name: "flash_sm80_128_bf16", head: 128, queries: 128, keys: 64 };
    const HEAD_128_NARROW: Self =
        Self { name: "flash_sm80_128_narrow_bf16", head: 128, queries: 128, keys: 32 };

    fn of(head: usize, capability: u32) -> Option<Self> {
        match head {
            64 => Some(Self::HEAD_64),
            // Two blocks are to fit in the shared memory of a processor: 164 KiB and more there, 100 elsewhere.
            128 if matches!(capability, 80 | 90..120) => Some(Self::HEAD_128),
            128 => Some(Self::HEAD_128_NARROW),
            _ => None,
        }
    }

    fn shared(&self) -> u32 {
        ((self.queries + 2 * self.keys) * self.head * 2) as u32
    }

    fn launch(
        &self,
        gpu: &Gpu,
        size: Heads,
        Inputs { q, k, v }: Inputs,
        out: Rows,
        bias: CUdeviceptr,
    ) -> Result<(), Error> {
        let mut args = [q.at, k.at, v.at, out.at, bias].map(Arg::At).to_vec();
        args.extend([size.queries, size.keys, size.heads].map(|n| Arg::Int(n as i32)));
        args.extend(strides([q, k, v, out]));
        args.push(Arg::Float(size.scale));
        let grid = [size.queries.div_ceil(self.queries) as u32, size.heads as u32, size.batch as u32];
        gpu.launch(self.name, Shape { grid, block: 128, shared: self.shared() }, &args)
    }
}

/// Any size of a head up to `HEAD_MAX`, in either precision; one block for each tile of queries of a head.
fn general(
    gpu: &Gpu,
    size: Heads,
    Inputs { q, k, v }: Inputs,
    out: Rows,
    [keys, pairs]: [CUdeviceptr; 2],
) -> Result<(), Error> {
    let mut args = [q.at, k.at, v.at, out.at, keys, pairs].map(Arg::At).to_vec();
    args.extend([size.queries, size.keys, size.heads, size.head].map(|n| Arg::Int(n as i32)));
    args.extend(strides([q, k, v, out]));
    args.push(Arg::Float(size.scale));
    let grid = [size.queries.div_ceil(GENERAL_QUERIES) as u32, size.heads as u32, size.batch as u32];
    gpu.launch_typed("attention", Shape { grid, block: 128, shared: general_shared(size.head) }, &args)
}

/// Queries of a block of the general kernel.
const GENERAL_QUERIES: usize = 16;

/// What attention.cu says that it wants.
fn general_shared(head: usize) -> u32 {
    let width: u32 = match head {
        0..=64 => 64,
        65..=128 => 128,
        _ => 256,
    };
    4 * (16 * width + 32 * (width + 1) + 16 * 32)
}

/// Of each, from token to token and from batch to batch.
fn strides(of: [Rows; 4]) -> impl Iterator<Item = Arg<'static>> {
    of.into_iter().flat_map(|rows| [Arg::Long(rows.token as i64), Arg::Long(rows.batch as i64)])
}
