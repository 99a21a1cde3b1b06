//! Each kernel against the same arithmetic in f64, on every instruction set that this machine has, at odd sizes; and
//! each kernel against itself on 1, 2 and 4 threads, byte for byte.

mod attention;
mod conv3d;
mod elementwise;
mod linear;

use super::simd::Isa;

/// Values in -1..1 from a fixed stream.
fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// Largest difference over the largest magnitude.
fn error(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len(), "as many values");
    let top = want.iter().fold(1e-30f64, |top, x| top.max(x.abs()));
    got.iter().zip(want).fold(0.0f64, |worst, (g, w)| worst.max((f64::from(*g) - w).abs())) / top
}

fn assert_close(isa: Isa, what: &str, got: &[f32], want: &[f64], limit: f64) {
    assert!(got.iter().all(|x| x.is_finite()), "{what} on {isa:?}: every value is finite");
    let error = error(got, want);
    assert!(error <= limit, "{what} on {isa:?}: error {error:.2e}, limit {limit:.0e}");
}

/// Runs `compute` in pools of 1, 2 and 4 threads and asks for the same bytes.
fn assert_same_on_all_thread_counts(compute: impl Fn() -> Vec<f32> + Sync) {
    let bits = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a small pool");
        pool.install(&compute).into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    let one = bits(1);
    assert!(one == bits(2), "2 threads give the bytes of 1");
    assert!(one == bits(4), "4 threads give the bytes of 1");
}
