//! Memory of a device, counted while it is held.

use std::sync::Arc;

use cudarc::driver::{result, sys::CUdeviceptr};

use super::{
    Gpu,
    gpu::{refused, said},
};
use crate::error::Error;

/// Numbers that come by way of pinned memory: a clip, and not the velocity of a step.
const MANY: usize = 4 << 20;

/// Bytes of a device. Given back in the order of the stream, when all that was begun with them is done.
#[derive(Debug)]
pub(crate) struct Memory {
    gpu: Arc<Gpu>,
    at: CUdeviceptr,
    bytes: usize,
}

impl Memory {
    /// Room for `bytes` for `what`, which hold nothing sensible yet.
    ///
    /// # Errors
    /// `DeviceMemory` with what is held already.
    pub(crate) fn room(gpu: &Arc<Gpu>, bytes: usize, what: &str) -> Result<Self, Error> {
        // An empty one is one byte: the driver gives no empty memory.
        // SAFETY: it is freed on the same stream.
        match unsafe { result::malloc_async(gpu.stream(), bytes.max(1)) } {
            Ok(at) => {
                gpu.grew(bytes as u64);
                Ok(Self { gpu: Arc::clone(gpu), at, bytes })
            }
            Err(error) => Err(refused(what, bytes, [gpu.held(), gpu.total()], error)),
        }
    }

    pub(crate) fn at(&self) -> CUdeviceptr {
        self.at
    }

    pub(crate) fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }
}

impl Gpu {
    /// Has the driver take `bytes` for this process at once, or as much as there is: what is asked for next comes out of
    /// them, and taking them bit by bit costs more.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<(), Error> {
        let (free, _) = result::mem_get_info().map_err(|error| said("asking the device", error))?;
        // SAFETY: it is freed at once.
        unsafe {
            if let Ok(at) = result::malloc_async(self.stream(), bytes.min(free as u64 / 8 * 7) as usize) {
                result::free_async(at, self.stream()).map_err(|error| said("giving memory back", error))?;
            }
        }
        Ok(())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was taken from this stream and nobody holds its address any more.
        let freed = self.gpu.enter().map(|()| unsafe { result::free_async(self.at, self.gpu.stream()) });
        self.gpu.shrank(self.bytes as u64);
        if !matches!(freed, Ok(Ok(()))) {
            tracing::debug!("memory of a device that is lost was not given back");
        }
    }
}

/// Numbers in the device's precision: weights and activations.
#[derive(Debug)]
pub(crate) struct Numbers {
    memory: Memory,
    len: usize,
}

impl Numbers {
    /// # Errors
    /// As `Memory::room`.
    pub(crate) fn room(gpu: &Arc<Gpu>, len: usize, what: &str) -> Result<Self, Error> {
        Ok(Self { memory: Memory::room(gpu, len * gpu.precision().bytes(), what)?, len })
    }

