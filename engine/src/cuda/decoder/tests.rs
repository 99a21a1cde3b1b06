//! Convolutions and their inputs beside sums in f64, on a device, and a decoder beside that of the processor.

use super::{
    Decoder,
    conv::{Conv, To},
    input::{Bordered, ScaleShift},
    of_patch,
};
use crate::cuda::{
    Floats, Precision, measure,
    tests::{Bench, Known},
};
use crate::files::Files;
use crate::kernels::{Time, Volume};
use crate::models::autoencoders::ltx;
use crate::weights::Source;

#[test]
fn the_outputs_of_a_patch_are_those_of_the_processor() {
    let [time, side] = [2, 4];
    let mut seen = vec![false; 3 * time * side * side];
    // A clip one position large, so that its pixels are one patch: `(time, side, side, 3)`.
    for pixel in 0..time * side * side {
        let (frame, row, column) = (pixel / side / side, pixel / side % side, pixel % side);
        for c in 0..3 {
            let processor = ((c * time + frame) * side + column) * side + row;
            let ours = of_patch(3 * pixel + c, [time, side]);
            assert_eq!(ours, processor, "{frame} {row} {column} {c}");
            seen[ours] = true;
        }
    }
    assert!(seen.iter().all(|seen| *seen), "each is taken once");
}

/// One convolution with random numbers.
struct Case {
    size: Volume,
    outputs: usize,
    time: Time,
    x: Known,
    weight: Known,
    bias: Vec<f64>,
    /// Output `j` is output `order[j]` of the stored weight.
    order: Vec<u32>,
    conv: Conv,
}

impl Case {
    fn new(bench: &mut Bench, [frames, height, width, channels]: [usize; 4], outputs: usize) -> Self {
        let size = Volume { frames, height, width, channels };
        let x = bench.numbers(size.len(), 1.0);
        let weight = bench.numbers(outputs * channels * 27, 1.0 / (27.0 * channels as f32).sqrt());
        let bias = bench.floats(outputs);
        let order: Vec<u32> = (0..outputs as u32).rev().collect();
        let conv = Conv::of(&weight.there, bias.there, &order, channels).unwrap();
        let time = if frames % 2 == 0 { Time::Causal } else { Time::Centred };
        Self { size, outputs, time, x, weight, bias: bias.values, order, conv }
    }

    fn name(&self) -> String {
        let Volume { frames, height, width, channels } = self.size;
        format!("{frames}x{height}x{width} {channels}->{} {:?}", self.outputs, self.time)
    }

    fn input(&self, frame: usize, y: usize, x: usize, channel: usize) -> f64 {
        let Volume { height, width, channels, .. } = self.size;
        self.x.values[((frame * height + y) * width + x) * channels + channel]
    }

    /// Output `j` of a pixel.
    fn output(&self, frame: usize, y: usize, x: usize, j: usize) -> f64 {
        let Volume { frames, height, width, channels } = self.size;
        let before = if self.time == Time::Causal { 2 } else { 1 };
        let mut sum = self.bias[j];
        for tap in 0..27 {
            let (t, dy, dx) = ((frame + tap / 9).saturating_sub(before), tap / 3 % 3, tap % 3);
            let (row, column) = ((y + dy).wrapping_sub(1), (x + dx).wrapping_sub(1));
            if row >= height || column >= width {
                continue;
            }
            for channel in 0..channels {
                let at = (self.order[j] as usize * channels + channel) * 27 + tap;
                sum += self.input(t.min(frames - 1), row, column, channel) * self.weight.values[at];
            }
        }
        sum
    }

    fn all(&self) -> Vec<f64> {
        let Volume { frames, height, width, .. } = self.size;
        let pixels = (0..frames * height * width).flat_map(|pixel| {
            let at = (pixel / width / height, pixel / width % height, pixel % width);
            (0..self.outputs).map(move |j| self.output(at.0, at.1, at.2, j))
        });
        pixels.collect()
    }
}

