//! Attention without the table of scores: keys come in blocks, and a running maximum and sum correct what came before
//! (the online softmax).
//!
//! Query, key and value are read where the projections wrote them, `(batch, tokens, heads * head)`, and the result
//! is written the same way, so nothing is transposed outside. No causal form: no model here asks for it.

use super::gemm::{self, Block, ROWS_MAX, Run, Start};
use super::pack::PANEL;
use super::par::{self, Shared};
use super::simd::{Isa, Simd, dispatch, exp};

/// Queries of a piece: enough to pay for packing the keys, few enough that many pieces keep all threads busy.
const PIECE_QUERIES: usize = 16 * ROWS_MAX;
/// Keys that are scored at once; 12 rows of scores stay in the first-level cache.
const BLOCK_KEYS: usize = 256;

/// The size of one attention.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    pub(crate) batch: usize,
    pub(crate) heads: usize,
    /// Width of a head.
    pub(crate) head: usize,
    pub(crate) queries: usize,
    pub(crate) keys: usize,
    /// What each score is multiplied by, as a rule `1 / sqrt(head)`.
    pub(crate) scale: f32,
}

/// What is added to the scaled scores.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bias<'a> {
    None,
    /// One value a key, `(batch, keys)`: a padding mask.
    Keys(&'a [f32]),
    /// One value a pair, `(heads, queries, keys)`, the same for the whole batch: relative positions.
    Pairs(&'a [f32]),
}

impl<'a> Bias<'a> {
    fn keys(self) -> Option<&'a [f32]> {
        match self {
            Self::Keys(keys) => Some(keys),
            Self::None | Self::Pairs(_) => None,
        }
    }

    fn pairs(self) -> Option<&'a [f32]> {
        match self {
            Self::Pairs(pairs) => Some(pairs),
            Self::None | Self::Keys(_) => None,
        }
    }
}

/// `softmax(scale q k^T + bias) v` for each head.
///
/// `q` and `out` are `(batch, queries, heads * head)`, `k` and `v` are `(batch, keys, heads * head)`.
pub(crate) fn attention(size: Heads, q: &[f32], k: &[f32], v: &[f32], bias: Bias<'_>, out: &mut [f32]) {
    attention_with(Isa::best(), size, q, k, v, bias, out);
}

pub(crate) fn attention_with(
    isa: Isa,
    size: Heads,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    bias: Bias<'_>,
    out: &mut [f32],
) {
    let width = size.heads * size.head;
    assert_eq!(q.len(), size.batch * size.queries * width, "queries of {size:?}");
    assert_eq!(out.len(), q.len(), "an output of {size:?}");
    assert_eq!(k.len(), size.batch * size.keys * width, "keys of {size:?}");
    assert_eq!(v.len(), k.len(), "values of {size:?}");
    assert!(bias.keys().is_none_or(|b| b.len() == size.batch * size.keys), "a key bias of {size:?}");
    assert!(
        bias.pairs().is_none_or(|b| b.len() == size.heads * size.queries * size.keys),
        "a pair bias of {size:?}"
    );
    if out.is_empty() {
        return;
    }
    let pieces = size.queries.div_ceil(PIECE_QUERIES);
    let shared = Shared::new(out);
    par::for_each(size.batch * size.heads * pieces, |piece| {
        let (head, first) = (piece / pieces, piece % pieces * PIECE_QUERIES);
        let (batch, head) = (head / size.heads, head % size.heads);
        let count = PIECE_QUERIES.min(size.queries - first);
        let row = (batch * size.queries + first) * width + head * size.head;
        let task = Task {
            isa,
            size,
            // SAFETY: offsets of an existing batch entry and head inside slices whose lengths were checked.
            q: unsafe { q.as_ptr().add(row) },
            k: unsafe { k.as_ptr().add(batch * size.keys * width + head * size.head) },
            v: unsafe { v.as_ptr().add(batch * size.keys * width + head * size.head) },
            // SAFETY: this piece owns this head of these queries.
            out: unsafe { shared.at(row) },
            key_bias: bias.keys().map(|b| &b[batch * size.keys..][..size.keys]),
            pair_bias: bias
                .pairs()
                .map(|b| &b[(head * size.queries + first) * size.keys..][..count * size.keys]),
            count,
        };
        task.run();
    });
}

