//! Attention of every kind of head, with and without biases, of ragged sizes and of real ones.

use super::Bench;
use crate::cuda::attention::{self, Bias, Inputs, Rows};
use crate::kernels::Heads;

/// Queries of a large attention that are compared: a table of all scores would take minutes on a processor.
const SAMPLED: usize = 24;

#[derive(Clone, Copy, Debug, PartialEq)]
enum With {
    Nothing,
    Mask,
    Pairs,
}

fn check(bench: &mut Bench, size: Heads, with: With) {
    let Heads { batch, heads, head, queries, keys, scale } = size;
    let width = heads * head;
    // Queries alone, keys and values side by side: rows of two lengths.
    let (q, kv) = (bench.numbers(batch * queries * width, 1.0), bench.numbers(batch * keys * 2 * width, 1.0));
    let out = bench.output(batch * queries * width);
    let biases = match with {
        With::Nothing => None,
        With::Mask => Some(bench.floats(batch * keys)),
        With::Pairs => Some(bench.floats(heads * queries * keys)),
    };
    let bias = match (&biases, with) {
        (Some(floats), With::Mask) => Bias::Keys(floats.there.at()),
        (Some(floats), With::Pairs) => Bias::Pairs(floats.there.at()),
        _ => Bias::None,
    };
    let inputs = Inputs {
        q: Rows { at: q.there.at(), token: width, batch: queries * width },
        k: Rows { at: kv.there.at(), token: 2 * width, batch: keys * 2 * width },
        v: Rows { at: kv.there.from(width), token: 2 * width, batch: keys * 2 * width },
    };
    let to = Rows { at: out.at(), token: width, batch: queries * width };
    attention::attention(&bench.gpu, size, inputs, to, bias).unwrap();
    let written = bench.written(&out);
    assert!(written.iter().all(|v| v.is_finite()), "{size:?}: a number was not written");
    let count = batch * heads * queries;
    let step = (count / SAMPLED).max(1);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for row in (0..count).step_by(if count <= 600 { 1 } else { step }).chain([count - 1]) {
        let (b, h, i) = (row / (heads * queries), row / queries % heads, row % queries);
        let query = &q.values[(b * queries + i) * width + h * head..][..head];
        let key = |j: usize| &kv.values[(b * keys + j) * 2 * width + h * head..][..head];
        let mut scores: Vec<f64> = (0..keys)
            .map(|j| {
                let product: f64 = query.iter().zip(key(j)).map(|(a, b)| a * b).sum();
                let more = match (&biases, with) {
                    (Some(floats), With::Mask) => floats.values[b * keys + j],
                    (Some(floats), With::Pairs) => floats.values[(h * queries + i) * keys + j],
                    _ => 0.0,
                };
                product * f64::from(scale) + more
            })
            .collect();
        let most = scores.iter().fold(f64::NEG_INFINITY, |m, s| m.max(*s));
        scores.iter_mut().for_each(|s| *s = (*s - most).exp());
        let sum: f64 = scores.iter().sum();
        for c in 0..head {
            let value = |j: usize| kv.values[(b * keys + j) * 2 * width + width + h * head + c];
            theirs.push((0..keys).map(|j| scores[j] * value(j)).sum::<f64>() / sum);
        }
        ours.extend(&written[(b * queries + i) * width + h * head..][..head]);
    }
    let name = format!("{batch}x{heads}x{queries}x{keys}x{head} {with:?}");
    bench.compare("attention", &name, &ours, &theirs);
}

#[test]
#[ignore = "needs an NVIDIA device"]
fn heads_of_all_sizes() {
    Bench::both(|bench| {
        for head in [8, 16, 24, 64, 128] {
            for [batch, queries, keys] in [[1, 1, 1], [2, 70, 33], [1, 129, 257], [2, 128, 128]] {
                for with in [With::Nothing, With::Mask, With::Pairs] {
                    let scale = 1.0 / (head as f32).sqrt();
                    check(bench, Heads { batch, heads: 3, head, queries, keys, scale }, with);
                }
            }
        }
    });
}

#[test]
#[ignore = "needs an NVIDIA device"]
fn attention_of_real_sizes() {
    let mut bench = Bench::new(crate::cuda::Precision::Bf16);
    for (heads, head, queries, keys, with) in [
        (32, 64, 6144, 6144, With::Nothing),
        (32, 128, 6144, 6144, With::Nothing),
        (32, 128, 6144, 128, With::Mask),
        (64, 64, 128, 128, With::Pairs),
    ] {
        let scale = 1.0 / (head as f32).sqrt();
        check(&mut bench, Heads { batch: 1, heads, head, queries, keys, scale }, with);
    }
}
