//! The matrix kernel: a few rows of A, given by their addresses, times panels of B, summed in registers.
//!
//! Linear layers, convolutions and attention are all this one loop with other row addresses, so it takes rows as
//! pointers and the k of a row as runs of contiguous values. A value of the result is one chain of multiply-adds in
//! the order of k, so neither the cut into tiles nor the number of threads can change it. It never splits k by threads.
#![allow(
    clippy::needless_range_loop,
    reason = "the index names a register of the tile and a column of memory at once"
)]

use super::pack::PANEL;
use super::simd::{Isa, Simd, dispatch};

/// Most rows that a tile keeps in registers: 12 rows by 32 columns are 24 of AVX-512's 32.
pub(crate) const ROWS_MAX: usize = 12;

/// A run of contiguous inputs of each row: `len` values from `row + offset`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) offset: isize,
    pub(crate) len: usize,
}

/// What the sums start from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    Zero,
    /// One value a column, read from here.
    Bias(*const f32),
    /// What the output holds.
    Output,
    /// What the output holds, and one value a column from here.
    OutputAnd(*const f32),
}

/// One call: `out[r][c] = start + sum over k of rows[r][k] * b[k][c]`.
pub(crate) struct Block<'a> {
    pub(crate) rows: &'a [*const f32],
    pub(crate) runs: &'a [Run],
    /// First line of the first panel, at the first k of `runs`.
    pub(crate) b: *const f32,
    /// Values from one panel to the next.
    pub(crate) panel_stride: usize,
    /// Columns to compute, from the first of `b`.
    pub(crate) cols: usize,
    pub(crate) out: *mut f32,
    /// Values from one output row to the next.
    pub(crate) out_stride: usize,
    pub(crate) start: Start,
}

/// Computes the block.
///
/// # Safety
/// All addresses of the block must be good for the lengths that it names, and nobody else may touch the output.
pub(crate) unsafe fn run(isa: Isa, block: &Block<'_>) {
    dispatch!(isa, sweep, (block: &Block<'_>));
}

#[inline(always)]
unsafe fn sweep<V: Simd>(block: &Block<'_>) {
    unsafe {
        if V::LANES == 16 {
            wide::<V>(block);
        } else {
            narrow::<V>(block);
        }
    }
}

/// One vector a panel: two panels at a time, one when a single one is left.
#[inline(always)]
unsafe fn wide<V: Simd>(block: &Block<'_>) {
    let mut col = 0;
    while col < block.cols {
        let mut at = 0;
        while at < block.rows.len() {
            let rows = (block.rows.len() - at).min(ROWS_MAX);
            macro_rules! tiles {
                ($panels:literal: $($n:literal)*) => {
                    match rows {
                        $($n => unsafe { tile::<V, $n, $panels, 1>(block, at, col) },)*
                        _ => unreachable!("a tile has at most ROWS_MAX rows"),
                    }
                };
            }
            if block.cols - col > PANEL {
                tiles!(2: 1 2 3 4 5 6 7 8 9 10 11 12);
            } else {
                tiles!(1: 1 2 3 4 5 6 7 8 9 10 11 12);
            }
            at += rows;
        }
        col += 2 * PANEL;
    }
}

/// Two vectors a panel, one panel and at most six rows at a time: 12 of AVX2's 16 registers.
#[inline(always)]
unsafe fn narrow<V: Simd>(block: &Block<'_>) {
    let mut col = 0;
    while col < block.cols {
        let mut at = 0;
        while at < block.rows.len() {
            let rows = (block.rows.len() - at).min(6);
            unsafe {
                match rows {
                    1 => tile::<V, 1, 1, 2>(block, at, col),
                    2 => tile::<V, 2, 1, 2>(block, at, col),
                    3 => tile::<V, 3, 1, 2>(block, at, col),
                    4 => tile::<V, 4, 1, 2>(block, at, col),
                    5 => tile::<V, 5, 1, 2>(block, at, col),
                    _ => tile::<V, 6, 1, 2>(block, at, col),
                }
            }
            at += rows;
        }
        col += PANEL;
    }
}

/// `MR` rows by `NP` panels of `VP` vectors each.
#[inline(always)]
unsafe fn tile<V: Simd, const MR: usize, const NP: usize, const VP: usize>(
    block: &Block<'_>,
    at: usize,
    col: usize,
) {
    unsafe {
        let rows: [*const f32; MR] = std::array::from_fn(|r| *block.rows.get_unchecked(at + r));
        let out = block.out.add(at * block.out_stride + col);
        let cols = block.cols - col;
        let mut acc = [[[V::splat(0.0); VP]; NP]; MR];
        match block.start {
            Start::Zero => {}
            Start::Bias(bias) => {
                for p in 0..NP {
                    for v in 0..VP {
                        let x = load_some::<V>(bias.add(col), p * PANEL + v * V::LANES, cols);
                        for row in &mut acc {
                            row[p][v] = x;
                        }
                    }
                }
            }
            Start::Output => {
                for (r, row) in acc.iter_mut().enumerate() {
                    for p in 0..NP {
                        for v in 0..VP {
                            row[p][v] =
                                load_some::<V>(out.add(r * block.out_stride), p * PANEL + v * V::LANES, cols);
                        }
                    }
                }
            }
            Start::OutputAnd(bias) => {
                for (r, row) in acc.iter_mut().enumerate() {
                    for p in 0..NP {
                        for v in 0..VP {
                            let from = p * PANEL + v * V::LANES;
                            let held = load_some::<V>(out.add(r * block.out_stride), from, cols);
                            row[p][v] = held.add(load_some::<V>(bias.add(col), from, cols));
                        }
                    }
                }
            }
        }
        let mut b = block.b.add(col / PANEL * block.panel_stride);
        for run in block.runs {
            let a: [*const f32; MR] = std::array::from_fn(|r| rows[r].offset(run.offset));
            for k in 0..run.len {
                let mut line = [[V::splat(0.0); VP]; NP];
                for p in 0..NP {
                    for v in 0..VP {
                        line[p][v] = V::load(b.add(p * block.panel_stride + v * V::LANES));
                    }
                }
                for r in 0..MR {
                    let x = V::splat(*a[r].add(k));
                    for p in 0..NP {
                        for v in 0..VP {
                            acc[r][p][v] = x.fma(line[p][v], acc[r][p][v]);
                        }
                    }
                }
                b = b.add(PANEL);
            }
        }
        for (r, row) in acc.iter().enumerate() {
            for p in 0..NP {
                for v in 0..VP {
                    store_some(row[p][v], out.add(r * block.out_stride), p * PANEL + v * V::LANES, cols);
                }
            }
        }
    }
}

/// The vector at `p + from`, as far as `cols` reaches.
#[inline(always)]
unsafe fn load_some<V: Simd>(p: *const f32, from: usize, cols: usize) -> V {
    unsafe {
        if from + V::LANES <= cols {
            V::load(p.add(from))
        } else if from < cols {
            V::load_n(p.add(from), cols - from)
        } else {
            V::splat(0.0)
        }
    }
}

#[inline(always)]
unsafe fn store_some<V: Simd>(x: V, p: *mut f32, from: usize, cols: usize) {
    unsafe {
        if from + V::LANES <= cols {
            x.store(p.add(from));
        } else if from < cols {
            x.store_n(p.add(from), cols - from);
        }
    }
}