/// Some queries of one head.
struct Task<'a> {
    isa: Isa,
    size: Heads,
    q: *const f32,
    k: *const f32,
    v: *const f32,
    out: *mut f32,
    key_bias: Option<&'a [f32]>,
    pair_bias: Option<&'a [f32]>,
    count: usize,
}

impl Task<'_> {
    fn run(&self) {
        let Heads { head, heads, keys, .. } = self.size;
        let width = heads * head;
        let block = BLOCK_KEYS.min(keys.next_multiple_of(PANEL));
        let head_lines = head.next_multiple_of(PANEL);
        let mut packed_k = Lines::new(block * head);
        let mut packed_v = Lines::new(block * head_lines);
        let mut scores = Lines::new(ROWS_MAX * block);
        let mut state = vec![RowState::START; self.count];
        for key0 in (0..keys).step_by(block) {
            let len = block.min(keys - key0);
            // SAFETY: `len` keys from `key0` exist, and the packed blocks have room for `block >= len` of them.
            unsafe {
                let (k, v) = (self.k.add(key0 * width), self.v.add(key0 * width));
                pack_keys(k, width, len, head, packed_k.as_mut_ptr());
                pack_values(v, width, len, head, block, packed_v.as_mut_ptr());
            }
            for row0 in (0..self.count).step_by(ROWS_MAX) {
                let rows = ROWS_MAX.min(self.count - row0);
                // SAFETY: rows `row0..row0 + rows` belong to this task; the scratch has room for a tile of them.
                unsafe {
                    let mut starts = [self.q; ROWS_MAX];
                    for (r, start) in starts[..rows].iter_mut().enumerate() {
                        *start = self.q.add((row0 + r) * width);
                    }
                    gemm::run(
                        self.isa,
                        &Block {
                            rows: &starts[..rows],
                            runs: &[Run { offset: 0, len: head }],
                            b: packed_k.as_mut_ptr(),
                            panel_stride: head * PANEL,
                            cols: len,
                            out: scores.as_mut_ptr(),
                            out_stride: block,
                            start: Start::Zero,
                        },
                    );
                    let mut weigh = Weigh {
                        scale: self.size.scale,
                        key_bias: self.key_bias.map(|b| &b[key0..key0 + len]),
                        pair_bias: self.pair_bias.map(|b| &b[row0 * keys..]),
                        keys,
                        key0,
                        scores: scores.as_mut_ptr(),
                        stride: block,
                        len,
                        state: &mut state[row0..row0 + rows],
                        out: self.out.add(row0 * width),
                        out_stride: width,
                        head,
                    };
                    weigh_scores(self.isa, &mut weigh);
                    for (r, start) in starts[..rows].iter_mut().enumerate() {
                        *start = scores.as_mut_ptr().add(r * block);
                    }
                    gemm::run(
                        self.isa,
                        &Block {
                            rows: &starts[..rows],
                            runs: &[Run { offset: 0, len }],
                            b: packed_v.as_mut_ptr(),
                            panel_stride: block * PANEL,
                            cols: head,
                            out: self.out.add(row0 * width),
                            out_stride: width,
                            start: Start::Output,
                        },
                    );
                }
            }
        }
        for (r, state) in state.iter().enumerate() {
            // SAFETY: row `r` of this head belongs to this task.
            let row = unsafe { std::slice::from_raw_parts_mut(self.out.add(r * width), head) };
            let share = 1.0 / state.sum;
            row.iter_mut().for_each(|x| *x *= share);
        }
    }
}

/// What is known of a row after the keys seen so far.
#[derive(Clone, Copy)]
struct RowState {
    /// Largest score.
    top: f32,
    /// Sum of e^(score - top).
    sum: f32,
}

impl RowState {
    /// The least finite number, so that a row of minus infinities keeps finite differences.
    const START: Self = Self { top: f32::MIN, sum: 0.0 };
}

/// A tile of scores to be turned into weights.
struct Weigh<'a> {
    scale: f32,
    key_bias: Option<&'a [f32]>,
    /// Rows of `keys` values, from the first row of the tile.
    pair_bias: Option<&'a [f32]>,
    keys: usize,
    key0: usize,
    scores: *mut f32,
    stride: usize,
    len: usize,
    state: &'a mut [RowState],
    out: *mut f32,
    out_stride: usize,
    head: usize,
}

