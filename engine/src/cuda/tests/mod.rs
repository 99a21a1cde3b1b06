//! Kernel by kernel against sums in f64, on a device: `deploy/cuda/check` runs these. Inputs are fresh and random, outputs are
//! poisoned, and numbers beyond an output must stay as they were.

mod attention;
mod elementwise;
mod norm;
mod product;

use std::sync::Arc;

use super::{Floats, Gpu, Numbers, Precision, measure};
use crate::noise::Generator;

/// Of one number, relative to all: sums in f32 of numbers in bf16 that are rounded once.
const BF16: f64 = 1e-2;
const F32: f64 = 2e-6;
/// Numbers behind an output, which nobody may write.
const GUARD: usize = 64;
/// A number in both precisions that no kernel gives.
const UNTOUCHED: f32 = -67_108_864.0;

pub(super) struct Bench {
    pub(super) gpu: Arc<Gpu>,
    random: Generator,
}

/// Numbers of the device, and what they are.
pub(super) struct Known {
    pub(super) there: Numbers,
    pub(super) values: Vec<f64>,
}

/// The same in f32 whatever the precision.
pub(super) struct KnownFloats {
    pub(super) there: Floats,
    pub(super) values: Vec<f64>,
}

impl Bench {
    pub(super) fn new(precision: Precision) -> Self {
        let gpu = Gpu::open(0, precision).unwrap();
        gpu.enter().unwrap();
        Self { gpu, random: Generator::new(std::process::id().into()) }
    }

    pub(super) fn both(mut check: impl FnMut(&mut Self)) {
        for precision in [Precision::Bf16, Precision::F32] {
            check(&mut Self::new(precision));
        }
    }

    pub(super) fn numbers(&mut self, len: usize, scale: f32) -> Known {
        let drawn = self.random.normal(len);
        let values: Vec<f32> = drawn
            .into_iter()
            .map(|v| match self.gpu.precision() {
                Precision::Bf16 => half::bf16::from_f32(v * scale).to_f32(),
                Precision::F32 => v * scale,
            })
            .collect();
        let there = Numbers::from_f32(&self.gpu, &values, "a test").unwrap();
        Known { there, values: values.into_iter().map(f64::from).collect() }
    }

    pub(super) fn floats(&mut self, len: usize) -> KnownFloats {
        let values = self.random.normal(len);
        let there = Floats::from(&self.gpu, &values, "a test").unwrap();
        KnownFloats { there, values: values.into_iter().map(f64::from).collect() }
    }

    /// Room for an output, poisoned, with a guard behind it.
    pub(super) fn output(&self, len: usize) -> Numbers {
        let mut values = vec![f32::NAN; len];
        values.extend([UNTOUCHED; GUARD]);
        Numbers::from_f32(&self.gpu, &values, "a test").unwrap()
    }

    /// What an output of `output(len)` has become; its guard must be whole.
    pub(super) fn written(&self, output: &Numbers) -> Vec<f32> {
        let mut values = output.to_f32(0, output.len()).unwrap();
        let guard = values.split_off(output.len() - GUARD);
        assert!(guard.iter().all(|v| *v == UNTOUCHED), "numbers behind the output were written");
        values
    }

    /// Leaves a row: how far `ours` is from `theirs`, as a share of the root mean square of `theirs`.
    pub(super) fn compare(&self, name: &str, shape: &str, ours: &[f32], theirs: &[f64]) {
        assert_eq!(ours.len(), theirs.len(), "as many values");
        let (mut off, mut all) = (0.0, 0.0);
        for (a, b) in ours.iter().zip(theirs) {
            off += (f64::from(*a) - b).powi(2);
            all += b * b;
        }
        let (off, suffix) = ((off / all.max(f64::MIN_POSITIVE)).sqrt(), self.gpu.precision().suffix());
        let bound = match self.gpu.precision() {
            Precision::Bf16 => BF16,
            Precision::F32 => F32,
        };
        measure::row(
            "kernels",
            &format!("{name}_{suffix}"),
            shape,
            (off, "rel L2"),
            Some(&format!("<= {bound}")),
        );
        assert!(off <= bound, "{name} {shape}: {off}");
    }

    /// Leaves a row of how fast it moves `bytes`.
    pub(super) fn speed(&self, name: &str, shape: &str, bytes: usize, mut work: impl FnMut()) {
        let took = measure::seconds(&self.gpu, 20, || {
            work();
            Ok(())
        })
        .unwrap();
        let name = format!("{name}_{}", self.gpu.precision().suffix());
        measure::row("kernels", &name, shape, (bytes as f64 / took / 1e9, "GB/s"), None);
    }
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}
