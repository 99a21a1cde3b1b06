//! Device memory through which numbers of the host reach NCCL and come back.
#![allow(unsafe_code)]

use std::sync::Arc;

use cudarc::driver::{
    CudaContext, CudaSlice, CudaStream, DevicePtr, DriverError, result,
    sys::{self, CUdeviceptr, CUresult, CUstream},
};

use super::Trouble;

/// One buffer, as large as the largest that was asked for, and the stream on which it is used.
#[derive(Debug)]
pub(super) struct Stage {
    stream: Arc<CudaStream>,
    buffer: CudaSlice<u8>,
}

impl From<DriverError> for Trouble {
    fn from(error: DriverError) -> Self {
        Self::Cuda(format!("{:?}", error.0))
    }
}

impl Stage {
    /// On device number `device` of this machine, which becomes current for this thread.
    pub(super) fn new(device: usize) -> Result<Self, Trouble> {
        // SAFETY: loading a library runs its initialisers; these are NVIDIA's.
        if !unsafe { sys::is_culib_present() } {
            return Err(Trouble::Absent("libcuda.so (the NVIDIA driver)"));
        }
        let context = CudaContext::new(device)?;
        let stream = context.new_stream()?;
        // SAFETY: nothing reads a byte that was not written.
        let buffer = unsafe { stream.alloc::<u8>(1) }?;
        Ok(Self { stream, buffer })
    }

    pub(super) fn stream(&self) -> CUstream {
        self.stream.cu_stream()
    }

    /// Room for so many bytes.
    pub(super) fn room(&mut self, bytes: usize) -> Result<CUdeviceptr, Trouble> {
        if self.buffer.len() < bytes {
            // SAFETY: as in `new`.
            self.buffer = unsafe { self.stream.alloc::<u8>(bytes) }?;
        }
        let (at, _synchronised_on_drop) = self.buffer.device_ptr(&self.stream);
        Ok(at)
    }

    /// Brings `values` to the device.
    pub(super) fn upload<T: Copy>(&mut self, values: &[T]) -> Result<CUdeviceptr, Trouble> {
        let at = self.room(size_of_val(values))?;
        // SAFETY: there is room for all of them at `at`, and a copy from memory that is not pinned is done with it when
        // it returns.
        unsafe { result::memcpy_htod_async(at, values, self.stream.cu_stream()) }?;
        Ok(at)
    }

    /// Brings as many values back; the stream must be idle.
    pub(super) fn download<T: Copy>(&mut self, into: &mut [T]) -> Result<(), Trouble> {
        let at = self.room(size_of_val(into))?;
        // SAFETY: they were written by the stream, which is waited for before anybody reads them.
        unsafe { result::memcpy_dtoh_async(into, at, self.stream.cu_stream()) }?;
        Ok(self.stream.synchronize()?)
    }

    /// Asks whether the stream has done all that it was given.
    pub(super) fn idle(&self) -> impl Fn() -> Result<bool, Trouble> + use<> {
        let stream = Arc::clone(&self.stream);
        move || is_idle(stream.cu_stream())
    }
}

/// Whether a stream has done all that it was given.
pub(super) fn is_idle(stream: CUstream) -> Result<bool, Trouble> {
    // SAFETY: the stream is of somebody who asks while he has it.
    match unsafe { sys::cuStreamQuery(stream) } {
        CUresult::CUDA_SUCCESS => Ok(true),
        CUresult::CUDA_ERROR_NOT_READY => Ok(false),
        other => Err(DriverError(other).into()),
    }
}
