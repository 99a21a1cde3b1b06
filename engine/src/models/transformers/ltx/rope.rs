//! Where each token is in time and space, as the sines and cosines that turn queries and keys.
//!
//! All in f32 with the roundings of diffusers: the highest frequencies turn thousands of radians, so that a rounding
//! of the frequency shows in the angle.

use std::f64::consts::PI;
use std::ops::Range;

use crate::error::Error;
use crate::kernels::{self, Turns};

/// Positions are told as shares of a clip of these frames, height and width.
const BASE: [f32; 3] = [20.0, 2048.0, 2048.0];
const THETA: f64 = 10_000.0;

/// The tokens of a clip.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// Frames, rows and columns of latents.
    pub size: [usize; 3],
    /// Seconds and pixels from one latent to the next.
    pub step: [f64; 3],
}

/// `cos` and `sin`, each `(tokens, width)`.
#[derive(Debug)]
pub struct Rope {
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Rope {
    /// The turns of all tokens of `grid` for a stream of `width`. A remainder of `width` over six is not turned.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(grid: Grid, width: usize) -> Result<Self, Error> {
        let frequencies = frequencies(width / 6);
        let [frames, rows, columns] = grid.size;
        let tokens = frames * rows * columns;
        let room = || kernels::room(tokens * width, "the turns of all tokens");
        let (mut cos, mut sin) = (room()?, room()?);
        let still = width % 6;
        for token in 0..tokens {
            let at = [token / (rows * columns), token / columns % rows, token % columns];
            let share: [f32; 3] =
                std::array::from_fn(|axis| at[axis] as f32 * grid.step[axis] as f32 / BASE[axis]);
            cos.extend(std::iter::repeat_n(1.0, still));
            sin.extend(std::iter::repeat_n(0.0, still));
            for frequency in &frequencies {
                for share in share {
                    let (s, c) = (frequency * (share * 2.0 - 1.0)).sin_cos();
                    cos.extend([c, c]);
                    sin.extend([s, s]);
                }
            }
        }
        Ok(Self { cos, sin })
    }

    /// The same for the `columns` of a stream of `width` alone.
    #[must_use]
    pub fn columns(self, width: usize, columns: Range<usize>) -> Self {
        if columns.len() == width {
            return self;
        }
        let part = |all: &[f32]| -> Vec<f32> {
            all.chunks_exact(width).flat_map(|row| row[columns.clone()].iter().copied()).collect()
        };
        Self { cos: part(&self.cos), sin: part(&self.sin) }
    }

    pub(super) fn turns(&self) -> Turns<'_> {
        Turns { cos: &self.cos, sin: &self.sin }
    }

    /// `(tokens, width)`.
    pub fn cos(&self) -> &[f32] {
        &self.cos
    }

    /// `(tokens, width)`.
    pub fn sin(&self) -> &[f32] {
        &self.sin
    }
}

/// Cosine and sine of every frequency at every position along each axis, `(frames + rows + columns, frequencies, 2)`: pair `i`
/// of a row that is turned has frequency `i / 3` and is turned by the position along axis `i % 3`.
#[cfg(feature = "cuda")]
pub(crate) fn axis_turns(grid: Grid, width: usize) -> Vec<f32> {
    let frequencies = frequencies(width / 6);
    let mut table = Vec::new();
    for ((size, step), base) in grid.size.into_iter().zip(grid.step).zip(BASE) {
        for at in 0..size {
            let share = at as f32 * step as f32 / base;
            for frequency in &frequencies {
                let (sin, cos) = (frequency * (share * 2.0 - 1.0)).sin_cos();
                table.extend([cos, sin]);
            }
        }
    }
    table
}

/// From a quarter turn to `THETA` times as much, evenly on a logarithmic scale.
fn frequencies(count: usize) -> Vec<f32> {
    let by = 1.0 / (count.max(2) - 1) as f32;
    (0..count)
        .map(|i| {
            // As torch.linspace: from whichever end is nearer, rounded once.
            let from_end = || (-by).mul_add((count - 1 - i) as f32, 1.0);
            let exponent = if i < count / 2 { i as f32 * by } else { from_end() };
            let exponent = if count == 1 { 0.0 } else { exponent };
            THETA.powf(f64::from(exponent)) as f32 * PI as f32 / 2.0
        })
        .collect()
}
