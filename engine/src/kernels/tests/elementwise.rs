//! Norms, activations and rotary turns against their formulas in f64.

use super::super::activation::{gelu_part, gelu_tanh, silu, silu_part};
use super::super::norm::{
    After, Mean, Norm, Turns, norm, norm_silu_into, norm_silu_into_with, norm_with, rms_norm, rms_norm_with,
    squares,
};
use super::super::volume::{Padded, Volume};
use super::{Isa, assert_close, assert_same_on_all_thread_counts, noise};

fn wide(x: &[f32]) -> impl Iterator<Item = f64> + '_ {
    x.iter().map(|x| f64::from(*x))
}

/// The same row in f64.
fn normalised(x: &[f32], norm: Norm) -> Vec<f64> {
    let n = x.len() as f64;
    let (mean, eps) = match norm {
        Norm::Rms { eps } => (0.0, eps),
        Norm::Layer { eps } => (wide(x).sum::<f64>() / n, eps),
        Norm::By { factor } => return wide(x).map(|x| x * f64::from(factor)).collect(),
    };
    let share = 1.0 / (wide(x).map(|x| (x - mean).powi(2)).sum::<f64>() / n + f64::from(eps)).sqrt();
    wide(x).map(|x| (x - mean) * share).collect()
}

#[test]
fn activations_agree_with_f64_value_by_value_and_at_the_ends() {
    let x: Vec<f32> =
        (-4000..=4000).map(|i| i as f32 / 400.0).chain([-1e4, -100.0, -0.0, 1e-20, 100.0, 1e4]).collect();
    let gelu =
        |x: f64| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh());
    let silu = |x: f64| x / (1.0 + (-x).exp());
    for isa in Isa::available() {
        let (mut g, mut s) = (x.clone(), x.clone());
        gelu_part(isa, &mut g);
        silu_part(isa, &mut s);
        for (i, x) in wide(&x).enumerate() {
            assert!(
                (f64::from(g[i]) - gelu(x)).abs() <= 1e-6 * x.abs().max(1e-3),
                "gelu({x}) on {isa:?}: {}",
                g[i]
            );
            assert!(
                (f64::from(s[i]) - silu(x)).abs() <= 1e-6 * x.abs().max(1e-3),
                "silu({x}) on {isa:?}: {}",
                s[i]
            );
        }
    }
}

#[test]
fn a_nan_passes_through_every_activation() {
    for isa in Isa::available() {
        let mut x = [f32::NAN; 19];
        gelu_part(isa, &mut x);
        assert!(x.iter().all(|x| x.is_nan()), "gelu on {isa:?}");
        silu_part(isa, &mut x);
        assert!(x.iter().all(|x| x.is_nan()), "silu on {isa:?}");
    }
}

#[test]
fn norms_agree_with_f64() {
    for isa in Isa::available() {
        for width in [1, 2, 8, 31, 48, 144, 515] {
            let (rows, batch) = (6, 2);
            let x: Vec<f32> = noise(1, rows * width).iter().map(|x| x + 0.5).collect();
            let (weight, scale, shift) = (noise(2, width), noise(3, batch * width), noise(4, batch * width));
            for kind in [Norm::Rms { eps: 1e-6 }, Norm::Layer { eps: 1e-5 }] {
                let plain: Vec<f64> = x.chunks_exact(width).flat_map(|row| normalised(row, kind)).collect();
                let at = |i: usize| i / width / (rows / batch) * width + i % width;
                let run = |after| {
                    let mut y = vec![f32::NAN; x.len()];
                    norm_with(isa, &x, width, kind, after, &mut y);
                    y
                };
                assert_close(isa, "norm", &run(After::Nothing), &plain, 2e-6);
                let want: Vec<f64> =
                    plain.iter().enumerate().map(|(i, x)| x * f64::from(weight[i % width])).collect();
                assert_close(isa, "norm with weight", &run(After::Weight(&weight)), &want, 2e-6);
                let want: Vec<f64> = plain
                    .iter()
                    .enumerate()
                    .map(|(i, x)| x * (1.0 + f64::from(scale[at(i)])) + f64::from(shift[at(i)]))
                    .collect();
                assert_close(
                    isa,
                    "modulated norm",
                    &run(After::Modulate { scale: &scale, shift: &shift }),
                    &want,
                    2e-6,
                );
            }
        }
    }
}

