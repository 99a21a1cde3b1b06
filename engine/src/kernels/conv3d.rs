//! 3-D convolution with stride 1, channels last, without an im2col buffer.
//!
//! For one tap in time and one in height, the `kw * channels` inputs of a pixel are contiguous in the bordered input,
//! and the windows of neighbouring pixels overlap: so a pixel is a row of a matrix product given by its address, and
//! the taps are runs at fixed offsets from it. Strides, dilation and groups are not here; no decoder asks for them.

use super::gemm::{self, Block, Run, Start};
use super::pack::{PANEL, Packed};
use super::par::{self, Shared};
use super::simd::Isa;
use super::volume::Padded;

/// Pixels of a piece; a multiple of every tile height.
const PIECE_PIXELS: usize = 96;
/// Inputs that are summed in one pass over a piece, so that two panels of them stay in the second-level cache.
const PASS_K: usize = 2304;

/// How time is continued beyond the clip, always by repeating frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Time {
    /// The first frame before the clip: an output depends on nothing later.
    Causal,
    /// The first frame before and the last after, half of the taps each.
    Centred,
}

/// What becomes of the output's old values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Into {
    /// They are overwritten.
    Replace,
    /// The result is added to them: a residual block ends so.
    Add,
}

/// Convolves `x` with `weight`, packed by [`Packed::from_conv3d`] for `kernel`, and adds `bias`.
///
/// The border of `x` must be half of the kernel in space, so that the output, `(frames, height, width, outputs)`,
/// has the size of the input.
pub(crate) fn conv3d(
    x: &Padded,
    weight: &Packed,
    kernel: [usize; 3],
    time: Time,
    bias: Option<&[f32]>,
    into: Into,
    out: &mut [f32],
) {
    conv3d_with(Isa::best(), x, weight, kernel, time, bias, into, out);
}

#[expect(clippy::too_many_arguments, reason = "the public form and the instruction set to test it on")]
pub(crate) fn conv3d_with(
    isa: Isa,
    x: &Padded,
    weight: &Packed,
    kernel: [usize; 3],
    time: Time,
    bias: Option<&[f32]>,
    into: Into,
    out: &mut [f32],
) {
    let (size, n) = (x.inner(), weight.n());
    let [kt, kh, kw] = kernel;
    let pixels = size.height * size.width;
    assert_eq!(x.border(), [kh / 2, kw / 2], "a border of half of the kernel");
    assert_eq!(weight.k(), kt * kh * kw * size.channels, "a weight for this kernel and these channels");
    assert_eq!(out.len(), size.frames * pixels * n, "an output of {n} channels and the size of the input");
    assert!(bias.is_none_or(|b| b.len() == n), "a bias of {n}");
    if out.is_empty() || weight.k() == 0 {
        return;
    }
    let before = match time {
        Time::Causal => kt - 1,
        Time::Centred => (kt - 1) / 2,
    };
    let passes = passes(kt * kh, kw * size.channels);
    let pieces = pixels.div_ceil(PIECE_PIXELS);
    let shared = Shared::new(out);
    par::for_each(size.frames * pieces, |piece| {
        let (frame, pixel0) = (piece / pieces, piece % pieces * PIECE_PIXELS);
        let count = PIECE_PIXELS.min(pixels - pixel0);
        let mut starts = [x.values().as_ptr(); PIECE_PIXELS];
        for (i, start) in starts[..count].iter_mut().enumerate() {
            let (y, col) = ((pixel0 + i) / size.width, (pixel0 + i) % size.width);
            *start = x.values()[y * x.pitch() + col * size.channels..].as_ptr();
        }
        let mut k0 = 0;
        for pass in &passes {
            let runs: Vec<Run> = pass
                .iter()
                .map(|part| {
                    let source = (frame + part.segment / kh).saturating_sub(before).min(size.frames - 1);
                    let offset = source * x.plane() + part.segment % kh * x.pitch() + part.from;
                    Run { offset: offset as isize, len: part.len }
                })
                .collect();
            let start = match (bias, into) {
                _ if k0 > 0 => Start::Output,
                (Some(bias), Into::Replace) => Start::Bias(bias.as_ptr()),
                (None, Into::Replace) => Start::Zero,
                (Some(bias), Into::Add) => Start::OutputAnd(bias.as_ptr()),
                (None, Into::Add) => Start::Output,
            };
            // SAFETY: the windows of all pixels lie in the bordered input, the panels were checked against the
            // kernel, and this piece owns the outputs of its pixels.
            unsafe {
                gemm::run(
                    isa,
                    &Block {
                        rows: &starts[..count],
                        runs: &runs,
                        b: weight.as_ptr().add(k0 * PANEL),
                        panel_stride: weight.k() * PANEL,
                        cols: n,
                        out: shared.at((frame * pixels + pixel0) * n),
                        out_stride: n,
                        start,
                    },
                );
            }
            k0 += pass.iter().map(|part| part.len).sum::<usize>();
        }
    });
}

/// A part of the contiguous inputs of one (time, height) tap.
#[derive(Clone, Copy, Debug)]
struct Part {
    segment: usize,
    from: usize,
    len: usize,
}

/// Cuts `segments` runs of `len` inputs into passes of at most `PASS_K`, in order.
fn passes(segments: usize, len: usize) -> Vec<Vec<Part>> {
    let mut passes: Vec<Vec<Part>> = Vec::new();
    let mut room = 0;
    for segment in 0..segments {
        for from in (0..len).step_by(PASS_K) {
            let part = Part { segment, from, len: PASS_K.min(len - from) };
            match passes.last_mut() {
                Some(pass) if part.len <= room => pass.push(part),
                _ => {
                    passes.push(vec![part]);
                    room = PASS_K;
                }
            }
            room -= part.len;
        }
    }
    passes
}
