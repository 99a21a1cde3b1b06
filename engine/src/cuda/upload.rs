//! From a file to a device: threads read into pinned memory while the copies before run, and what is stored in another type is
//! converted on the device. Clips come back the same way.

use std::sync::Arc;

use cudarc::driver::{
    CudaStream, DriverError, result,
    sys::{self, CUdeviceptr, CUevent, CUresult},
};
use rayon::prelude::*;
use safetensors::Dtype;

use super::{
    Arg, Gpu, Precision,
    gpu::{refused, said},
};
use crate::error::Error;
use crate::weights::Stored;

/// Bytes that are read at once, of one tensor or of several.
const SLOT: usize = 16 << 20;
/// Slots that are read or copied at the same time.
const SLOTS: usize = 4;
/// Bytes that one thread reads at a time.
const PIECE: usize = 1 << 20;
/// Tensors begin at multiples of this in a slot.
const ALIGNED: usize = 256;

/// Pinned memory by turns, and the stream on which it is copied.
pub(super) struct Uploads {
    stream: Arc<CudaStream>,
    slots: Vec<Slot>,
    next: usize,
    /// What the next slot will be filled with, and how full it is.
    waiting: Vec<Piece>,
    filled: usize,
}

struct Slot {
    host: *mut u8,
    /// On the device, for what is converted there; 0 until it is needed.
    stage: CUdeviceptr,
    /// When its last copy was done.
    done: CUevent,
}

/// Some numbers of a tensor, and where they go.
struct Piece {
    of: Arc<Stored>,
    first: usize,
    count: usize,
    to: CUdeviceptr,
    /// In the slot.
    at: usize,
}

// SAFETY: whoever has it has its memory and its events to himself.
unsafe impl Send for Uploads {}