/// Sizes that no tile divides, channels for tensor cores and others.
const CASES: [([usize; 4], usize); 5] = [
    ([3, 9, 15, 40], 136),
    ([2, 17, 30, 64], 48),
    ([1, 1, 1, 8], 2),
    ([4, 5, 3, 7], 9),
    ([2, 12, 13, 128], 128),
];

#[test]
#[ignore = "needs an NVIDIA device"]
fn convolutions_agree_with_their_definition() {
    Bench::both(|bench| {
        for (size, outputs) in CASES {
            let case = Case::new(bench, size, outputs);
            let input = Bordered::copy_of(&case.x.there, case.size).unwrap();
            let expected = case.all();
            let out = case.conv.make(&input, case.time).unwrap();
            let ours = out.to_f32(0, out.len()).unwrap();
            bench.compare("conv3d", &case.name(), &ours, &expected);
            let old = bench.numbers(expected.len(), 1.0);
            case.conv.apply(&input, case.time, To::Add(&old.there)).unwrap();
            let expected: Vec<f64> = expected.iter().zip(&old.values).map(|(a, b)| a + b).collect();
            let ours = old.there.to_f32(0, old.there.len()).unwrap();
            bench.compare("conv3d added", &case.name(), &ours, &expected);
        }
    });
}

#[test]
#[ignore = "needs an NVIDIA device"]
fn outputs_are_spread_over_time_and_space() {
    Bench::both(|bench| {
        for (size, outputs, residual) in
            [([3, 8, 14, 16], 144, false), ([2, 4, 5, 48], 192, true), ([1, 3, 2, 8], 24, true)]
        {
            let case = Case::new(bench, size, outputs);
            let Volume { frames, height, width, channels } = case.size;
            let (each, eighth) = (outputs / 8, channels / 8);
            let len = (2 * frames - 1) * 4 * height * width * each;
            let expected: Vec<f64> = (0..len)
                .map(|i| {
                    let (c, column) = (i % each, i / each % (2 * width));
                    let (row, frame) =
                        (i / each / (2 * width) % (2 * height), i / each / (2 * width) / (2 * height) + 1);
                    let place = frame % 2 * 4 + row % 2 * 2 + column % 2;
                    let from = (frame / 2, row / 2, column / 2);
                    let old = case.input(from.0, from.1, from.2, c % eighth * 8 + place);
                    let new = case.output(from.0, from.1, from.2, place * each + c);
                    if residual { new + old } else { new }
                })
                .collect();
            let input = Bordered::copy_of(&case.x.there, case.size).unwrap();
            let mut out = bench.numbers(len, 1.0).there;
            out.fill(&vec![f32::NAN; len]).unwrap();
            case.conv.apply(&input, case.time, To::Spread(&out, residual)).unwrap();
            let ours = out.to_f32(0, len).unwrap();
            bench.compare("conv3d spread", &format!("{} {residual}", case.name()), &ours, &expected);
        }
    });
}

#[test]
#[ignore = "needs an NVIDIA device"]
fn the_last_outputs_become_pixels() {
    Bench::both(|bench| {
        for (size, [time, side]) in [([2, 5, 31, 24], [1, 4]), ([3, 2, 3, 8], [2, 2]), ([1, 3, 4, 5], [1, 3])]
        {
            let case = Case::new(bench, size, 3 * time * side * side);
            let Volume { frames, height, width, .. } = case.size;
            let len = frames * height * width * case.outputs;
            let expected: Vec<f64> = (0..len)
                .map(|i| {
                    let (colour, column) = (i % 3, i / 3 % (width * side));
                    let (row, frame) =
                        (i / 3 / (width * side) % (height * side), i / 3 / (width * side) / (height * side));
                    let j = ((frame % time * side + row % side) * side + column % side) * 3 + colour;
                    case.output(frame / time, row / side, column / side, j)
                })
                .collect();
            let input = Bordered::copy_of(&case.x.there, case.size).unwrap();
            let out = Floats::from(&bench.gpu, &vec![f32::NAN; len], "a test").unwrap();
            case.conv.apply(&input, case.time, To::Frames(&out, [time, side])).unwrap();
            bench.compare("conv3d frames", &case.name(), &out.values().unwrap(), &expected);
        }
    });
}

