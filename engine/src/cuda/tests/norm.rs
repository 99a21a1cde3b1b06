//! Norms, the sums before them and the turns after them.

use super::Bench;
use crate::cuda::{
    Floats,
    norm::{After, Parts, Sum, Turns, add_and_norm, norm, rms_turn, squares},
};
use crate::kernels::Norm;

const EPS: f32 = 1e-6;
const SIZES: [[usize; 2]; 5] = [[1, 8], [7, 24], [33, 130], [65, 2048], [129, 4096]];

fn normed(row: &[f64], is_layer: bool) -> Vec<f64> {
    let mean = if is_layer { row.iter().sum::<f64>() / row.len() as f64 } else { 0.0 };
    let squares = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / row.len() as f64;
    row.iter().map(|v| (v - mean) / (squares + f64::from(EPS)).sqrt()).collect()
}

fn modulated(row: Vec<f64>, scale: &[f64], shift: &[f64]) -> Vec<f64> {
    row.iter().zip(scale.iter().zip(shift)).map(|(v, (scale, shift))| v * (1.0 + scale) + shift).collect()
}

#[test]
#[ignore = "needs an NVIDIA device"]
fn norms_with_their_modulation() {
    Bench::both(|bench| {
        for [rows, width] in SIZES {
            let (x, scale, shift) =
                (bench.numbers(rows * width, 2.0), bench.floats(width), bench.floats(width));
            let after = After::Modulate { scale: scale.there.at(), shift: shift.there.at() };
            for (by, is_layer) in [(Norm::Rms { eps: EPS }, false), (Norm::Layer { eps: EPS }, true)] {
                let out = bench.output(rows * width);
                norm(&bench.gpu, [x.there.at(), out.at()], [rows, width], by, after).unwrap();
                let rows_of = x.values.chunks(width);
                let expected: Vec<f64> = rows_of
                    .flat_map(|r| modulated(normed(r, is_layer), &scale.values, &shift.values))
                    .collect();
                let name = if is_layer { "layer_norm" } else { "rms_norm" };
                bench.compare(name, &format!("{rows}x{width}"), &bench.written(&out), &expected);
            }
        }
        let [rows, width] = [12_288, 4096];
        let (x, scale) = (bench.numbers(rows * width, 1.0), bench.floats(width));
        let after = After::Modulate { scale: scale.there.at(), shift: scale.there.at() };
        let bytes = 2 * rows * width * bench.gpu.precision().bytes();
        bench.speed("rms_norm", &format!("{rows}x{width}"), bytes, || {
            let both = [x.there.at(); 2];
            norm(&bench.gpu, both, [rows, width], Norm::Rms { eps: EPS }, after).unwrap();
        });
    });
}

#[test]
#[ignore = "needs an NVIDIA device"]
fn sums_and_the_norm_after_them() {
    Bench::both(|bench| {
        for [rows, width] in SIZES {
            let y = bench.numbers(rows * width, 1.0);
            let [gate, bias, scale, shift] = [(); 4].map(|()| bench.floats(width));
            let old = bench.numbers(rows * width, 1.0);
            let mut x = bench.output(rows * width);
            x.fill(&old.values.iter().map(|v| *v as f32).collect::<Vec<_>>()).unwrap();
            let out = bench.output(rows * width);
            let sum = Sum { x: x.at(), y: y.there.at(), gate: gate.there.at(), bias: bias.there.at() };
            let after = After::Modulate { scale: scale.there.at(), shift: shift.there.at() };
            let then = Some((out.at(), Norm::Rms { eps: EPS }, after));
            add_and_norm(&bench.gpu, sum, [rows, width], then).unwrap();
            let expected: Vec<f64> = (0..rows * width)
                .map(|i| old.values[i] + gate.values[i % width] * (y.values[i] + bias.values[i % width]))
                .collect();
            let shape = format!("{rows}x{width}");
            let stream = bench.written(&x);
            bench.compare("gated_sum", &shape, &stream, &expected);
            let stream: Vec<f64> = stream.into_iter().map(f64::from).collect();
            let expected: Vec<f64> = stream
                .chunks(width)
                .flat_map(|row| modulated(normed(row, false), &scale.values, &shift.values))
                .collect();
            bench.compare("norm_of_sum", &shape, &bench.written(&out), &expected);
        }
        let [rows, width] = [12_288, 4096];
        let (x, y, gate) =
            (bench.numbers(rows * width, 1.0), bench.numbers(rows * width, 1.0), bench.floats(width));
        let sum = Sum { x: x.there.at(), y: y.there.at(), gate: gate.there.at(), bias: 0 };
        let bytes = 3 * rows * width * bench.gpu.precision().bytes();
        bench.speed("gated_sum", &format!("{rows}x{width}"), bytes, || {
            add_and_norm(&bench.gpu, sum, [rows, width], None).unwrap();
        });
    });
}