#[test]
fn norm_and_silu_into_a_border_agree_with_f64_and_leave_the_border_zero() {
    let size = Volume { frames: 2, height: 3, width: 5, channels: 20 };
    let (x, scale, shift) = (noise(1, size.len()), noise(2, 20), noise(3, 20));
    let want: Vec<f64> = x
        .chunks_exact(20)
        .flat_map(|row| normalised(row, Norm::Rms { eps: 1e-8 }))
        .enumerate()
        .map(|(i, x)| x * (1.0 + f64::from(scale[i % 20])) + f64::from(shift[i % 20]))
        .map(|x| x / (1.0 + (-x).exp()))
        .collect();
    for isa in Isa::available() {
        let mut padded = Padded::zeros(size, [1, 1]).unwrap();
        norm_silu_into_with(
            isa,
            &x,
            Norm::Rms { eps: 1e-8 },
            After::Modulate { scale: &scale, shift: &shift },
            &mut padded,
        );
        let mut inside = Vec::new();
        let mut border = 0.0f32;
        for (i, pixel) in padded.values().chunks_exact(20).enumerate() {
            let (y, z) = (i / 7 % 5, i % 7);
            if (1..4).contains(&y) && (1..6).contains(&z) {
                inside.extend_from_slice(pixel);
            } else {
                border = pixel.iter().fold(border, |b, x| b.max(x.abs()));
            }
        }
        assert_close(isa, "pixel norm and silu", &inside, &want, 2e-6);
        assert_eq!(border, 0.0, "the border on {isa:?}");
    }
}

#[test]
fn norm_and_rotation_agree_with_f64() {
    for isa in Isa::available() {
        for width in [2, 6, 16, 36, 144] {
            let (batch, tokens) = (2, 5);
            let (x, weight) = (noise(1, batch * tokens * width), noise(2, width));
            let (cos, sin) = (noise(3, tokens * width), noise(4, tokens * width));
            let mut y = x.clone();
            let turns = Turns { cos: &cos, sin: &sin };
            rms_norm_with(isa, &mut y, &weight, 1e-5, Mean::OfRow, Some(turns));
            let mut want = Vec::new();
            for (row, x) in x.chunks_exact(width).enumerate() {
                let x: Vec<f64> = normalised(x, Norm::Rms { eps: 1e-5 })
                    .iter()
                    .zip(wide(&weight))
                    .map(|(x, w)| x * w)
                    .collect();
                for i in 0..width {
                    let at = row % tokens * width + i;
                    let turned = if i % 2 == 0 { -x[i + 1] } else { x[i - 1] };
                    want.push(x[i] * f64::from(cos[at]) + turned * f64::from(sin[at]));
                }
            }
            assert_close(isa, "norm and rotation", &y, &want, 2e-6);
        }
    }
}

#[test]
fn parts_of_rows_are_normalised_as_the_whole_rows_are() {
    let (rows, width) = (6, 40);
    let (x, weight, cos, sin) =
        (noise(1, rows * width), noise(2, width), noise(3, rows * width), noise(4, rows * width));
    let columns = |values: &[f32], from: usize, to: usize| -> Vec<f32> {
        values.chunks_exact(width).flat_map(|row| row[from..to].to_vec()).collect()
    };
    let mut whole = x.clone();
    rms_norm(&mut whole, &weight, 1e-5, Mean::OfRow, Some(Turns { cos: &cos, sin: &sin }));
    let cuts = [(0, 24), (24, 40)];
    let mut sums = vec![0.0; rows];
    for (from, to) in cuts {
        let part = squares(&columns(&x, from, to), to - from);
        sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    for (from, to) in cuts {
        let [mut part, cos, sin] = [&x, &cos, &sin].map(|values| columns(values, from, to));
        let mean = Mean::OfWhole { squares: &sums, width };
        rms_norm(&mut part, &weight[from..to], 1e-5, mean, Some(Turns { cos: &cos, sin: &sin }));
        for (ours, theirs) in part.iter().zip(columns(&whole, from, to)) {
            assert!((ours - theirs).abs() < 1e-5, "{ours} {theirs}");
        }
    }
}

#[test]
fn elementwise_kernels_do_not_depend_on_the_number_of_threads() {
    let size = Volume { frames: 3, height: 40, width: 41, channels: 24 };
    let (x, scale, cos) = (noise(1, size.len()), noise(2, 24), noise(3, size.len()));
    assert_same_on_all_thread_counts(|| {
        let mut y = vec![0.0; x.len()];
        norm(&x, 24, Norm::Rms { eps: 1e-6 }, After::Weight(&scale), &mut y);
        rms_norm(&mut y, &scale, 1e-5, Mean::OfRow, Some(Turns { cos: &cos, sin: &cos }));
        gelu_tanh(&mut y);
        silu(&mut y);
        let mut padded = Padded::zeros(size, [1, 1]).unwrap();
        norm_silu_into(&y, Norm::Rms { eps: 1e-8 }, After::Nothing, &mut padded);
        padded.values().to_vec()
    });
}
