//! Linear layers against plain sums.

use super::super::linear::{Finish, linear, linear_with};
use super::super::pack::Packed;
use super::{Isa, assert_close, assert_same_on_all_thread_counts, noise};

fn reference(x: &[f32], w: &[f32], b: Option<&[f32]>, k: usize, n: usize) -> Vec<f64> {
    x.chunks_exact(k)
        .flat_map(|row| {
            (0..n).map(|j| {
                let sum: f64 = row.iter().zip(&w[j * k..]).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                sum + b.map_or(0.0, |b| f64::from(b[j]))
            })
        })
        .collect()
}

#[test]
fn linear_agrees_with_f64_at_every_tile_height_and_odd_width() {
    for isa in Isa::available() {
        for rows in (1..=26).chain([95, 97, 200]) {
            for (k, n) in [(1, 1), (7, 5), (36, 16), (33, 17), (144, 48), (32, 50)] {
                let (x, w, b) = (noise(1, rows * k), noise(2, n * k), noise(3, n));
                let mut y = vec![f32::NAN; rows * n];
                linear_with(
                    isa,
                    &x,
                    &Packed::from_linear(&w, n, k).unwrap(),
                    Some(&b),
                    Finish::Nothing,
                    &mut y,
                );
                assert_close(
                    isa,
                    &format!("linear {rows} x {k} -> {n}"),
                    &y,
                    &reference(&x, &w, Some(&b), k, n),
                    2e-6,
                );
            }
        }
    }
}

#[test]
fn linear_agrees_with_f64_when_k_takes_several_passes_and_n_several_pieces() {
    for isa in Isa::available() {
        let (rows, k, n) = (101, 2500, 300);
        let (x, w) = (noise(1, rows * k), noise(2, n * k));
        let mut y = vec![f32::NAN; rows * n];
        linear_with(isa, &x, &Packed::from_linear(&w, n, k).unwrap(), None, Finish::Nothing, &mut y);
        assert_close(isa, "a long linear", &y, &reference(&x, &w, None, k, n), 5e-6);
    }
}

#[test]
fn what_follows_the_product_agrees_with_f64() {
    let (rows, k, n) = (30, 20, 300);
    let (x, w, b) = (noise(1, rows * k), noise(2, n * k), noise(3, n));
    let (to, gate) = (noise(4, rows * n), noise(5, 2 * n));
    let plain = reference(&x, &w, Some(&b), k, n);
    let gelu =
        |x: f64| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh());
    let packed = Packed::from_linear(&w, n, k).unwrap();
    for isa in Isa::available() {
        let run = |finish| {
            let mut y = vec![f32::NAN; rows * n];
            linear_with(isa, &x, &packed, Some(&b), finish, &mut y);
            y
        };
        let want: Vec<f64> = plain.iter().map(|&x| gelu(x)).collect();
        assert_close(isa, "gelu", &run(Finish::Gelu), &want, 2e-6);
        let want: Vec<f64> = plain.iter().map(|&x| x / (1.0 + (-x).exp())).collect();
        assert_close(isa, "silu", &run(Finish::Silu), &want, 2e-6);
        let want: Vec<f64> = plain.iter().zip(&to).map(|(y, t)| y + f64::from(*t)).collect();
        assert_close(isa, "residual", &run(Finish::AddTo { to: &to, gate: None }), &want, 2e-6);
        let gates = |i: usize| f64::from(gate[i / n / (rows / 2) * n + i % n]);
        let want: Vec<f64> =
            plain.iter().zip(&to).enumerate().map(|(i, (y, t))| y * gates(i) + f64::from(*t)).collect();
        assert_close(isa, "gated residual", &run(Finish::AddTo { to: &to, gate: Some(&gate) }), &want, 2e-6);
    }
}

#[test]
fn linear_does_not_depend_on_the_number_of_threads() {
    let (rows, k, n) = (257, 1100, 530);
    let (x, w, b) = (noise(1, rows * k), noise(2, n * k), noise(3, n));
    let packed = Packed::from_linear(&w, n, k).unwrap();
    assert_same_on_all_thread_counts(|| {
        let mut y = vec![0.0; rows * n];
        linear(&x, &packed, Some(&b), Finish::Gelu, &mut y);
        y
    });
}
