//! What a convolution reads: activations with a border of zeros in space.

use std::sync::Arc;

use cudarc::driver::sys::CUdeviceptr;

use crate::cuda::{Arg, Gpu, Numbers};
use crate::error::Error;
use crate::kernels::Volume;
use crate::models::autoencoders::ltx::{DECODING, EPS};

/// Pixels, of all frames and with the border, that the kernels count in 32 bits.
const PIXELS_MAX: usize = 1 << 30;

/// `(frames, height + 2, width + 2, channels)`.
#[derive(Debug)]
pub(super) struct Bordered {
    numbers: Numbers,
    inner: Volume,
}

/// Where the scale and the shift of a norm are, in f32, a number a channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScaleShift {
    pub(super) scale: CUdeviceptr,
    pub(super) shift: CUdeviceptr,
}

impl Bordered {
    /// `x` as it is.
    pub(super) fn copy_of(x: &Numbers, size: Volume) -> Result<Self, Error> {
        Self::made("border", x, size, &[])
    }

    /// Each pixel of `x` divided by the root mean square of its channels, scaled and shifted where there is conditioning, then
    /// SiLU.
    pub(super) fn normed(x: &Numbers, size: Volume, by: Option<ScaleShift>) -> Result<Self, Error> {
        let (scale, shift) = by.map_or((0, 0), |by| (by.scale, by.shift));
        Self::made("norm_silu_border", x, size, &[Arg::Float(EPS), Arg::At(scale), Arg::At(shift)])
    }

    fn made(kernel: &str, x: &Numbers, inner: Volume, more: &[Arg<'_>]) -> Result<Self, Error> {
        let Volume { frames, height, width, channels } = inner;
        assert_eq!(x.len(), inner.len(), "activations of {inner:?}");
        let pixels = frames * (height + 2) * (width + 2);
        if pixels > PIXELS_MAX {
            return Err(Error::BadRequest {
                param: "num_frames".into(),
                message: format!("decoding would go through {pixels} pixels at once, more than {PIXELS_MAX}"),
                remedy: "ask for fewer frames, or decode in tiles".into(),
            });
        }
        let gpu = x.gpu();
        let numbers = Numbers::room(gpu, pixels * channels, DECODING)?;
        let mut args = vec![Arg::At(x.at()), Arg::At(numbers.at())];
        args.extend([frames, height, width, channels].map(|n| Arg::Int(n as i32)));
        args.extend(more);
        gpu.launch_typed(kernel, gpu.spread(numbers.len()), &args)?;
        Ok(Self { numbers, inner })
    }

    /// The size without the border.
    pub(super) fn inner(&self) -> Volume {
        self.inner
    }

    pub(super) fn gpu(&self) -> &Arc<Gpu> {
        self.numbers.gpu()
    }

    pub(super) fn at(&self) -> CUdeviceptr {
        self.numbers.at()
    }

    #[cfg(test)]
    pub(super) fn numbers(&self) -> &Numbers {
        &self.numbers
    }
}