#[test]
#[ignore = "needs an NVIDIA device"]
fn queries_and_keys_are_normed_and_turned() {
    Bench::both(|bench| {
        for (size, width, whole, first) in [
            ([2, 3, 4], 48, 48, 0),
            ([2, 3, 4], 50, 50, 0),
            ([3, 2, 5], 64, 256, 64),
            ([2, 4, 6], 2048, 2048, 0),
        ] {
            let tokens: usize = size.iter().product();
            let (rows, stride) = (2 * tokens, 3 * width);
            let old = bench.numbers(rows * stride, 1.0);
            let weights = [(); 2].map(|()| bench.floats(width));
            let frequencies = whole / 6;
            let table = bench.floats(2 * size.iter().sum::<usize>() * frequencies);
            let mut x = bench.output(rows * stride);
            x.fill(&old.values.iter().map(|v| *v as f32).collect::<Vec<_>>()).unwrap();
            let still = whole % 6 / 2;
            let turns = Turns { table: table.there, frequencies, still, first: first / 2, size };
            let at = weights.each_ref().map(|weight| weight.there.at());
            let parts = Parts { x: x.at(), rows, stride, width, weights: &at };
            let sums = Floats::from(&bench.gpu, &vec![f32::NAN; 2 * rows], "a test").unwrap();
            let is_split = whole > width;
            if is_split {
                squares(&bench.gpu, parts, sums.at()).unwrap();
            }
            let given = if is_split { sums.at() } else { 0 };
            rms_turn(&bench.gpu, parts, whole, EPS, given, Some(&turns)).unwrap();
            let mut expected = old.values.clone();
            for (row, values) in expected.chunks_mut(stride).enumerate() {
                let token = row % tokens;
                let at = [
                    token / (size[1] * size[2]),
                    size[0] + token / size[2] % size[1],
                    size[0] + size[1] + token % size[2],
                ];
                for (part, weight) in values.chunks_mut(width).zip(&weights) {
                    let mean = part.iter().map(|v| v * v).sum::<f64>() / whole as f64;
                    let share = 1.0 / (mean + f64::from(EPS)).sqrt();
                    for (v, weight) in part.iter_mut().zip(&weight.values) {
                        *v *= share * weight;
                    }
                    for (local, pair) in part.chunks_mut(2).enumerate() {
                        let Some(number) = (first / 2 + local).checked_sub(still) else { continue };
                        let place = 2 * (at[number % 3] * frequencies + number / 3);
                        let (cos, sin) = (table.values[place], table.values[place + 1]);
                        let (a, b) = (pair[0], pair[1]);
                        (pair[0], pair[1]) = (a * cos - b * sin, b * cos + a * sin);
                    }
                }
            }
            let shape = format!("{rows}x{width} of {whole}");
            bench.compare("norm_and_turn", &shape, &bench.written(&x), &expected);
        }
        let (size, width) = ([16, 16, 24], 4096);
        let rows = 6144;
        let x = bench.numbers(rows * 3 * width, 1.0);
        let weights = [(); 2].map(|()| bench.floats(width));
        let table = bench.floats(2 * 56 * (width / 6)).there;
        let turns = Turns { table, frequencies: width / 6, still: width % 6 / 2, first: 0, size };
        let at = weights.each_ref().map(|weight| weight.there.at());
        let parts = Parts { x: x.there.at(), rows, stride: 3 * width, width, weights: &at };
        let bytes = 4 * rows * width * bench.gpu.precision().bytes();
        bench.speed("norm_and_turn", &format!("{rows}x{width}"), bytes, || {
            rms_turn(&bench.gpu, parts, width, EPS, 0, Some(&turns)).unwrap();
        });
    });
}
