//! From a file to a device: threads read into pinned memory while the copies before run, and what is stored in another type is
//! converted on the device.

use std::sync::Arc;

use cudarc::driver::{
    CudaStream, result,
    sys::{self, CUdeviceptr, CUevent},
};
use rayon::prelude::*;
use safetensors::Dtype;

use super::{Arg, Gpu, Precision, gpu::said};
use crate::error::Error;
use crate::weights::Stored;

/// Bytes of one copy.
const SLOT: usize = 32 << 20;
/// Copies that are read or run at the same time.
const SLOTS: usize = 4;
/// Bytes that one thread reads at a time.
const PIECE: usize = 1 << 20;

/// Pinned memory by turns, and the stream on which it is copied.
pub(super) struct Uploads {
    stream: Arc<CudaStream>,
    slots: Vec<Slot>,
    next: usize,
}

struct Slot {
    host: *mut u8,
    /// On the device, for what is converted there; 0 until it is needed.
    stage: CUdeviceptr,
    /// When its last copy was done.
    done: CUevent,
}

// SAFETY: whoever has it has its memory and its event to himself.
unsafe impl Send for Uploads {}

impl Uploads {
    pub(super) fn new(gpu: &Gpu) -> Result<Self, Error> {
        let stream = gpu.new_stream()?;
        let mut made = Self { stream, slots: Vec::new(), next: 0 };
        for _ in 0..SLOTS {
            // SAFETY: both are given back when this is dropped.
            let (host, done) = unsafe {
                let host = result::malloc_host(SLOT, 0).map_err(|error| said("pinned memory", error))?;
                let done = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)
                    .map_err(|error| said("an event", error))?;
                (host, done)
            };
            made.slots.push(Slot { host: host.cast(), stage: 0, done });
        }
        Ok(made)
    }

    /// Begins to bring `tensor` to the device as numbers of its precision.
    fn begin(&mut self, gpu: &Gpu, tensor: &Stored, to: CUdeviceptr) -> Result<(), Error> {
        let (width, len) = (tensor.width(), tensor.len());
        let kernel = match (tensor.dtype(), gpu.precision()) {
            (Dtype::BF16, Precision::Bf16) | (Dtype::F32, Precision::F32) => None,
            (Dtype::F32, Precision::Bf16) => Some("convert_f32_bf16"),
            (Dtype::BF16, Precision::F32) => Some("convert_bf16_f32"),
            (_, Precision::Bf16) => Some("convert_f16_bf16"),
            (_, Precision::F32) => Some("convert_f16_f32"),
        };
        let stream = self.stream.cu_stream();
        self.follow(gpu)?;
        let each = SLOT / width;
        for first in (0..len).step_by(each) {
            let count = each.min(len - first);
            let slot = &mut self.slots[self.next];
            self.next = (self.next + 1) % SLOTS;
            // SAFETY: the event is there; one that was never recorded is done.
            unsafe { result::event::synchronize(slot.done) }
                .map_err(|error| said("a copy to the device", error))?;
            // SAFETY: the slot's memory is its own, that long, and no copy reads it any more.
            let bytes = unsafe { std::slice::from_raw_parts_mut(slot.host, count * width) };
            bytes
                .par_chunks_mut(PIECE)
                .enumerate()
                .try_for_each(|(i, piece)| tensor.read(first * width + i * PIECE, piece))?;
            let out = to + (first * gpu.precision().bytes()) as u64;
            if kernel.is_some() && slot.stage == 0 {
                // SAFETY: it is freed when this is dropped.
                slot.stage = unsafe { result::malloc_sync(SLOT) }.map_err(|error| said("a stage", error))?;
            }
            let landing = if kernel.is_some() { slot.stage } else { out };
            // SAFETY: there is room for as much on both sides, and the event keeps the host's until the copy is done.
            unsafe { result::memcpy_htod_async(landing, bytes, stream) }
                .map_err(|error| said("a copy to the device", error))?;
            if let Some(kernel) = kernel {
                let args = [Arg::At(landing), Arg::At(out), Arg::Long(count as i64)];
                gpu.launch_on(stream, kernel, gpu.spread(count), &args)?;
            }
            // SAFETY: both are of this context.
            unsafe { result::event::record(slot.done, stream) }.map_err(|error| said("an event", error))?;
        }
        Ok(())
    }

    /// Nothing is written before the memory is there for which the stream of the device was asked.
    fn follow(&self, gpu: &Gpu) -> Result<(), Error> {
        let done = || -> Result<(), cudarc::driver::DriverError> {
            // SAFETY: the event lives until both streams have been told of it.
            unsafe {
                let event = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)?;
                result::event::record(event, gpu.stream())?;
                result::stream::wait_event(
                    self.stream.cu_stream(),
                    event,
                    sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT,
                )?;
                result::event::destroy(event)
            }
        };
        done().map_err(|error| said("an event", error))
    }

    pub(super) fn finish(&self) -> Result<(), Error> {
        self.stream.synchronize().map_err(|error| said("a copy to the device", error))
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        let _ = self.stream.synchronize();
        for slot in &self.slots {
            // SAFETY: no copy uses them any more.
            unsafe {
                let _ = result::event::destroy(slot.done);
                let _ = result::free_host(slot.host.cast());
                if slot.stage != 0 {
                    let _ = result::free_sync(slot.stage);
                }
            }
        }
    }
}

/// Pinned memory that is written to a device again and again, to see how fast that is.
pub(super) struct Pinned {
    host: *mut u8,
    bytes: usize,
}

impl Pinned {
    pub(super) fn new(bytes: usize) -> Result<Self, Error> {
        // SAFETY: it is given back when this is dropped.
        let host = unsafe { result::malloc_host(bytes, 0) }.map_err(|error| said("pinned memory", error))?;
        // SAFETY: it is that long, and nobody else knows of it.
        unsafe { host.write_bytes(0, bytes) };
        Ok(Self { host: host.cast(), bytes })
    }

    pub(super) fn copy_to(&self, gpu: &Gpu, to: CUdeviceptr) -> Result<(), Error> {
        // SAFETY: it is that long, and is kept until the caller has waited for the stream.
        unsafe {
            result::memcpy_htod_async(to, std::slice::from_raw_parts(self.host, self.bytes), gpu.stream())
        }
        .map_err(|error| said("a copy to the device", error))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: no copy reads it any more.
        let _ = unsafe { result::free_host(self.host.cast()) };
    }
}

impl Gpu {
    /// Begins to bring the numbers of `tensor` to `to`, in the precision of the device. They are there after `uploaded`.
    ///
    /// # Errors
    /// `Io` when the file cannot be read, or `Device`.
    pub(crate) fn upload(&self, tensor: Stored, to: CUdeviceptr) -> Result<(), Error> {
        let mut uploads = self.uploads();
        if uploads.is_none() {
            *uploads = Some(Uploads::new(self)?);
        }
        uploads.as_mut().map_or(Ok(()), |uploads| uploads.begin(self, &tensor, to))
    }

    /// Returns when all that was begun is there.
    ///
    /// # Errors
    /// `Device`.
    pub(crate) fn uploaded(&self) -> Result<(), Error> {
        self.uploads().as_ref().map_or(Ok(()), Uploads::finish)
    }

    /// Gives back the pinned memory, once a model is there.
    pub(crate) fn end_uploads(&self) -> Result<(), Error> {
        self.uploaded()?;
        self.uploads().take();
        Ok(())
    }
}
