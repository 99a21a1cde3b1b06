//! What is done to each number by itself.

use super::{Bench, gelu};
use crate::cuda::{Arg, Floats};

#[test]
#[ignore = "needs an NVIDIA device"]
fn gates_and_biases() {
    Bench::both(|bench| {
        for [rows, width] in [[3, 8], [5, 33], [128, 10_240]] {
            let both = bench.numbers(2 * rows * width, 1.0);
            let out = bench.output(rows * width);
            let args =
                [Arg::At(both.there.at()), Arg::At(out.at()), Arg::Long(rows as i64), Arg::Int(width as i32)];
            bench.gpu.launch_typed("gated_gelu", bench.gpu.spread(rows * width), &args).unwrap();
            let expected: Vec<f64> = both
                .values
                .chunks(2 * width)
                .flat_map(|row| (0..width).map(|i| gelu(row[i]) * row[width + i]))
                .collect();
            bench.compare("gated_gelu", &format!("{rows}x{width}"), &bench.written(&out), &expected);

            let (old, bias) = (bench.numbers(rows * width, 1.0), bench.floats(width));
            let mut x = bench.output(rows * width);
            x.fill(&old.values.iter().map(|v| *v as f32).collect::<Vec<_>>()).unwrap();
            let count = Arg::Long((rows * width) as i64);
            let args = [Arg::At(x.at()), Arg::At(bias.there.at()), count, Arg::Int(width as i32)];
            bench.gpu.launch_typed("bias_gelu", bench.gpu.spread(rows * width), &args).unwrap();
            let expected = |(i, v): (usize, &f64)| gelu(v + bias.values[i % width]);
            let expected: Vec<f64> = old.values.iter().enumerate().map(expected).collect();
            bench.compare("bias_gelu", &format!("{rows}x{width}"), &bench.written(&x), &expected);
        }
    });
}

#[test]
#[ignore = "needs an NVIDIA device"]
fn modulations_are_tables_and_a_level() {
    let mut bench = Bench::new(crate::cuda::Precision::F32);
    let (tables, level) = (bench.floats(5 * 144), bench.floats(144));
    let out = Floats::from(&bench.gpu, &[f32::NAN; 5 * 144], "a test").unwrap();
    let args = [
        Arg::At(tables.there.at()),
        Arg::At(level.there.at()),
        Arg::At(out.at()),
        Arg::Long(5 * 144),
        Arg::Int(144),
    ];
    bench.gpu.launch("modulations", bench.gpu.spread(5 * 144), &args).unwrap();
    let expected: Vec<f64> =
        tables.values.iter().enumerate().map(|(i, v)| v + level.values[i % 144]).collect();
    bench.compare("modulations", "5x144", &out.values().unwrap(), &expected);
}

#[test]
#[ignore = "needs an NVIDIA device"]
fn every_half_precision_number_is_converted() {
    let bench = Bench::new(crate::cuda::Precision::F32);
    let all: Vec<f32> = (0..=u16::MAX).map(|bits| f32::from_bits(u32::from(bits))).collect();
    // Two bytes of each are what the kernel reads: the numbers are laid down as bits.
    let bits: Vec<f32> = (0..1_u32 << 15).map(|i| f32::from_bits(((2 * i + 1) << 16) | (2 * i))).collect();
    let from = Floats::from(&bench.gpu, &bits, "a test").unwrap();
    let out = Floats::room(&bench.gpu, all.len(), "a test").unwrap();
    let args = [Arg::At(from.at()), Arg::At(out.at()), Arg::Long(all.len() as i64)];
    bench.gpu.launch("convert_f16_f32", bench.gpu.spread(all.len()), &args).unwrap();
    for (bits, found) in (0..=u16::MAX).zip(out.values().unwrap()) {
        let expected = half::f16::from_bits(bits).to_f32();
        assert!(
            found == expected || found.is_nan() && expected.is_nan(),
            "{bits:#06x}: {found} for {expected}"
        );
    }
}