impl Uploads {
    pub(super) fn new(gpu: &Gpu) -> Result<Self, Error> {
        let stream = gpu.new_stream()?;
        let mut made = Self { stream, slots: Vec::new(), next: 0, waiting: Vec::new(), filled: 0 };
        for _ in 0..SLOTS {
            // SAFETY: both are given back when this is dropped.
            let (host, done) = unsafe {
                let host = result::malloc_host(SLOT, 0).map_err(|error| unpinned(SLOT, error))?;
                let done = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)
                    .map_err(|error| said("an event", error))?;
                (host, done)
            };
            made.slots.push(Slot { host: host.cast(), stage: 0, done });
        }
        Ok(made)
    }

    fn add(&mut self, gpu: &Gpu, tensor: Stored, to: CUdeviceptr) -> Result<(), Error> {
        let (width, len, tensor) = (tensor.width(), tensor.len(), Arc::new(tensor));
        let mut first = 0;
        while first < len {
            let room = (SLOT - self.filled) / width;
            if room == 0 {
                self.send(gpu)?;
                continue;
            }
            let count = room.min(len - first);
            let to = to + (first * gpu.precision().bytes()) as u64;
            self.waiting.push(Piece { of: Arc::clone(&tensor), first, count, to, at: self.filled });
            self.filled = (self.filled + count * width).next_multiple_of(ALIGNED).min(SLOT);
            first += count;
        }
        Ok(())
    }

    /// Fills a slot with what waits, by all threads, and begins its copy.
    fn send(&mut self, gpu: &Gpu) -> Result<(), Error> {
        let pieces = std::mem::take(&mut self.waiting);
        self.filled = 0;
        if pieces.is_empty() {
            return Ok(());
        }
        self.follow(gpu)?;
        let stream = self.stream.cu_stream();
        let slot = &mut self.slots[self.next];
        self.next = (self.next + 1) % SLOTS;
        // SAFETY: the event is there; one that was never recorded is done.
        unsafe { result::event::synchronize(slot.done) }
            .map_err(|error| said("a copy to the device", error))?;
        // SAFETY: the slot's memory is its own, that long, and no copy reads it any more.
        let mut rest = unsafe { std::slice::from_raw_parts_mut(slot.host, SLOT) };
        let (mut reads, mut begun) = (Vec::new(), 0);
        for piece in &pieces {
            let bytes = piece.count * piece.of.width();
            let (mine, after) = std::mem::take(&mut rest)[piece.at - begun..].split_at_mut(bytes);
            (rest, begun) = (after, piece.at + bytes);
            let from = piece.first * piece.of.width();
            reads.extend(mine.chunks_mut(PIECE).enumerate().map(|(i, part)| (piece, from + i * PIECE, part)));
        }
        reads
            .into_par_iter()
            .with_max_len(1)
            .try_for_each(|(piece, from, part)| piece.of.read(from, part))?;
        for Piece { of, count, to, at, .. } in &pieces {
            let kernel = conversion(of.dtype(), gpu.precision());
            if kernel.is_some() && slot.stage == 0 {
                // SAFETY: it is freed when this is dropped.
                slot.stage = unsafe { result::malloc_sync(SLOT) }.map_err(|error| {
                    refused("a stage for weights", SLOT, [gpu.held(), gpu.total()], error)
                })?;
            }
            let landing = if kernel.is_some() { slot.stage + *at as u64 } else { *to };
            // SAFETY: there is room for as much on both sides, and the event keeps the host's until the copy is done.
            unsafe {
                let bytes = std::slice::from_raw_parts(slot.host.add(*at), count * of.width());
                result::memcpy_htod_async(landing, bytes, stream)
            }
            .map_err(|error| said("a copy to the device", error))?;
            if let Some(kernel) = kernel {
                let args = [Arg::At(landing), Arg::At(*to), Arg::Long(*count as i64)];
                gpu.launch_on(stream, kernel, gpu.spread(*count), &args)?;
            }
        }
        // SAFETY: both are of this context.
        unsafe { result::event::record(slot.done, stream) }.map_err(|error| said("an event", error))
    }

    /// Nothing is written before the memory is there for which the stream of the device was asked.
    fn follow(&self, gpu: &Gpu) -> Result<(), Error> {
        after(gpu.stream(), self.stream.cu_stream())
    }

    /// Has what the device is given from now on wait for all that was asked for.
    fn lead(&mut self, gpu: &Gpu) -> Result<(), Error> {
        self.send(gpu)?;
        after(self.stream.cu_stream(), gpu.stream())
    }

    /// Brings numbers from `from`, behind all that the device was given: while one slot is copied there, threads empty the one
    /// before it.
    fn fetch(&mut self, gpu: &Gpu, from: CUdeviceptr, into: &mut [f32]) -> Result<(), Error> {
        self.finish(gpu)?;
        let told = |error| said("a copy from the device", error);
        let each = SLOT / size_of::<f32>();
        let mut parts: Vec<&mut [f32]> = into.chunks_mut(each).collect();
        for i in 0..parts.len() + 1 {
            if let Some(part) = parts.get(i) {
                let slot = &self.slots[i % SLOTS];
                // SAFETY: the slot has room for it, is empty, and is kept until the event says that the copy is done.
                unsafe {
                    let host = std::slice::from_raw_parts_mut(slot.host.cast::<f32>(), part.len());
                    result::memcpy_dtoh_async(host, from + (i * SLOT) as u64, gpu.stream()).map_err(told)?;
                    result::event::record(slot.done, gpu.stream()).map_err(told)?;
                }
            }
            if let Some(before) = i.checked_sub(1) {
                let (slot, part) = (&self.slots[before % SLOTS], &mut *parts[before]);
                // SAFETY: the event was recorded behind the copy.
                unsafe { result::event::synchronize(slot.done) }.map_err(told)?;
                // SAFETY: the copy has written as many.
                let host = unsafe { std::slice::from_raw_parts(slot.host.cast::<f32>(), part.len()) };
                part.par_chunks_mut(PIECE / 4)
                    .zip(host.par_chunks(PIECE / 4))
                    .for_each(|(to, from)| to.copy_from_slice(from));
            }
        }
        Ok(())
    }

    fn finish(&mut self, gpu: &Gpu) -> Result<(), Error> {
        self.send(gpu)?;
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
        let host = unsafe { result::malloc_host(bytes, 0) }.map_err(|error| unpinned(bytes, error))?;
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

/// Why there is no pinned memory: it is the machine's that ran out, and not the device's.
fn unpinned(bytes: usize, error: DriverError) -> Error {
    match error.0 {
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
            Error::OutOfMemory { what: "pinned memory".into(), bytes: bytes as u64 }
        }
        _ => said("pinned memory", error),
    }
}