unsafe fn weigh_scores(isa: Isa, tile: &mut Weigh<'_>) {
    dispatch!(isa, weigh_body, (tile: &mut Weigh<'_>));
}

/// Scales, biases, updates the maximum, takes exponentials, and shrinks what was summed under the old maximum.
#[inline(always)]
unsafe fn weigh_body<V: Simd>(tile: &mut Weigh<'_>) {
    unsafe {
        let whole = tile.len / V::LANES * V::LANES;
        let tail = tile.len - whole;
        let scale = V::splat(tile.scale);
        for (r, state) in tile.state.iter_mut().enumerate() {
            let row = tile.scores.add(r * tile.stride);
            let pairs = tile.pair_bias.map(|b| b.as_ptr().add(r * tile.keys + tile.key0));
            let keys = tile.key_bias.map(<[f32]>::as_ptr);
            let mut top = V::splat(state.top);
            let mut i = 0;
            while i < whole {
                let mut x = V::load(row.add(i)).mul(scale);
                if let Some(p) = pairs {
                    x = x.add(V::load(p.add(i)));
                }
                if let Some(p) = keys {
                    x = x.add(V::load(p.add(i)));
                }
                x.store(row.add(i));
                top = x.max(top);
                i += V::LANES;
            }
            let mut most = top.largest();
            for i in whole..tile.len {
                let bias = pairs.map_or(0.0, |p| *p.add(i)) + keys.map_or(0.0, |p| *p.add(i));
                *row.add(i) = *row.add(i) * tile.scale + bias;
                most = if *row.add(i) > most { *row.add(i) } else { most };
            }
            let top = V::splat(most);
            let mut sum = V::splat(0.0);
            let mut i = 0;
            while i < whole {
                let x = exp(V::load(row.add(i)).sub(top));
                x.store(row.add(i));
                sum = sum.add(x);
                i += V::LANES;
            }
            let mut total = sum.sum();
            if tail > 0 {
                exp(V::load_n(row.add(whole), tail).sub(top)).store_n(row.add(whole), tail);
                for i in whole..tile.len {
                    total += *row.add(i);
                }
            }
            let out = std::slice::from_raw_parts_mut(tile.out.add(r * tile.out_stride), tile.head);
            if state.sum == 0.0 {
                // The first keys: the output holds nothing yet.
                out.fill(0.0);
            } else if most > state.top {
                let shrink = (state.top - most).exp();
                out.iter_mut().for_each(|x| *x *= shrink);
                state.sum *= shrink;
            }
            *state = RowState { top: most, sum: state.sum + total };
        }
    }
}

/// Scratch whose lines of 16 are aligned to a cache line.
struct Lines(Vec<Line>);

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; PANEL]);

impl Lines {
    fn new(values: usize) -> Self {
        Self(vec![Line([0.0; PANEL]); values.div_ceil(PANEL)])
    }

    fn as_mut_ptr(&mut self) -> *mut f32 {
        self.0.as_mut_ptr().cast()
    }
}

/// `len` keys as panels of 16 keys, `[keys / 16][head][16]`.
unsafe fn pack_keys(k: *const f32, stride: usize, len: usize, head: usize, out: *mut f32) {
    unsafe {
        for panel in 0..len.div_ceil(PANEL) {
            let count = PANEL.min(len - panel * PANEL);
            let lines = out.add(panel * head * PANEL);
            for lane in 0..count {
                let key = k.add((panel * PANEL + lane) * stride);
                for d in 0..head {
                    *lines.add(d * PANEL + lane) = *key.add(d);
                }
            }
        }
    }
}

/// `len` values as panels of 16 of the head's width, `[head / 16][block][16]`.
unsafe fn pack_values(v: *const f32, stride: usize, len: usize, head: usize, block: usize, out: *mut f32) {
    unsafe {
        for panel in 0..head.div_ceil(PANEL) {
            let count = PANEL.min(head - panel * PANEL);
            let lines = out.add(panel * block * PANEL);
            for key in 0..len {
                std::ptr::copy_nonoverlapping(
                    v.add(key * stride + panel * PANEL),
                    lines.add(key * PANEL),
                    count,
                );
            }
        }
    }
}
