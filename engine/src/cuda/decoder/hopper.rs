//! The convolution's kernels for Hopper: pixels and weights come by tensor map.

use cudarc::driver::sys::{CUdeviceptr, CUtensorMapL2promotion};

use crate::cuda::{Arg, Gpu, Precision, boxes::Boxes, gpu::Shape};
use crate::error::Error;
use crate::kernels::Volume;

/// Channels that are copied at once.
const SLICE: usize = 64;
const TAPS: usize = 27;

/// A kernel of conv3d_sm90.cu.
#[derive(Clone, Copy, Debug)]
struct Kernel {
    name: &'static str,
    /// What a block makes at a time.
    pixels: usize,
    outputs: usize,
    shared: u32,
    /// How long a product takes in it, against the fastest; measured on an H200.
    percent: usize,
}

const KERNELS: [Kernel; 3] = [
    Kernel { name: "conv3d_sm90_128_256", pixels: 128, outputs: 256, shared: 226_432, percent: 105 },
    Kernel { name: "conv3d_sm90_256_128", pixels: 256, outputs: 128, shared: 226_464, percent: 100 },
    Kernel { name: "conv3d_sm90_128_128", pixels: 128, outputs: 128, shared: 214_208, percent: 110 },
];
/// For pixels in f32.
const FRAMES: Kernel =
    Kernel { name: "conv3d_sm90_256_48", pixels: 256, outputs: 48, shared: 228_544, percent: 100 };

/// Lets the kernels use the shared memory that they need.
pub(super) fn prepare(gpu: &Gpu) -> Result<(), Error> {
    for kernel in KERNELS.iter().chain([&FRAMES]) {
        gpu.allow_shared(kernel.name, kernel.shared)?;
    }
    Ok(())
}

/// A kernel, and how it cuts a clip.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hopper {
    kernel: Kernel,
    /// A box is `1 << line_bits` pixels wide.
    line_bits: usize,
    tiles: usize,
}

impl Hopper {
    /// What is fastest for a clip of `size`, if the device has it and it can do these: `together` of the outputs stay side by
    /// side, in pixels of f32 where `frames`.
    pub(super) fn of(gpu: &Gpu, size: Volume, outputs: usize, together: usize, frames: bool) -> Option<Self> {
        let kernels: &[Kernel] = if frames { &[FRAMES] } else { &KERNELS };
        let fits = match frames {
            true => outputs <= FRAMES.outputs && together.is_multiple_of(2),
            false => together.is_multiple_of(8),
        };
        if gpu.precision() != Precision::Bf16 || !size.channels.is_multiple_of(SLICE) || !fits {
            return None;
        }
        Self::fastest(kernels, size, outputs, gpu.processors() as usize)
            .filter(|hopper| gpu.has(hopper.kernel.name))
    }

    /// All processors work on one tile each at a time.
    fn fastest(kernels: &[Kernel], size: Volume, outputs: usize, processors: usize) -> Option<Self> {
        let cuts = kernels.iter().flat_map(|&kernel| {
            [3, 4].map(|line_bits| {
                let (width, height) = (1 << line_bits, kernel.pixels >> line_bits);
                let boxes = size.frames * size.width.div_ceil(width) * size.height.div_ceil(height);
                Self { kernel, line_bits, tiles: boxes * outputs.div_ceil(kernel.outputs) }
            })
        });
        cuts.min_by_key(|Self { kernel, tiles, .. }| {
            tiles.div_ceil(processors) * kernel.pixels * kernel.outputs * kernel.percent
        })
    }

    /// `[x, weight, bias, out]` and `numbers` as all kernels have them.
    pub(super) fn launch(
        self,
        gpu: &Gpu,
        [x, weight, bias, out]: [CUdeviceptr; 4],
        size: Volume,
        outputs: usize,
        numbers: &[Arg<'_>],
    ) -> Result<(), Error> {
        let Self { kernel, line_bits, tiles } = self;
        let (line, lines, len) = (size.width + 2, size.height + 2, TAPS * size.channels);
        let promotion = CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B;
        let boxes = Boxes {
            at: x,
            dims: [size.channels, line, lines, size.frames],
            strides: [size.channels, line * size.channels, lines * line * size.channels],
            lines: [1 << line_bits, (kernel.pixels >> line_bits) + 2, 1],
            promotion,
        };
        let taps = Boxes {
            at: weight,
            dims: [len, outputs, 1, 1],
            strides: [len, outputs * len, outputs * len],
            lines: [kernel.outputs, 1, 1],
            promotion,
        };
        let maps = [boxes.map()?, taps.map()?];
        let mut args = maps.each_ref().map(Arg::Map).to_vec();
        args.extend([x, bias, out].map(Arg::At));
        args.extend(numbers);
        args.push(Arg::Int(line_bits as i32));
        let blocks = tiles.min(gpu.processors() as usize) as u32;
        gpu.launch(kernel.name, Shape { grid: [blocks, 1, 1], block: 384, shared: kernel.shared }, &args)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fastest(
        frames: usize,
        height: usize,
        width: usize,
        channels: usize,
        outputs: usize,
    ) -> (usize, usize) {
        let size = Volume { frames, height, width, channels };
        let of = Hopper::fastest(&KERNELS, size, outputs, 132).unwrap();
        assert!(of.tiles * of.kernel.pixels * of.kernel.outputs >= frames * height * width * outputs);
        (of.kernel.pixels, of.kernel.outputs)
    }

    /// What was fastest on an H200, with what it gave.
    #[test]
    fn the_kernel_that_was_measured_to_be_fastest_is_chosen() {
        assert_eq!(fastest(121, 128, 192, 128, 128), (256, 128), "759 of 680 and 228 TFLOP/s");
        assert_eq!(fastest(31, 32, 48, 512, 512), (256, 128), "765 of 732 and 643");
        assert_eq!(fastest(16, 16, 24, 512, 4096), (128, 256), "848 of 792 and 625");
        assert_eq!(fastest(16, 16, 24, 1024, 1024), (128, 128), "805 of 628 and 579");
        assert_eq!(fastest(16, 16, 24, 1024, 4096), (128, 256), "774 of 759 and 587");
    }
}