#[test]
#[ignore = "needs an NVIDIA device"]
fn inputs_are_normalised_inside_a_border_of_zeros() {
    Bench::both(|bench| {
        for [frames, height, width, channels] in
            [[2, 13, 15, 128], [1, 1, 1, 8], [3, 5, 6, 7], [2, 3, 2, 1024], [1, 30, 50, 264]]
        {
            let size = Volume { frames, height, width, channels };
            let x = bench.numbers(size.len(), 3.0);
            let (scale, shift) = (bench.floats(channels), bench.floats(channels));
            for is_modulated in [false, true] {
                let by = ScaleShift { scale: scale.there.at(), shift: shift.there.at() };
                let made = Bordered::normed(&x.there, size, is_modulated.then_some(by)).unwrap();
                let mut expected = vec![0.0; made.numbers().len()];
                for (pixel, values) in x.values.chunks_exact(channels).enumerate() {
                    let (frame, row, column) =
                        (pixel / width / height, pixel / width % height, pixel % width);
                    let at = ((frame * (height + 2) + row + 1) * (width + 2) + column + 1) * channels;
                    let mean = values.iter().map(|v| v * v).sum::<f64>() / channels as f64;
                    for (c, value) in values.iter().enumerate() {
                        let mut v = value / (mean + 1e-8).sqrt();
                        if is_modulated {
                            v = v * (1.0 + scale.values[c]) + shift.values[c];
                        }
                        expected[at + c] = v / (1.0 + (-v).exp());
                    }
                }
                let ours = made.numbers().to_f32(0, expected.len()).unwrap();
                let shape = format!("{frames}x{height}x{width}x{channels} {is_modulated}");
                bench.compare("norm_silu_border", &shape, &ours, &expected);
            }
        }
    });
}

#[test]
#[ignore = "needs an NVIDIA device"]
fn the_decoder_gives_what_the_processor_gives() {
    Bench::both(|bench| {
        let bound = if bench.gpu.precision() == Precision::Bf16 { 2e-2 } else { 1e-4 };
        for (name, size, timestep) in [("ltx", [3, 7, 6], None), ("ltx095", [2, 4, 5], Some(0.05))] {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/numerics/golden");
            let files = Files::Folder(std::path::Path::new(folder).join(name).join("pipe"));
            let config = files.json("vae/config.json").unwrap();
            let open = || Source::open(&files, "vae/diffusion_pytorch_model").unwrap();
            let theirs = ltx::Decoder::new(&config, &mut open()).unwrap();
            let mut source = open();
            let ours = Decoder::new(&bench.gpu, &config, &mut source).unwrap();
            assert_eq!((ours.numbers(), ours.last_stage()), (theirs.numbers(), theirs.last_stage()));
            let channels = config["latent_channels"].as_u64().unwrap() as usize;
            let latents = bench.numbers(size.iter().product::<usize>() * channels, 1.0).values;
            let latents: Vec<f32> = latents.iter().map(|v| *v as f32).collect();
            let theirs = theirs.decode(&latents, size, timestep).unwrap();
            let ours = ours.decode(&latents, size, timestep).unwrap();
            assert_eq!(ours.len(), theirs.len());
            let squares =
                |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>();
            let off = squares(&mut ours.iter().zip(&theirs).map(|(a, b)| a - b));
            let off = (off / squares(&mut theirs.iter().copied())).sqrt();
            let kind = format!("decoder_{}", bench.gpu.precision().suffix());
            measure::row("kernels", &kind, name, (off, "rel L2"), Some(&format!("<= {bound}")));
            assert!(off <= bound, "{name}: {off}");
        }
    });
}
