//! Video activations as the kernels keep them: channels last, `(frames, height, width, channels)`, and a form with a
//! border of zeros in space, from which a convolution reads its windows without gathering them.
//!
//! Time has no border: a causal or a centred convolution repeats the first and last frame by address alone.

use super::par::{self, Shared};
use super::room;
use crate::error::Error;

/// What memory is asked for.
const PADDED: &str = "the input of a convolution";

/// The size of one clip of activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Volume {
    pub(crate) frames: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
}

impl Volume {
    /// Values of one frame.
    pub(crate) fn frame_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Values in all.
    pub(crate) fn len(&self) -> usize {
        self.frames * self.frame_len()
    }
}

/// A volume with `border` rows and columns of zeros around each frame.
#[derive(Debug)]
pub(crate) struct Padded {
    values: Vec<f32>,
    inner: Volume,
    border: [usize; 2],
}

impl Padded {
    /// Room for `inner`, all zero, with `border` rows above and below and columns left and right.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(crate) fn zeros(inner: Volume, border: [usize; 2]) -> Result<Self, Error> {
        let lines = inner.frames * (inner.height + 2 * border[0]);
        let values = room::zeros(lines * (inner.width + 2 * border[1]) * inner.channels, PADDED)?;
        Ok(Self { values, inner, border })
    }

    /// Becomes room for another volume, border zero and inside as it may be, in the memory that it has.
    ///
    /// A decoder runs all its convolutions through one of these: fresh memory for each costs more than the norms.
    ///
    /// # Errors
    /// `OutOfMemory`; it is then of no use.
    pub(crate) fn reshape(&mut self, inner: Volume, border: [usize; 2]) -> Result<(), Error> {
        (self.inner, self.border) = (inner, border);
        let (pitch, plane) = (self.pitch(), self.plane());
        room::resize(&mut self.values, inner.frames * plane, PADDED)?;
        let side = border[1] * inner.channels;
        for frame in self.values.chunks_exact_mut(plane.max(1)) {
            frame[..border[0] * pitch].fill(0.0);
            frame[plane - border[0] * pitch..].fill(0.0);
            for line in frame.chunks_exact_mut(pitch.max(1)) {
                line[..side].fill(0.0);
                line[pitch - side..].fill(0.0);
            }
        }
        Ok(())
    }

    /// Copies `x (frames, height, width, channels)` inside the border.
    pub(crate) fn copy_from(&mut self, x: &[f32]) {
        self.fill(x, |line, out| out.copy_from_slice(line));
    }

    /// A bordered copy of `x (frames, height, width, channels)`.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(crate) fn copy_of(x: &[f32], inner: Volume, border: [usize; 2]) -> Result<Self, Error> {
        let mut padded = Self::zeros(inner, border)?;
        padded.copy_from(x);
        Ok(padded)
    }

    /// Writes `make(line of x, line of the inside)` for every line of pixels, `(width, channels)`.
    pub(crate) fn fill(&mut self, x: &[f32], make: impl Fn(&[f32], &mut [f32]) + Sync) {
        assert_eq!(x.len(), self.inner.len(), "a volume of {:?}", self.inner);
        let line = self.inner.width * self.inner.channels;
        let (pitch, plane) = (self.pitch(), self.plane());
        let inside = self.border[0] * pitch + self.border[1] * self.inner.channels;
        let height = self.inner.height;
        let shared = Shared::new(&mut self.values);
        // Some lines at a time, so that a piece is worth handing over.
        let lines_per_piece = (16_384 / line.max(1)).max(1);
        let lines = self.inner.frames * height;
        par::for_each(lines.div_ceil(lines_per_piece), |piece| {
            for at in piece * lines_per_piece..lines.min((piece + 1) * lines_per_piece) {
                let (t, y) = (at / height, at % height);
                // SAFETY: the inside of line `y` of frame `t` lies in the buffer and belongs to this piece alone.
                let out = unsafe { shared.slice(t * plane + y * pitch + inside, line) };
                make(&x[at * line..(at + 1) * line], out);
            }
        });
    }

    /// The size without the border.
    pub(crate) fn inner(&self) -> Volume {
        self.inner
    }

    pub(crate) fn border(&self) -> [usize; 2] {
        self.border
    }

    /// Values from one line to the next.
    pub(crate) fn pitch(&self) -> usize {
        (self.inner.width + 2 * self.border[1]) * self.inner.channels
    }

    /// Values from one frame to the next.
    pub(crate) fn plane(&self) -> usize {
        (self.inner.height + 2 * self.border[0]) * self.pitch()
    }

    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }
}
