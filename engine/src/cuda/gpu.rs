//! One device in the hands of this process: its stream, its kernels, and the memory that was taken of it.

use std::{
    collections::BTreeMap,
    ffi::{CString, c_void},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use cudarc::driver::{
    CudaContext, CudaStream, DriverError, result,
    sys::{self, CUdevice_attribute, CUdeviceptr, CUfunction, CUmodule, CUresult, CUstream},
};

use super::{
    Precision, attention, decoder, images,
    matmul::Matmuls,
    probe::{self, CAPABILITY_MIN},
    upload::Uploads,
};
use crate::error::Error;

/// More dynamic shared memory than this must be asked for.
const SHARED_FREE: u32 = 48 << 10;

/// A device, opened. Whatever uses it calls `enter` on its own thread first.
pub struct Gpu {
    // These give back what they hold while there is still a context.
    matmuls: Mutex<Matmuls>,
    uploads: Mutex<Option<Uploads>>,
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    kernels: BTreeMap<String, CUfunction>,
    modules: Vec<CUmodule>,
    precision: Precision,
    name: String,
    capability: u32,
    processors: u32,
    total: u64,
    held: AtomicU64,
    most: AtomicU64,
}

// SAFETY: handles of the driver may be used from any thread whose current context is theirs, which `enter` sees to; what is
// not a handle is behind a lock.
unsafe impl Send for Gpu {}
// SAFETY: as above.
unsafe impl Sync for Gpu {}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpu")
            .field("name", &self.name)
            .field("precision", &self.precision)
            .finish_non_exhaustive()
    }
}

/// An argument of a kernel.
#[derive(Clone, Copy)]
pub(crate) enum Arg<'a> {
    At(CUdeviceptr),
    Int(i32),
    Long(i64),
    Float(f32),
    Map(&'a sys::CUtensorMap),
}

/// How many blocks of how many threads, and the dynamic shared memory of each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) grid: [u32; 3],
    pub(crate) block: u32,
    pub(crate) shared: u32,
}

impl Shape {
    /// One block for each of `rows`, in `parts`.
    pub(crate) fn rows(rows: usize, parts: usize, block: u32) -> Self {
        Self { grid: [rows as u32, parts as u32, 1], block, shared: 0 }
    }
}

impl Gpu {
    /// Opens device number `ordinal` of those that this process may use.
    ///
    /// # Errors
    /// `NoDevice` with what is missing, or when the device is too old; `DeviceMemory`; `Device`.
    pub fn open(ordinal: usize, precision: Precision) -> Result<Arc<Self>, Error> {
        probe::driver().and_then(|_| probe::cublas()).map_err(|absent| Error::NoDevice {
            message: absent.to_string(),
            remedy: absent.remedy().to_owned(),
        })?;
        let context = CudaContext::new(ordinal).map_err(|error| match error.0 {
            CUresult::CUDA_ERROR_INVALID_DEVICE => Error::NoDevice {
                message: format!("CUDA shows this process no device of number {ordinal}"),
                remedy: "see `nvidia-smi -L` and CUDA_VISIBLE_DEVICES".into(),
            },
            _ => said("opening the device", error),
        })?;
        let attribute = |which| context.attribute(which).map_err(|error| said("asking the device", error));
        let major = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        let processors = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        let name = context.name().map_err(|error| said("asking the device", error))?;
        let capability = (10 * major + minor).unsigned_abs();
        if capability < CAPABILITY_MIN {
            return Err(Error::NoDevice {
                message: format!("{name} has compute capability {major}.{minor}, and bf16 needs 8.0"),
                remedy: "use a device of the Ampere generation or newer".into(),
            });
        }
        let stream = context.new_stream().map_err(|error| said("a stream", error))?;
        let total = context.total_mem().map_err(|error| said("asking the device", error))? as u64;
        keep_freed_memory(&context)?;
        let (modules, kernels) = load(capability)?;
        let matmuls = Mutex::new(Matmuls::new(total)?);
        let gpu = Self {
            matmuls,
            uploads: Mutex::new(None),
            context,
            stream,
            kernels,
            modules,
            precision,
            name,
            capability,
            processors: processors.unsigned_abs(),
            total,
            held: AtomicU64::new(0),
            most: AtomicU64::new(0),
        };
        gpu.grew(Matmuls::bytes() as u64);
        attention::prepare(&gpu)?;
        decoder::prepare(&gpu)?;
        Ok(Arc::new(gpu))
    }

