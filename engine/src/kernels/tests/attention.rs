//! Attention against the plain table of scores.

use super::super::attention::{Bias, Heads, attention, attention_with};
use super::{Isa, assert_close, assert_same_on_all_thread_counts, noise};

fn reference(
    s: Heads,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    keys: Option<&[f32]>,
    pairs: Option<&[f32]>,
) -> Vec<f64> {
    let width = s.heads * s.head;
    let mut out = vec![0f64; q.len()];
    for b in 0..s.batch {
        for h in 0..s.heads {
            for i in 0..s.queries {
                let row = |x: &[f32], tokens: usize, at: usize, d: usize| {
                    f64::from(x[(b * tokens + at) * width + h * s.head + d])
                };
                let scores: Vec<f64> = (0..s.keys)
                    .map(|j| {
                        let dot: f64 =
                            (0..s.head).map(|d| row(q, s.queries, i, d) * row(k, s.keys, j, d)).sum();
                        dot * f64::from(s.scale)
                            + keys.map_or(0.0, |m| f64::from(m[b * s.keys + j]))
                            + pairs.map_or(0.0, |m| f64::from(m[(h * s.queries + i) * s.keys + j]))
                    })
                    .collect();
                let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores.iter().map(|x| (x - top).exp()).collect();
                let sum: f64 = weights.iter().sum();
                for d in 0..s.head {
                    out[(b * s.queries + i) * width + h * s.head + d] =
                        (0..s.keys).map(|j| weights[j] * row(v, s.keys, j, d)).sum::<f64>() / sum;
                }
            }
        }
    }
    out
}

fn heads(batch: usize, heads: usize, queries: usize, keys: usize, head: usize) -> Heads {
    Heads { batch, heads, head, queries, keys, scale: 3.0 / (head as f32).sqrt() }
}

fn inputs(s: Heads) -> [Vec<f32>; 3] {
    let width = s.batch * s.heads * s.head;
    [noise(1, width * s.queries), noise(2, width * s.keys), noise(3, width * s.keys)]
}

#[test]
fn attention_agrees_with_f64() {
    let sizes = [
        heads(1, 1, 1, 1, 8),
        heads(2, 3, 13, 17, 8),
        heads(1, 2, 25, 300, 20),
        heads(1, 1, 200, 531, 36),
        heads(2, 2, 12, 257, 64),
        heads(1, 1, 5, 40, 128),
    ];
    for isa in Isa::available() {
        for s in sizes {
            let [q, k, v] = inputs(s);
            let mask: Vec<f32> = (0..s.batch * s.keys)
                .map(|i| if i % s.keys > s.keys / 2 { -10_000.0 } else { 0.0 })
                .collect();
            let table = noise(4, s.heads * s.queries * s.keys);
            for (bias, keys, pairs) in [
                (Bias::None, None, None),
                (Bias::Keys(&mask), Some(&mask), None),
                (Bias::Pairs(&table), None, Some(&table)),
            ] {
                let mut out = vec![f32::NAN; q.len()];
                attention_with(isa, s, &q, &k, &v, bias, &mut out);
                let want = reference(s, &q, &k, &v, keys.map(Vec::as_slice), pairs.map(Vec::as_slice));
                assert_close(isa, &format!("attention {s:?}"), &out, &want, 3e-6);
            }
        }
    }
}

#[test]
fn a_maximum_that_rises_from_block_to_block_is_corrected() {
    let s = Heads { scale: 1.0, ..heads(1, 1, 3, 1000, 8) };
    let q = vec![1.0; 3 * 8];
    let k: Vec<f32> = (0..1000 * 8).map(|i| (i / 8) as f32 / 100.0).collect();
    let v = noise(3, 1000 * 8);
    for isa in Isa::available() {
        let mut out = vec![f32::NAN; q.len()];
        attention_with(isa, s, &q, &k, &v, Bias::None, &mut out);
        assert_close(isa, "rising scores", &out, &reference(s, &q, &k, &v, None, None), 1e-5);
    }
}

#[test]
fn keys_masked_with_minus_infinity_weigh_nothing_even_in_whole_blocks() {
    let s = heads(1, 2, 14, 600, 16);
    let [q, k, v] = inputs(s);
    let mask: Vec<f32> = (0..600).map(|i| if i < 400 { f32::NEG_INFINITY } else { 0.0 }).collect();
    for isa in Isa::available() {
        let mut out = vec![f32::NAN; q.len()];
        attention_with(isa, s, &q, &k, &v, Bias::Keys(&mask), &mut out);
        assert_close(isa, "masked", &out, &reference(s, &q, &k, &v, Some(&mask), None), 3e-6);
    }
}

#[test]
fn a_nan_in_a_query_is_not_lost() {
    let s = heads(1, 1, 2, 40, 8);
    let [mut q, k, v] = inputs(s);
    q[3] = f32::NAN;
    for isa in Isa::available() {
        let mut out = vec![0.0; q.len()];
        attention_with(isa, s, &q, &k, &v, Bias::None, &mut out);
        assert!(out[..8].iter().all(|x| x.is_nan()), "the row with the NaN, on {isa:?}");
        assert!(out[8..].iter().all(|x| x.is_finite()), "the other row, on {isa:?}");
    }
}

#[test]
fn attention_does_not_depend_on_the_number_of_threads() {
    let s = heads(2, 3, 401, 300, 20);
    let [q, k, v] = inputs(s);
    assert_same_on_all_thread_counts(|| {
        let mut out = vec![0.0; q.len()];
        attention(s, &q, &k, &v, Bias::None, &mut out);
        out
    });
}
