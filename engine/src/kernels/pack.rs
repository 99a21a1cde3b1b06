//! Weights laid out the way the matrix kernel reads them: panels of 16 columns, one line of 16 values a k.
//!
//! Packed once when a model is loaded, in place of the stored form and not beside it. It never changes a value.

use super::{par, room};
use crate::error::Error;

/// Columns of a panel: one AVX-512 vector, two of AVX2.
pub(crate) const PANEL: usize = 16;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([f32; PANEL]);

/// A `(k, n)` matrix in panels, padded with zeros to a whole panel: `[n / 16][k][16]`.
#[derive(Debug)]
pub(crate) struct Packed {
    lines: Vec<Line>,
    k: usize,
    n: usize,
}

impl Packed {
    /// Nothing: what a layer of which only the header was looked at has.
    pub(crate) fn none() -> Self {
        Self { lines: Vec::new(), k: 0, n: 0 }
    }

    /// From `weight` as linear layers store it, `(n, k)`: outputs by inputs.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(crate) fn from_linear(weight: &[f32], n: usize, k: usize) -> Result<Self, Error> {
        assert_eq!(weight.len(), n * k, "a linear weight of {n} x {k}");
        let mut packed = Self::zeros(k, n)?;
        packed.fill(|line, kk, col| line.0[col % PANEL] = weight[col * k + kk]);
        Ok(packed)
    }

    /// From `weight` as 3-D convolutions store it, `(n, c, kt, kh, kw)`, with k running over `(kt, kh, kw, c)`, the
    /// order in which a channels-last input is read.
    ///
    /// Output `j` of the packed form is output `order(j)` of the stored one: an upsampler that spreads its channels
    /// over space can so have them in the order in which they leave.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(crate) fn from_conv3d(
        weight: &[f32],
        n: usize,
        c: usize,
        kernel: [usize; 3],
        order: impl Fn(usize) -> usize + Sync,
    ) -> Result<Self, Error> {
        let taps = kernel.iter().product::<usize>();
        assert_eq!(weight.len(), n * c * taps, "a convolution weight of {n} x {c} x {kernel:?}");
        let mut packed = Self::zeros(taps * c, n)?;
        packed.fill(|line, kk, col| line.0[col % PANEL] = weight[(order(col) * c + kk % c) * taps + kk / c]);
        Ok(packed)
    }

    fn zeros(k: usize, n: usize) -> Result<Self, Error> {
        let (mut lines, count) = (Vec::new(), k * n.div_ceil(PANEL));
        lines.try_reserve_exact(count).map_err(|_| room::none(PANEL * count, "weights"))?;
        lines.resize(count, Line([0.0; PANEL]));
        Ok(Self { lines, k, n })
    }

    fn fill(&mut self, put: impl Fn(&mut Line, usize, usize) + Sync) {
        let (k, n) = (self.k, self.n);
        if k == 0 {
            return;
        }
        let base = Lines(self.lines.as_mut_ptr());
        par::for_each(n.div_ceil(PANEL), |panel| {
            // SAFETY: panel `panel` owns lines `panel * k .. (panel + 1) * k`, and no other piece has that number.
            let lines = unsafe { base.panel(panel, k) };
            for (kk, line) in lines.iter_mut().enumerate() {
                for col in panel * PANEL..n.min((panel + 1) * PANEL) {
                    put(line, kk, col);
                }
            }
        });
    }

    /// Inputs of a row.
    pub(crate) fn k(&self) -> usize {
        self.k
    }

    /// Outputs of a row.
    pub(crate) fn n(&self) -> usize {
        self.n
    }

    /// Where panel 0 begins; panel `p` begins `p * k * 16` values later.
    pub(crate) fn as_ptr(&self) -> *const f32 {
        self.lines.as_ptr().cast()
    }
}

#[derive(Clone, Copy)]
struct Lines(*mut Line);

// SAFETY: each piece of `fill` takes another panel.
unsafe impl Send for Lines {}
// SAFETY: as above.
unsafe impl Sync for Lines {}

impl Lines {
    /// # Safety
    /// The panel must exist and nobody else may hold it.
    unsafe fn panel<'a>(self, panel: usize, k: usize) -> &'a mut [Line] {
        unsafe { std::slice::from_raw_parts_mut(self.0.add(panel * k), k) }
    }
}
