//! Matrix products by cuBLASLt, with what can follow them done before the product leaves the chip.

use std::{collections::HashMap, ffi::c_void, ptr};

use cudarc::{
    cublaslt::{
        result::{self, CublasError},
        sys::{
            cublasComputeType_t, cublasLtEpilogue_t, cublasLtHandle_t, cublasLtMatmulAlgo_t,
            cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t as Attribute,
            cublasLtMatmulPreferenceAttributes_t, cublasLtMatrixLayout_t, cudaDataType,
        },
    },
    driver::{result as driver, sys::CUdeviceptr},
};

use super::{Gpu, gpu::refused};
use crate::error::Error;

/// What a product may use beside its operands; NVIDIA advises 32 MiB for Hopper.
const WORKSPACE: usize = 64 << 20;

/// Shapes whose plans are kept. A size of clip has a dozen and a length of prompt four, so that a farm's presets all fit.
const PLANS_MAX: usize = 4096;

/// `cublasOperation_t` of cublas_api.h.
const AS_IT_IS: i32 = 0;
const TRANSPOSED: i32 = 1;

/// What is done to a product. cuBLASLt's GELU is the tanh form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Epilogue {
    Nothing,
    Bias,
    BiasGelu,
}

/// The shape of `out (rows, n) = x (rows, k) weight (n, k)^T`. Rows of `x` and `out` may be longer than what is used of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Product {
    pub(super) rows: usize,
    pub(super) k: usize,
    pub(super) n: usize,
    /// From one row of `x` to the next.
    pub(super) x_stride: usize,
    pub(super) out_stride: usize,
    pub(super) epilogue: Epilogue,
    /// Whether the product is added to what `out` holds.
    pub(super) adds: bool,
}

/// Where its operands are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operands {
    pub(super) x: CUdeviceptr,
    pub(super) weight: CUdeviceptr,
    pub(super) out: CUdeviceptr,
    /// In the device's precision; 0 for none.
    pub(super) bias: CUdeviceptr,
}

/// cuBLASLt's handle, and how each shape that was seen is done.
pub(super) struct Matmuls {
    handle: cublasLtHandle_t,
    workspace: CUdeviceptr,
    plans: HashMap<Product, Plan>,
}

struct Plan {
    description: cublasLtMatmulDesc_t,
    weight: cublasLtMatrixLayout_t,
    x: cublasLtMatrixLayout_t,
    out: cublasLtMatrixLayout_t,
    algorithm: cublasLtMatmulAlgo_t,
}

impl Matmuls {
    /// In the context that is current, of a device of `total` bytes.
    pub(super) fn new(total: u64) -> Result<Self, Error> {
        let handle = result::create_handle().map_err(|error| failed("opening cuBLASLt", error))?;
        // SAFETY: it is freed when this is dropped.
        let workspace = unsafe { driver::malloc_sync(WORKSPACE) }
            .map_err(|error| refused("cuBLASLt's workspace", WORKSPACE, [0, total], error))?;
        Ok(Self { handle, workspace, plans: HashMap::new() })
    }

    pub(super) const fn bytes() -> usize {
        WORKSPACE
    }

    /// Gives the device the product.
    pub(super) fn multiply(&mut self, gpu: &Gpu, product: Product, at: Operands) -> Result<(), Error> {
        let Product { rows, k, n, .. } = product;
        if rows == 0 || n == 0 {
            return Ok(());
        }
        let what = |error| failed(&format!("a product of {rows} x {k} by {n} x {k}"), error);
        if self.plans.len() >= PLANS_MAX && !self.plans.contains_key(&product) {
            self.plans.clear();
        }
        let plan = match self.plans.entry(product) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(Plan::new(self.handle, gpu.precision().cublas(), product).map_err(what)?)
            }
        };
        let (one, beta) = (1.0_f32, if product.adds { 1.0_f32 } else { 0.0 });
        // SAFETY: the plan is of this handle and shape; the operands are that large by the word of the caller, who also keeps
        // them until the stream is done.
        unsafe {
            if product.epilogue != Epilogue::Nothing {
                set(plan.description, Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &at.bias)
                    .map_err(what)?;
            }
            result::matmul(
                self.handle,
                plan.description,
                ptr::from_ref(&one).cast(),
                ptr::from_ref(&beta).cast(),
                at.weight as *const c_void,
                plan.weight,
                at.x as *const c_void,
                plan.x,
                at.out as *const c_void,
                plan.out,
                at.out as *mut c_void,
                plan.out,
                &raw const plan.algorithm,
                self.workspace as *mut c_void,
                WORKSPACE,
                gpu.stream().cast(),
            )
        }
        .map_err(what)
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: products that were begun by it do without it.
        unsafe {
            let _ = result::destroy_matmul_desc(self.description);
            for layout in [self.weight, self.x, self.out] {
                let _ = result::destroy_matrix_layout(layout);
            }
        }
    }
}

impl Plan {
    /// cuBLASLt counts by columns: our rows are its columns, so it is asked for `weight^T x` with `weight` as it lies.
    fn new(handle: cublasLtHandle_t, kind: cudaDataType, product: Product) -> Result<Self, CublasError> {
        let Product { rows, k, n, x_stride, out_stride, epilogue, .. } = product;
        let layout = |rows: usize, columns: usize, stride: usize| {
            result::create_matrix_layout(kind, rows as u64, columns as u64, stride as i64)
        };
        let description =
            result::create_matmul_desc(cublasComputeType_t::CUBLAS_COMPUTE_32F, cudaDataType::CUDA_R_32F)?;
        let epilogue = match epilogue {
            Epilogue::Nothing => cublasLtEpilogue_t::CUBLASLT_EPILOGUE_DEFAULT,
            Epilogue::Bias => cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS,
            Epilogue::BiasGelu => cublasLtEpilogue_t::CUBLASLT_EPILOGUE_GELU_BIAS,
        };
        // SAFETY: the attributes are of these types.
        unsafe {
            set(description, Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &TRANSPOSED)?;
            set(description, Attribute::CUBLASLT_MATMUL_DESC_TRANSB, &AS_IT_IS)?;
            set(description, Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue)?;
        }
        let (weight, x, out) = (layout(k, n, k)?, layout(k, rows, x_stride)?, layout(n, rows, out_stride)?);
        let preference = result::create_matmul_pref()?;
        // SAFETY: all of them were just made.
        let found = unsafe {
            let which = cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
            let bytes = WORKSPACE;
            result::set_matmul_pref_attribute(
                preference,
                which,
                ptr::from_ref(&bytes).cast(),
                size_of_val(&bytes),
            )?;
            let found =
                result::get_matmul_algo_heuristic(handle, description, weight, x, out, out, preference);
            result::destroy_matmul_pref(preference)?;
            found?
        };
        Ok(Self { description, weight, x, out, algorithm: found.algo })
    }
}

/// # Safety
/// The attribute must be of the value's type.
unsafe fn set<T>(description: cublasLtMatmulDesc_t, which: Attribute, value: &T) -> Result<(), CublasError> {
    unsafe {
        result::set_matmul_desc_attribute(description, which, ptr::from_ref(value).cast(), size_of::<T>())
    }
}

fn failed(what: &str, CublasError(code): CublasError) -> Error {
    Error::Device { what: what.to_owned(), message: format!("cuBLASLt answers {code:?}") }
}

impl Drop for Matmuls {
    fn drop(&mut self) {
        self.plans.clear();
        // SAFETY: nothing of them is used any more.
        unsafe {
            let _ = result::destroy_handle(self.handle);
            let _ = driver::free_sync(self.workspace);
        }
    }
}