    /// Makes the device the one of this thread.
    pub(crate) fn enter(&self) -> Result<(), Error> {
        self.context.bind_to_thread().map_err(|error| said("entering the device", error))
    }

    pub fn precision(&self) -> Precision {
        self.precision
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// `10 * major + minor`.
    pub fn capability(&self) -> u32 {
        self.capability
    }

    pub(crate) fn processors(&self) -> u32 {
        self.processors
    }

    /// Bytes of the device.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes that are held now.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// The most bytes that were held at once since the last `forget_most`. What the driver keeps for itself is not in it.
    pub fn most_held(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }

    pub fn forget_most(&self) {
        self.most.store(self.held(), Ordering::Relaxed);
    }

    pub(super) fn grew(&self, bytes: u64) {
        let held = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.most.fetch_max(held, Ordering::Relaxed);
    }

    pub(super) fn shrank(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn stream(&self) -> CUstream {
        self.stream.cu_stream()
    }

    pub(super) fn matmuls(&self) -> MutexGuard<'_, Matmuls> {
        self.matmuls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn uploads(&self) -> MutexGuard<'_, Option<Uploads>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A second stream, for copies that run beside what is computed.
    pub(super) fn new_stream(&self) -> Result<Arc<CudaStream>, Error> {
        self.context.new_stream().map_err(|error| said("a stream", error))
    }

    /// Waits until the device has done all that it was given.
    pub(crate) fn wait(&self) -> Result<(), Error> {
        self.stream.synchronize().map_err(|error| said("computing", error))
    }

    /// What the driver says of a device that is lost, without a wait.
    #[cfg(feature = "nccl")]
    pub(super) fn trouble(&self) -> Option<Error> {
        // SAFETY: the stream is there.
        match unsafe { sys::cuStreamQuery(self.stream()) } {
            CUresult::CUDA_SUCCESS | CUresult::CUDA_ERROR_NOT_READY => None,
            other => Some(said("computing", DriverError(other))),
        }
    }

    /// Whether this device has kernel `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.kernels.contains_key(name)
    }

    /// Gives the device `name`'s work. Errors of the arithmetic itself show at the next `wait`.
    pub(crate) fn launch(&self, name: &str, shape: Shape, args: &[Arg<'_>]) -> Result<(), Error> {
        self.launch_on(self.stream(), name, shape, args)
    }

    /// The same on another stream.
    pub(super) fn launch_on(
        &self,
        stream: CUstream,
        name: &str,
        shape: Shape,
        args: &[Arg<'_>],
    ) -> Result<(), Error> {
        let &kernel = self.kernels.get(name).unwrap_or_else(|| panic!("no kernel {name}"));
        let [x, y, z] = shape.grid;
        if x == 0 || y == 0 || z == 0 {
            return Ok(());
        }
        let mut pointers: Vec<*mut c_void> = args.iter().map(Arg::address).collect();
        // SAFETY: the arguments are those of the kernel by the word of the caller, and are copied by the call.
        unsafe {
            result::launch_kernel(kernel, (x, y, z), (shape.block, 1, 1), shape.shared, stream, &mut pointers)
        }
        .map_err(|error| said(name, error))
    }

    /// Gives the device kernel `stem` of this precision.
    pub(crate) fn launch_typed(&self, stem: &str, shape: Shape, args: &[Arg<'_>]) -> Result<(), Error> {
        self.launch(&format!("{stem}_{}", self.precision.suffix()), shape, args)
    }

    /// A kernel that walks over `count` elements by as many threads as the device can keep busy.
    pub(crate) fn spread(&self, count: usize) -> Shape {
        let blocks = count.div_ceil(256 * 8).clamp(1, 16 * self.processors as usize);
        Shape { grid: [blocks as u32, 1, 1], block: 256, shared: 0 }
    }

    /// Lets kernel `name` use `bytes` of dynamic shared memory.
    pub(crate) fn allow_shared(&self, name: &str, bytes: u32) -> Result<(), Error> {
        let Some(&kernel) = self.kernels.get(name).filter(|_| bytes > SHARED_FREE) else { return Ok(()) };
        let which = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: the function is loaded.
        unsafe { result::function::set_function_attribute(kernel, which, bytes as i32) }
            .map_err(|error| said(name, error))
    }
}

impl Arg<'_> {
    fn address(&self) -> *mut c_void {
        let place: *const c_void = match self {
            Self::At(value) => std::ptr::from_ref(value).cast(),
            Self::Int(value) => std::ptr::from_ref(value).cast(),
            Self::Long(value) => std::ptr::from_ref(value).cast(),
            Self::Float(value) => std::ptr::from_ref(value).cast(),
            Self::Map(value) => std::ptr::from_ref(*value).cast(),
        };
        place.cast_mut()
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        if self.context.bind_to_thread().is_err() {
            return;
        }
        for module in self.modules.drain(..) {
            // SAFETY: nothing launches a kernel of it any more.
            if let Err(error) = unsafe { result::module::unload(module) } {
                tracing::debug!(error = %probe::words(error), "a module stayed loaded");
            }
        }
    }
}

/// Memory that is freed stays with this process, so that the next allocation of its size costs nothing.
fn keep_freed_memory(context: &CudaContext) -> Result<(), Error> {
    let asked = || -> Result<(), DriverError> {
        // SAFETY: the device is that of the context, and the place holds the number that the attribute wants.
        unsafe {
            let pool = result::device::get_default_mem_pool(context.cu_device())?;
            let mut all = u64::MAX;
            let which = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
            sys::cuMemPoolSetAttribute(pool, which, (&raw mut all).cast()).result()
        }
    };
    asked().map_err(|error| said("the pool of memory", error))
}

fn load(capability: u32) -> Result<(Vec<CUmodule>, BTreeMap<String, CUfunction>), Error> {
    let (mut modules, mut kernels) = (Vec::new(), BTreeMap::new());
    for image in images::images(capability) {
        // SAFETY: the image is whole; PTX ends in a zero.
        let module = unsafe { result::module::load_data(image.bytes.as_ptr().cast()) }
            .map_err(|error| said(image.module, error))?;
        modules.push(module);
        let mut count = 0;
        // SAFETY: the places outlive the calls, and there is room for `count` functions.
        let functions = unsafe {
            sys::cuModuleGetFunctionCount(&raw mut count, module)
                .result()
                .map_err(|error| said(image.module, error))?;
            let mut functions: Vec<CUfunction> = vec![std::ptr::null_mut(); count as usize];
            sys::cuModuleEnumerateFunctions(functions.as_mut_ptr(), count, module)
                .result()
                .map_err(|error| said(image.module, error))?;
            functions
        };
        for function in functions {
            let mut name = std::ptr::null();
            // SAFETY: the name lives as long as the module.
            let name = unsafe {
                sys::cuFuncGetName(&raw mut name, function)
                    .result()
                    .map_err(|error| said(image.module, error))?;
                std::ffi::CStr::from_ptr(name)
            };
            let name = CString::from(name).to_string_lossy().into_owned();
            kernels.insert(name, function);
        }
    }
    Ok((modules, kernels))
}

/// Why there was no room for `bytes`, beside `held` that this process holds of the device's `total`.
pub(super) fn refused(what: &str, bytes: usize, [held, total]: [u64; 2], error: DriverError) -> Error {
    match error.0 {
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
            Error::DeviceMemory { what: what.to_owned(), bytes: bytes as u64, held, total }
        }
        _ => said(what, error),
    }
}

/// The driver's word about `what` as an error.
pub(super) fn said(what: &str, error: DriverError) -> Error {
    Error::Device { what: what.to_owned(), message: probe::words(error) }
}