/// Has stream `second` wait for what `first` was given.
fn after(first: sys::CUstream, second: sys::CUstream) -> Result<(), Error> {
    let done = || -> Result<(), DriverError> {
        // SAFETY: the event lives until both streams have been told of it.
        unsafe {
            let event = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)?;
            result::event::record(event, first)?;
            result::stream::wait_event(second, event, sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT)?;
            result::event::destroy(event)
        }
    };
    done().map_err(|error| said("an event", error))
}

/// The kernel that makes numbers of `precision` of stored ones.
fn conversion(stored: Dtype, precision: Precision) -> Option<&'static str> {
    match (stored, precision) {
        (Dtype::BF16, Precision::Bf16) | (Dtype::F32, Precision::F32) => None,
        (Dtype::F32, Precision::Bf16) => Some("convert_f32_bf16"),
        (Dtype::BF16, Precision::F32) => Some("convert_bf16_f32"),
        (_, Precision::Bf16) => Some("convert_f16_bf16"),
        (_, Precision::F32) => Some("convert_f16_f32"),
    }
}

impl Gpu {
    /// Brings the numbers of `tensor` to `to`, in the precision of the device, some time before `uploaded` returns.
    ///
    /// # Errors
    /// `Io` when the file cannot be read, or `Device`.
    pub(crate) fn upload(&self, tensor: Stored, to: CUdeviceptr) -> Result<(), Error> {
        self.with_slots(|uploads| uploads.add(self, tensor, to))
    }

    /// Brings many numbers from `from`, behind all that the device was given.
    ///
    /// # Errors
    /// `Device`.
    pub(super) fn fetch(&self, from: CUdeviceptr, into: &mut [f32]) -> Result<(), Error> {
        self.with_slots(|uploads| uploads.fetch(self, from, into))
    }

    fn with_slots<T>(&self, act: impl FnOnce(&mut Uploads) -> Result<T, Error>) -> Result<T, Error> {
        let mut uploads = self.uploads();
        match &mut *uploads {
            Some(uploads) => act(uploads),
            none => act(none.insert(Uploads::new(self)?)),
        }
    }

    /// What the device is given from now on finds all that was asked for.
    ///
    /// # Errors
    /// As `upload`.
    pub(crate) fn await_uploads(&self) -> Result<(), Error> {
        self.uploads().as_mut().map_or(Ok(()), |uploads| uploads.lead(self))
    }

    /// Returns when all that was asked for is there.
    ///
    /// # Errors
    /// As `upload`.
    pub(crate) fn uploaded(&self) -> Result<(), Error> {
        self.uploads().as_mut().map_or(Ok(()), |uploads| uploads.finish(self))
    }

    /// Does `load`, whose uploads are there when this returns. Where it fails, what it had asked for is forgotten: the memory
    /// for it is gone.
    ///
    /// # Errors
    /// Those of `load`; as `upload`.
    pub(crate) fn loading<T>(&self, load: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        self.enter()?;
        let loaded = load().and_then(|loaded| self.uploaded().map(|()| loaded));
        if loaded.is_err()
            && let Some(uploads) = self.uploads().as_mut()
        {
            uploads.waiting.clear();
            uploads.filled = 0;
            let _ = uploads.stream.synchronize();
        }
        loaded
    }
}
