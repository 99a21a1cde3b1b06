//! How a tensor lies in memory, as Hopper's copy engine wants to be told.

use std::{ffi::c_void, mem::MaybeUninit};

use cudarc::driver::sys::{self, CUdeviceptr};

use super::gpu::said;
use crate::error::Error;

/// A tensor of bf16 and the box of it that is copied at once, from the innermost dimension outward.
#[derive(Clone, Copy, Debug)]
pub(super) struct Boxes {
    pub(super) at: CUdeviceptr,
    pub(super) dims: [usize; 4],
    /// Numbers from one place to the next of each dimension but the innermost, whose numbers are side by side.
    pub(super) strides: [usize; 3],
    /// Its innermost 64 numbers become a row of 128 bytes.
    pub(super) lines: [usize; 3],
    /// How much of a line beside what was asked for comes to the second-level cache: 128 bytes, or 256.
    pub(super) promotion: sys::CUtensorMapL2promotion,
}

impl Boxes {
    /// Rows in shared memory are swizzled in units of eight.
    ///
    /// # Errors
    /// `Device`.
    pub(super) fn map(self) -> Result<sys::CUtensorMap, Error> {
        let [x, y, z] = self.lines;
        let dims = self.dims.map(|n| n as u64);
        let bytes = self.strides.map(|n| 2 * n as u64);
        let (box_, steps) = ([64, x, y, z].map(|n| n as u32), [1_u32; 4]);
        let mut map = MaybeUninit::<sys::CUtensorMap>::zeroed();
        // SAFETY: the places are as long as a map of four dimensions wants them, and the map is written when it is made.
        unsafe {
            sys::cuTensorMapEncodeTiled(
                map.as_mut_ptr(),
                sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                4,
                self.at as *mut c_void,
                dims.as_ptr(),
                bytes.as_ptr(),
                box_.as_ptr(),
                steps.as_ptr(),
                sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
                self.promotion,
                sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
            .result()
            .map_err(|error| said("a tensor map", error))?;
            Ok(map.assume_init())
        }
    }
}
