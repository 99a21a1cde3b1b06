//! Linear layers on a device: whole, several over the same input as one, or one rank's part.

use std::ops::Range;
use std::sync::Arc;

use cudarc::driver::sys::CUdeviceptr;

use super::{
    Arg, Floats, Gpu, Numbers, Precision,
    gpu::Shape,
    matmul::{Epilogue, Operands, Product},
};
use crate::error::Error;
use crate::weights::{Scope, Tensor};

const WEIGHTS: &str = "weights";

/// What is done to a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    Nothing,
    /// GELU, the tanh form.
    Gelu,
    /// Added to what is there.
    Add,
}

/// Rows of a tensor on the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    pub(crate) at: CUdeviceptr,
    pub(crate) rows: usize,
    /// From one to the next.
    pub(crate) stride: usize,
}

/// `y = x W^T + b`.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Numbers,
    bias: Option<Numbers>,
    /// The same for a layer whose product ranks sum first.
    late_bias: Option<Floats>,
    k: usize,
    n: usize,
}

/// A layer's tensors as they are stored.
#[derive(Debug)]
pub(crate) struct Taken {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Taken {
    /// # Errors
    /// As `Source::take`.
    pub(crate) fn of(
        mut scope: Scope<'_>,
        [inputs, outputs]: [usize; 2],
        has_bias: bool,
    ) -> Result<Self, Error> {
        let weight = scope.take("weight", &[outputs, inputs])?;
        let bias = if has_bias { Some(scope.take("bias", &[outputs])?) } else { None };
        Ok(Self { weight, bias })
    }

    /// Those of a convolution over one pixel of one frame, which is a linear layer.
    ///
    /// # Errors
    /// As `Source::take`.
    pub(crate) fn of_pixel(mut scope: Scope<'_>, [inputs, outputs]: [usize; 2]) -> Result<Self, Error> {
        let weight = scope.take("weight", &[outputs, inputs, 1, 1, 1])?;
        let bias = Some(scope.take("bias", &[outputs])?);
        Ok(Self { weight, bias })
    }
}

/// Which part of a layer is held.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// Outputs: a column of a layer that is split.
    Outputs(Range<usize>),
    /// Inputs: a row of it; products are summed over ranks.
    Inputs(Range<usize>),
}

impl Linear {
    /// Takes `weight (outputs, inputs)` and, where asked, `bias (outputs)`.
    ///
    /// # Errors
    /// As `Source::take`, or `DeviceMemory`.
    pub(crate) fn load(
        gpu: &Arc<Gpu>,
        scope: Scope<'_>,
        sizes: [usize; 2],
        has_bias: bool,
        part: &Part,
    ) -> Result<Self, Error> {
        Self::of(gpu, vec![Taken::of(scope, sizes, has_bias)?], sizes, part)
    }

    /// Several over the same input as one: their outputs lie side by side.
    ///
    /// # Errors
    /// `DeviceMemory`, `Io`.
    pub(crate) fn of(
        gpu: &Arc<Gpu>,
        taken: Vec<Taken>,
        [inputs, outputs]: [usize; 2],
        part: &Part,
    ) -> Result<Self, Error> {
        let (k, each) = match part {
            Part::Outputs(part) => (inputs, part.len()),
            Part::Inputs(part) => (part.len(), outputs),
        };
        let n = each * taken.len();
        let weight = Numbers::room(gpu, k * n, WEIGHTS)?;
        let mut biases = Vec::new();
        for (i, Taken { weight: tensor, bias }) in taken.into_iter().enumerate() {
            let to = weight.from(i * each * k);
            match part {
                Part::Outputs(part) => {
                    gpu.upload(tensor.rows(part.clone()).stored(None), to)?;
                    biases.extend(bias.map(|bias| bias.rows(part.clone()).into_vec()));
                }
                Part::Inputs(part) => {
                    gpu.upload(tensor.stored(Some(part.clone())), to)?;
                    biases.extend(bias.map(Tensor::into_vec));
                }
            }
        }
        let biases = biases.concat();
        let is_split = matches!(part, Part::Inputs(part) if part.len() < inputs);
        let (mut bias, mut late_bias) = (None, None);
        if !biases.is_empty() {
            if is_split {
                late_bias = Some(Floats::from(gpu, &biases, WEIGHTS)?);
            } else {
                bias = Some(Numbers::from_f32(gpu, &biases, WEIGHTS)?);
            }
        }
        Ok(Self { weight, bias, late_bias, k, n })
    }

    /// The same with a bias.
    #[cfg(test)]
    pub(super) fn with_bias(weight: Numbers, bias: Numbers, sizes: [usize; 2]) -> Self {
        Self { bias: Some(bias), ..Self::of_numbers(weight, sizes) }
    }

