//! A convolution over three frames, rows and columns, and where its outputs go.

use std::sync::Arc;

use super::{
    WEIGHTS,
    hopper::{self, Hopper},
    input::Bordered,
};
use crate::cuda::{
    Arg, Floats, Gpu, Numbers, Precision,
    gpu::Shape,
    memory::{Memory, upload},
};
use crate::error::Error;
use crate::kernels::Time;
use crate::models::autoencoders::ltx::{DECODING, SPREAD};
use crate::weights::Scope;

const TAPS: usize = 27;

/// One of the kernels, as its source says.
#[derive(Clone, Copy, Debug)]
struct Kernel {
    stem: &'static str,
    /// What a block makes.
    pixels: usize,
    outputs: usize,
    threads: u32,
    shared: u32,
    /// Columns at the end of a line that it also goes through.
    border: usize,
}

/// bf16 on tensor cores.
const WIDE: Kernel =
    Kernel { stem: "conv3d", pixels: 128, outputs: 128, threads: 128, shared: 65_792, border: 2 };
/// The same for devices whose processors have shared memory for one block only.
const TALL: Kernel =
    Kernel { stem: "conv3d_tall", pixels: 256, outputs: 128, threads: 256, shared: 82_176, border: 2 };
/// The same for few outputs.
const NARROW: Kernel =
    Kernel { stem: "conv3d_narrow", pixels: 256, outputs: 64, threads: 128, shared: 57_600, border: 2 };
/// Either precision, any number of channels.
const ANY: Kernel =
    Kernel { stem: "conv3d_any", pixels: 64, outputs: 64, threads: 256, shared: 0, border: 0 };

/// Lets the kernels use the shared memory that they need.
pub(in crate::cuda) fn prepare(gpu: &Gpu) -> Result<(), Error> {
    for Kernel { stem, shared, .. } in [WIDE, TALL, NARROW] {
        gpu.allow_shared(&format!("{stem}_bf16"), shared)?;
    }
    hopper::prepare(gpu)
}

/// Whether a processor has less shared memory than two blocks of `WIDE` want: those of RTX devices have 100 KiB, those of data
/// centres 164 and more.
fn is_small(gpu: &Gpu) -> bool {
    matches!(gpu.capability(), 86 | 87 | 89 | 120..)
}

