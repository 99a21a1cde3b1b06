//! Convolutions against loops over every tap.

use super::super::conv3d::{Into, Time, conv3d, conv3d_with};
use super::super::pack::Packed;
use super::super::volume::{Padded, Volume};
use super::{Isa, assert_close, assert_same_on_all_thread_counts, noise};

/// The definition: weights `(n, c, kt, kh, kw)`, zeros around each frame, repeated frames before and after.
fn reference(
    x: &[f32],
    size: Volume,
    w: &[f32],
    n: usize,
    kernel: [usize; 3],
    time: Time,
    b: &[f32],
) -> Vec<f64> {
    let [kt, kh, kw] = kernel;
    let before = if time == Time::Causal { kt - 1 } else { (kt - 1) / 2 };
    let mut out = Vec::new();
    for t in 0..size.frames {
        for y in 0..size.height {
            for z in 0..size.width {
                for j in 0..n {
                    let mut sum = f64::from(b[j]);
                    for tap in 0..kt * kh * kw {
                        let (a, p, q) = (tap / kw / kh, tap / kw % kh, tap % kw);
                        let frame = (t + a).saturating_sub(before).min(size.frames - 1);
                        let (Some(row), Some(col)) =
                            ((y + p).checked_sub(kh / 2), (z + q).checked_sub(kw / 2))
                        else {
                            continue;
                        };
                        if row >= size.height || col >= size.width {
                            continue;
                        }
                        for c in 0..size.channels {
                            let x = x[((frame * size.height + row) * size.width + col) * size.channels + c];
                            sum += f64::from(x) * f64::from(w[(j * size.channels + c) * kt * kh * kw + tap]);
                        }
                    }
                    out.push(sum);
                }
            }
        }
    }
    out
}

fn size(frames: usize, height: usize, width: usize, channels: usize) -> Volume {
    Volume { frames, height, width, channels }
}

#[test]
fn conv3d_agrees_with_f64() {
    let cases = [
        (size(3, 5, 7, 8), 8, [3, 3, 3]),
        (size(1, 1, 1, 3), 5, [3, 3, 3]),
        (size(2, 11, 13, 5), 17, [3, 3, 3]),
        (size(4, 3, 5, 100), 48, [3, 3, 3]),
        (size(2, 4, 6, 7), 9, [1, 1, 1]),
        (size(5, 4, 3, 4), 33, [3, 1, 1]),
        (size(2, 6, 5, 4), 6, [1, 5, 3]),
    ];
    for isa in Isa::available() {
        for time in [Time::Causal, Time::Centred] {
            for (v, n, kernel) in cases {
                let (x, w, b) = (
                    noise(1, v.len()),
                    noise(2, n * v.channels * kernel.iter().product::<usize>()),
                    noise(3, n),
                );
                let packed = Packed::from_conv3d(&w, n, v.channels, kernel, |j| j).unwrap();
                let padded = Padded::copy_of(&x, v, [kernel[1] / 2, kernel[2] / 2]).unwrap();
                let want = reference(&x, v, &w, n, kernel, time, &b);
                let what = format!("conv3d {v:?} -> {n}, {kernel:?}, {time:?}");
                let mut y = vec![f32::NAN; want.len()];
                conv3d_with(isa, &padded, &packed, kernel, time, Some(&b), Into::Replace, &mut y);
                assert_close(isa, &what, &y, &want, 3e-6);

                let before = noise(4, want.len());
                let mut y = before.clone();
                conv3d_with(isa, &padded, &packed, kernel, time, Some(&b), Into::Add, &mut y);
                let want: Vec<f64> = want.iter().zip(&before).map(|(w, b)| w + f64::from(*b)).collect();
                assert_close(isa, &format!("added {what}"), &y, &want, 3e-6);
            }
        }
    }
}

#[test]
fn a_changed_order_of_outputs_changes_nothing_else() {
    let (v, n) = (size(2, 3, 4, 3), 12);
    let (x, w) = (noise(1, v.len()), noise(2, n * 3 * 27));
    let padded = Padded::copy_of(&x, v, [1, 1]).unwrap();
    let run = |packed: &Packed| {
        let mut y = vec![0.0; v.frames * v.height * v.width * n];
        conv3d(&padded, packed, [3, 3, 3], Time::Centred, None, Into::Replace, &mut y);
        y
    };
    let plain = run(&Packed::from_conv3d(&w, n, 3, [3, 3, 3], |j| j).unwrap());
    let turned = run(&Packed::from_conv3d(&w, n, 3, [3, 3, 3], |j| n - 1 - j).unwrap());
    for (plain, turned) in plain.chunks_exact(n).zip(turned.chunks_exact(n)) {
        assert!(plain.iter().eq(turned.iter().rev()));
    }
}

#[test]
fn a_padded_volume_can_be_used_again_for_another_size() {
    let (big, small) = (size(2, 6, 6, 4), size(3, 3, 2, 4));
    let mut used = Padded::copy_of(&noise(1, big.len()), big, [1, 1]).unwrap();
    let x = noise(2, small.len());
    used.reshape(small, [1, 1]).unwrap();
    used.copy_from(&x);
    assert_eq!(used.values(), Padded::copy_of(&x, small, [1, 1]).unwrap().values());
}

#[test]
fn conv3d_does_not_depend_on_the_number_of_threads() {
    let (v, n) = (size(3, 17, 19, 90), 40);
    let (x, w, b) = (noise(1, v.len()), noise(2, n * v.channels * 27), noise(3, n));
    let packed = Packed::from_conv3d(&w, n, v.channels, [3, 3, 3], |j| j).unwrap();
    assert_same_on_all_thread_counts(|| {
        let padded = Padded::copy_of(&x, v, [1, 1]).unwrap();
        let mut y = vec![0.0; v.frames * v.height * v.width * n];
        conv3d(&padded, &packed, [3, 3, 3], Time::Causal, Some(&b), Into::Replace, &mut y);
        y
    });
}