    /// Of numbers that are there, `(outputs, inputs)`, and no bias.
    pub(super) fn of_numbers(weight: Numbers, [k, n]: [usize; 2]) -> Self {
        assert_eq!(weight.len(), k * n, "a weight of {n} x {k}");
        Self { weight, bias: None, late_bias: None, k, n }
    }

    /// Numbers that are held.
    pub(crate) fn held(&self) -> usize {
        self.weight.len()
            + self.bias.as_ref().map_or(0, Numbers::len)
            + self.late_bias.as_ref().map_or(0, Floats::len)
    }

    pub(crate) fn outputs(&self) -> usize {
        self.n
    }

    /// Where the bias is that is added once the ranks' products are summed; 0 for none.
    pub(crate) fn late_bias(&self) -> CUdeviceptr {
        self.late_bias.as_ref().map_or(0, Floats::at)
    }

    /// Writes the finished product of `x` to `out`, rows of which are `out_stride` apart.
    pub(crate) fn write(
        &self,
        x: Rows,
        out: CUdeviceptr,
        out_stride: usize,
        finish: Finish,
    ) -> Result<(), Error> {
        let gpu = self.weight.gpu();
        // cuBLASLt has its GELU for bf16.
        let is_fused = gpu.precision() == Precision::Bf16 && self.bias.is_some();
        let epilogue = match (&self.bias, finish) {
            (Some(_), Finish::Gelu) if is_fused => Epilogue::BiasGelu,
            (Some(_), _) => Epilogue::Bias,
            (None, _) => Epilogue::Nothing,
        };
        let product = Product {
            rows: x.rows,
            k: self.k,
            n: self.n,
            x_stride: x.stride,
            out_stride,
            epilogue,
            adds: finish == Finish::Add,
        };
        let bias = self.bias.as_ref().map_or(0, Numbers::at);
        let at = Operands { x: x.at, weight: self.weight.at(), out, bias };
        gpu.matmuls().multiply(gpu, product, at)?;
        if finish == Finish::Gelu && !is_fused {
            assert_eq!(out_stride, self.n, "GELU runs over whole rows");
            gelu(gpu, out, x.rows * self.n)?;
        }
        Ok(())
    }
}

/// GELU of `count` numbers at `x`, in place. The kernel would add a bias; the product has done that.
fn gelu(gpu: &Gpu, x: CUdeviceptr, count: usize) -> Result<(), Error> {
    let args = [Arg::At(x), Arg::At(0), Arg::Long(count as i64), Arg::Int(1)];
    gpu.launch_typed("bias_gelu", gpu.spread(count), &args)
}

/// A linear layer of one row, whose input and output are in f32.
#[derive(Debug)]
pub(crate) struct VectorLinear {
    weight: Numbers,
    bias: Floats,
    k: usize,
    n: usize,
}

impl VectorLinear {
    /// Takes `weight (outputs, inputs)` and `bias (outputs)`.
    ///
    /// # Errors
    /// As `Linear::load`.
    pub(crate) fn load(gpu: &Arc<Gpu>, mut scope: Scope<'_>, k: usize, n: usize) -> Result<Self, Error> {
        let weight = Numbers::room(gpu, k * n, WEIGHTS)?;
        gpu.upload(scope.take("weight", &[n, k])?.stored(None), weight.at())?;
        let bias = Floats::from(gpu, &scope.take("bias", &[n])?.into_vec(), WEIGHTS)?;
        Ok(Self { weight, bias, k, n })
    }

    #[cfg(test)]
    pub(super) fn of(weight: Numbers, bias: Floats, [k, n]: [usize; 2]) -> Self {
        Self { weight, bias, k, n }
    }

    pub(crate) fn held(&self) -> usize {
        self.weight.len() + self.bias.len()
    }

    pub(crate) fn outputs(&self) -> usize {
        self.n
    }

    /// Writes the product of `x`, of which SiLU is taken before or after it.
    pub(crate) fn write(
        &self,
        x: CUdeviceptr,
        out: CUdeviceptr,
        [before, after]: [bool; 2],
    ) -> Result<(), Error> {
        let silus = i32::from(before) + 2 * i32::from(after);
        let args = [
            Arg::At(x),
            Arg::At(self.weight.at()),
            Arg::At(self.bias.at()),
            Arg::At(out),
            Arg::Int(self.k as i32),
            Arg::Int(self.n as i32),
            Arg::Int(silus),
        ];
        let shape = Shape { grid: [self.n.div_ceil(8) as u32, 1, 1], block: 256, shared: 0 };
        self.weight.gpu().launch_typed("vector_linear", shape, &args)
    }
}