/// Where outputs go, and what becomes of them.
#[derive(Clone, Copy, Debug)]
pub(super) enum To<'a> {
    /// `(frames, height, width, outputs)`, overwritten.
    Replace(&'a Numbers),
    /// The same, added to what is there.
    Add(&'a Numbers),
    /// `(2 frames - 1, 2 height, 2 width, outputs / 8)`: an eighth of the outputs for each place that comes of a pixel, and
    /// where asked the input spread so is added.
    Spread(&'a Numbers, bool),
    /// Pixels `(patch[0] frames, patch[1] height, patch[1] width, 3)`.
    Frames(&'a Floats, [usize; 2]),
}

#[derive(Debug)]
pub(super) struct Conv {
    /// `(outputs, 3, 3, 3, inputs)`.
    weight: Numbers,
    bias: Floats,
    inputs: usize,
}

impl Conv {
    pub(super) fn load(
        gpu: &Arc<Gpu>,
        scope: Scope<'_>,
        inputs: usize,
        outputs: usize,
    ) -> Result<Self, Error> {
        Self::load_ordered(gpu, scope, inputs, outputs, |output| output)
    }

    /// With output `j` of the loaded form being output `order(j)` of the stored one.
    pub(super) fn load_ordered(
        gpu: &Arc<Gpu>,
        mut scope: Scope<'_>,
        inputs: usize,
        outputs: usize,
        order: impl Fn(usize) -> usize,
    ) -> Result<Self, Error> {
        let bias = scope.take("bias", &[outputs])?.into_vec();
        let tensor = scope.take("weight", &[outputs, inputs, 3, 3, 3])?;
        let stored = Numbers::room(gpu, outputs * inputs * TAPS, WEIGHTS)?;
        gpu.upload(tensor.stored(None), stored.at())?;
        gpu.await_uploads()?;
        let order: Vec<u32> = (0..outputs).map(|j| order(j) as u32).collect();
        let bias: Vec<f32> = order.iter().filter_map(|j| bias.get(*j as usize)).copied().collect();
        let bias = Floats::from(gpu, &bias, WEIGHTS)?;
        let weight = pack(&stored, &order, inputs)?;
        Ok(Self { weight, bias, inputs })
    }

    /// Of a weight `(outputs, inputs, 3, 3, 3)` that is on the device.
    #[cfg(test)]
    pub(super) fn of(stored: &Numbers, bias: Floats, order: &[u32], inputs: usize) -> Result<Self, Error> {
        Ok(Self { weight: pack(stored, order, inputs)?, bias, inputs })
    }

    pub(super) fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// The outputs by themselves.
    pub(super) fn make(&self, x: &Bordered, time: Time) -> Result<Numbers, Error> {
        let size = x.inner();
        let len = size.frames * size.height * size.width * self.outputs();
        let out = Numbers::room(self.weight.gpu(), len, DECODING)?;
        self.apply(x, time, To::Replace(&out))?;
        Ok(out)
    }

    pub(super) fn apply(&self, x: &Bordered, time: Time, to: To<'_>) -> Result<(), Error> {
        let (gpu, size, outputs) = (self.weight.gpu(), x.inner(), self.outputs());
        assert_eq!(size.channels, self.inputs, "an input of as many channels");
        let pixels = size.frames * size.height * size.width;
        // The room that is there and the room that is needed, and how many outputs lie together in it.
        let (mode, out, [room, needed], together, [time_patch, patch]) = match to {
            To::Replace(out) => (0, out.at(), [out.len(), pixels * outputs], outputs, [1, 1]),
            To::Add(out) => (1, out.at(), [out.len(), pixels * outputs], outputs, [1, 1]),
            To::Spread(out, residual) => {
                assert!(outputs.is_multiple_of(SPREAD), "outputs for all places");
                let last = (2 * size.frames - 1) * 4 * size.height * size.width * (outputs / SPREAD);
                (2 + i32::from(residual), out.at(), [out.len(), last], outputs / SPREAD, [1, 1])
            }
            To::Frames(out, patch) => (4, out.at(), [out.len(), pixels * outputs], 3 * patch[1], patch),
        };
        assert_eq!(room, needed, "room for the outputs");
        let before = match time {
            Time::Causal => 2,
            Time::Centred => 1,
        };
        let sizes = [size.frames, size.height, size.width, size.channels, outputs];
        let mut numbers = sizes.map(|n| Arg::Int(n as i32)).to_vec();
        numbers.extend([Arg::Int(before), Arg::Int(mode)]);
        numbers.extend([time_patch, patch].map(|n| Arg::Int(n as i32)));
        let places = [x.at(), self.weight.at(), self.bias.at(), out];
        if let Some(hopper) = Hopper::of(gpu, size, outputs, together, matches!(to, To::Frames(..))) {
            return hopper.launch(gpu, places, size, outputs, &numbers);
        }
        let is_for_tensor_cores =
            gpu.precision() == Precision::Bf16 && self.inputs.is_multiple_of(8) && together.is_multiple_of(2);
        let kernel = match is_for_tensor_cores {
            true if outputs <= NARROW.outputs => NARROW,
            true if is_small(gpu) => TALL,
            true => WIDE,
            false => ANY,
        };
        let line = size.width + kernel.border;
        let tiles = (size.height * line - kernel.border).div_ceil(kernel.pixels);
        let blocks = size.frames * tiles * outputs.div_ceil(kernel.outputs);
        let mut args = places.map(Arg::At).to_vec();
        args.extend(numbers);
        let shape = Shape { grid: [blocks as u32, 1, 1], block: kernel.threads, shared: kernel.shared };
        gpu.launch_typed(kernel.stem, shape, &args)
    }
}

/// `stored (outputs, inputs, 3, 3, 3)` as the kernels read it, output `j` of which is `order[j]` of the stored.
fn pack(stored: &Numbers, order: &[u32], inputs: usize) -> Result<Numbers, Error> {
    let gpu = stored.gpu();
    let table = Memory::room(gpu, 4 * order.len(), WEIGHTS)?;
    upload(gpu, table.at(), order)?;
    let packed = Numbers::room(gpu, stored.len(), WEIGHTS)?;
    let mut args = [stored.at(), table.at(), packed.at()].map(Arg::At).to_vec();
    args.extend([order.len(), inputs, TAPS].map(|n| Arg::Int(n as i32)));
    gpu.launch_typed("pack_conv3d", gpu.spread(stored.len()), &args)?;
    Ok(packed)
}