    /// From numbers of the host.
    ///
    /// # Errors
    /// As `Memory::room`.
    pub(crate) fn from_f32(gpu: &Arc<Gpu>, values: &[f32], what: &str) -> Result<Self, Error> {
        let mut made = Self::room(gpu, values.len(), what)?;
        made.fill(values)?;
        Ok(made)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn at(&self) -> CUdeviceptr {
        self.memory.at()
    }

    /// Where number `index` is.
    pub(crate) fn from(&self, index: usize) -> CUdeviceptr {
        debug_assert!(index <= self.len, "{index} of {}", self.len);
        self.memory.at() + (index * self.memory.gpu().precision().bytes()) as u64
    }

    pub(crate) fn gpu(&self) -> &Arc<Gpu> {
        self.memory.gpu()
    }

    /// Its first numbers become `values`; returns when they are there.
    pub(crate) fn fill(&mut self, values: &[f32]) -> Result<(), Error> {
        self.fill_from(0, values)
    }

    /// Its numbers from `index` on become `values`; returns when they are there.
    pub(crate) fn fill_from(&mut self, index: usize, values: &[f32]) -> Result<(), Error> {
        assert!(index + values.len() <= self.len, "{} values at {index} of {}", values.len(), self.len);
        let gpu = self.gpu();
        match gpu.precision() {
            super::Precision::F32 => upload(gpu, self.from(index), values),
            super::Precision::Bf16 => {
                let narrow: Vec<half::bf16> =
                    values.iter().map(|value| half::bf16::from_f32(*value)).collect();
                upload(gpu, self.from(index), &narrow)
            }
        }
    }

    /// `len` of its numbers from `index` on, for the host; waits for all that was begun.
    pub(crate) fn to_f32(&self, index: usize, len: usize) -> Result<Vec<f32>, Error> {
        assert!(index + len <= self.len, "{len} values at {index} of {}", self.len);
        let gpu = self.gpu();
        match gpu.precision() {
            super::Precision::F32 => {
                let mut values = vec![0.0_f32; len];
                download(gpu, &mut values, self.from(index))?;
                Ok(values)
            }
            super::Precision::Bf16 => {
                let mut narrow = vec![half::bf16::ZERO; len];
                download(gpu, &mut narrow, self.from(index))?;
                Ok(narrow.into_iter().map(half::bf16::to_f32).collect())
            }
        }
    }

    /// Copies the first `len` numbers over those from `to` on.
    pub(crate) fn repeat(&mut self, len: usize, to: usize) -> Result<(), Error> {
        assert!(len <= to && to + len <= self.len, "{len} values to {to} of {}", self.len);
        copy(self.gpu(), self.at(), self.from(to), len * self.gpu().precision().bytes())
    }
}

/// Numbers in f32 whatever the precision: norms, modulations, what goes to and from the host.
#[derive(Debug)]
pub(crate) struct Floats {
    memory: Memory,
    len: usize,
}

impl Floats {
    /// # Errors
    /// As `Memory::room`.
    pub(crate) fn room(gpu: &Arc<Gpu>, len: usize, what: &str) -> Result<Self, Error> {
        Ok(Self { memory: Memory::room(gpu, 4 * len, what)?, len })
    }

    /// # Errors
    /// As `Memory::room`.
    pub(crate) fn from(gpu: &Arc<Gpu>, values: &[f32], what: &str) -> Result<Self, Error> {
        let mut made = Self::room(gpu, values.len(), what)?;
        made.fill(values)?;
        Ok(made)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn at(&self) -> CUdeviceptr {
        self.memory.at()
    }

    /// Where number `index` is.
    pub(crate) fn part(&self, index: usize) -> CUdeviceptr {
        debug_assert!(index <= self.len, "{index} of {}", self.len);
        self.memory.at() + 4 * index as u64
    }

    /// Its first numbers become `values`; returns when they are there.
    pub(crate) fn fill(&mut self, values: &[f32]) -> Result<(), Error> {
        assert!(values.len() <= self.len, "{} values of {}", values.len(), self.len);
        upload(self.memory.gpu(), self.at(), values)
    }

    /// All of them for the host; waits for all that was begun.
    pub(crate) fn values(&self) -> Result<Vec<f32>, Error> {
        let mut values = crate::kernels::zeros(self.len, "numbers of the device")?;
        if self.len < MANY {
            download(self.memory.gpu(), &mut values, self.at())?;
        } else {
            self.memory.gpu().fetch(self.at(), &mut values)?;
        }
        Ok(values)
    }
}

/// Brings `values` to the device, behind all that was begun, and returns when they are there.
pub(super) fn upload<T: Copy>(gpu: &Gpu, to: CUdeviceptr, values: &[T]) -> Result<(), Error> {
    if values.is_empty() {
        return Ok(());
    }
    // SAFETY: the caller's memory at `to` has room for them, and the copy is waited for.
    unsafe { result::memcpy_htod_async(to, values, gpu.stream()) }
        .map_err(|error| said("a copy to the device", error))?;
    gpu.wait()
}

/// Brings numbers from the device, behind all that was begun.
pub(super) fn download<T: Copy>(gpu: &Gpu, into: &mut [T], from: CUdeviceptr) -> Result<(), Error> {
    if into.is_empty() {
        return Ok(());
    }
    // SAFETY: there are as many at `from`, and they are read after the copy was waited for.
    unsafe { result::memcpy_dtoh_async(into, from, gpu.stream()) }
        .map_err(|error| said("a copy from the device", error))?;
    gpu.wait()
}

/// Copies within the device.
pub(super) fn copy(gpu: &Gpu, from: CUdeviceptr, to: CUdeviceptr, bytes: usize) -> Result<(), Error> {
    // SAFETY: the caller's memory at both places is that long.
    unsafe { result::memcpy_dtod_async(to, from, bytes, gpu.stream()) }
        .map_err(|error| said("a copy on the device", error))
}
