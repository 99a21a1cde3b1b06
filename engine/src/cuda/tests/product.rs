//! Products by cuBLASLt with what follows them, and of one row.

use super::{Bench, gelu, silu};
use crate::cuda::{
    Floats,
    linear::{Finish, Linear, Rows, VectorLinear},
};

#[test]
#[ignore = "needs an NVIDIA device"]
fn products_and_what_follows_them() {
    Bench::both(|bench| {
        for [rows, k, n] in [[1, 8, 8], [33, 64, 40], [130, 512, 264], [257, 2048, 1024]] {
            let (x, weight) = (bench.numbers(rows * k, 1.0), bench.numbers(n * k, 0.1));
            let bias = bench.numbers(n, 1.0);
            let old = bench.numbers(rows * n, 1.0);
            for finish in [Finish::Nothing, Finish::Gelu, Finish::Add] {
                let mut out = bench.output(rows * n);
                if finish == Finish::Add {
                    let old: Vec<f32> = old.values.iter().map(|v| *v as f32).collect();
                    out.fill(&old).unwrap();
                }
                let copy = |of: &super::Known| {
                    let values: Vec<f32> = of.values.iter().map(|v| *v as f32).collect();
                    super::Numbers::from_f32(&bench.gpu, &values, "a test").unwrap()
                };
                let layer = Linear::with_bias(copy(&weight), copy(&bias), [k, n]);
                layer.write(Rows { at: x.there.at(), rows, stride: k }, out.at(), n, finish).unwrap();
                let expected: Vec<f64> = (0..rows * n)
                    .map(|i| {
                        let (r, c) = (i / n, i % n);
                        let sum: f64 = (0..k).map(|j| x.values[r * k + j] * weight.values[c * k + j]).sum();
                        match finish {
                            Finish::Nothing => sum + bias.values[c],
                            Finish::Gelu => gelu(sum + bias.values[c]),
                            Finish::Add => sum + bias.values[c] + old.values[i],
                        }
                    })
                    .collect();
                let shape = format!("{rows}x{k}x{n} {finish:?}");
                bench.compare("product", &shape, &bench.written(&out), &expected);
            }
        }
    });
}

#[test]
#[ignore = "needs an NVIDIA device"]
fn products_of_one_row() {
    Bench::both(|bench| {
        for [k, n] in [[256, 2048], [24, 144], [4096, 24_576]] {
            let (x, bias) = (bench.floats(k), bench.floats(n));
            let weight = bench.numbers(n * k, 0.1);
            let silus = [k == 24, k == 256];
            let out = Floats::from(&bench.gpu, &vec![f32::NAN; n], "a test").unwrap();
            let expected: Vec<f64> = (0..n)
                .map(|c| {
                    let one = |j: usize| if silus[0] { silu(x.values[j]) } else { x.values[j] };
                    let sum: f64 = (0..k).map(|j| one(j) * weight.values[c * k + j]).sum();
                    let sum = sum + bias.values[c];
                    if silus[1] { silu(sum) } else { sum }
                })
                .collect();
            let layer = VectorLinear::of(weight.there, bias.there, [k, n]);
            layer.write(x.there.at(), out.at(), silus).unwrap();
            bench.compare("vector_linear", &format!("{k}x{n}"), &out.values().unwrap(), &expected);
        }
    });
}
