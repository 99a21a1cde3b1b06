//! A linear layer with its bias, whole or one rank's part of it. It never copies its input.

use std::ops::Range;

use crate::error::Error;
use crate::kernels::{self, Finish, Packed};
use crate::parallel::{Broken, Group};
use crate::weights::Scope;

/// `y = x W^T + b`.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Packed,
    bias: Option<Vec<f32>>,
}

impl Linear {
    /// Takes `weight (outputs, inputs)` and, where asked, `bias (outputs)`.
    pub(crate) fn load(scope: Scope<'_>, inputs: usize, outputs: usize, bias: bool) -> Result<Self, Error> {
        Self::load_outputs(scope, inputs, outputs, bias, 0..outputs)
    }

    /// The same of which only the outputs `part` are read and made: a column of a layer that is split.
    pub(crate) fn load_outputs(
        mut scope: Scope<'_>,
        inputs: usize,
        outputs: usize,
        bias: bool,
        part: Range<usize>,
    ) -> Result<Self, Error> {
        let weight = scope.take("weight", &[outputs, inputs])?.rows(part.clone()).into_linear()?;
        let bias = if bias { Some(scope.take("bias", &[outputs])?.rows(part).into_vec()) } else { None };
        Ok(Self { weight, bias })
    }

    /// The same of which only the inputs `part` are read and used: a row of a layer that is split. Its products are
    /// summed by `write_summed`.
    pub(crate) fn load_inputs(
        mut scope: Scope<'_>,
        inputs: usize,
        outputs: usize,
        bias: bool,
        part: Range<usize>,
    ) -> Result<Self, Error> {
        let weight = scope.take("weight", &[outputs, inputs])?;
        let weight =
            if part.len() == inputs { weight.into_linear()? } else { weight.into_linear_columns(part)? };
        let bias = if bias { Some(scope.take("bias", &[outputs])?.into_vec()) } else { None };
        Ok(Self { weight, bias })
    }

    /// Writes the finished product of `x (rows, inputs)` to `out (rows, outputs)`.
    pub(crate) fn write(&self, x: &[f32], finish: Finish<'_>, out: &mut [f32]) {
        kernels::linear(x, &self.weight, self.bias.as_deref(), finish, out);
    }

    /// Writes the product of the ranks' inputs together, `x` being this one's; the bias is added once.
    pub(crate) fn write_summed(
        &self,
        x: &[f32],
        finish: Finish<'_>,
        out: &mut [f32],
        group: &mut Group,
    ) -> Result<(), Broken> {
        if group.is_alone() {
            self.write(x, finish, out);
            return Ok(());
        }
        kernels::linear(x, &self.weight, None, Finish::Nothing, out);
        group.all_reduce(out)?;
        kernels::finish(out, self.weight.n(), self.bias.as_deref(), finish);
        Ok(())
    }

    /// The finished product of `x (rows, inputs)` as a new buffer.
    pub(crate) fn apply(&self, x: &[f32], finish: Finish<'_>) -> Vec<f32> {
        let mut out = vec![0.0; x.len() / self.weight.k() * self.weight.n()];
        self.write(x, finish, &mut out);
        out
    }

    /// Numbers that are held.
    pub(crate) fn held(&self) -> usize {
        self.weight.k() * self.weight.n() + self.bias.as_ref().map_or(0, Vec::len)
    }
}
