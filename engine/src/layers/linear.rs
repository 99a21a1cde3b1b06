//! A linear layer with its bias. It never copies its input.

use crate::error::Error;
use crate::kernels::{self, Finish, Packed};
use crate::weights::Scope;

/// `y = x W^T + b`.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Packed,
    bias: Option<Vec<f32>>,
}

impl Linear {
    /// Takes `weight (outputs, inputs)` and, where asked, `bias (outputs)`.
    pub(crate) fn load(
        mut scope: Scope<'_>,
        inputs: usize,
        outputs: usize,
        bias: bool,
    ) -> Result<Self, Error> {
        let weight = scope.take("weight", &[outputs, inputs])?.into_linear();
        let bias = if bias { Some(scope.take("bias", &[outputs])?.into_vec()) } else { None };
        Ok(Self { weight, bias })
    }

    /// Writes the finished product of `x (rows, inputs)` to `out (rows, outputs)`.
    pub(crate) fn write(&self, x: &[f32], finish: Finish<'_>, out: &mut [f32]) {
        kernels::linear(x, &self.weight, self.bias.as_deref(), finish, out);
    }

    /// The finished product of `x (rows, inputs)` as a new buffer.
    pub(crate) fn apply(&self, x: &[f32], finish: Finish<'_>) -> Vec<f32> {
        let mut out = vec![0.0; x.len() / self.weight.k() * self.weight.n()];
        self.write(x, finish, &mut out);
        out
    }
}
