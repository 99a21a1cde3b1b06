//! NCCL, looked for when it is first used, by the name that its packages give it: `libnccl.so.2`. cudarc knows its types, and
//! looks for other names.
#![allow(unsafe_code, non_snake_case)]

use std::{
    ffi::{c_char, c_int, c_void},
    sync::OnceLock,
};

use cudarc::{
    driver::sys::CUstream,
    nccl::sys::{ncclComm_t, ncclConfig_t, ncclDataType_t, ncclRedOp_t, ncclResult_t, ncclUniqueId},
};
use libloading::Library;

use super::Trouble;

const NAMES: [&str; 2] = ["libnccl.so.2", "libnccl.so"];
const ABSENT: Trouble = Trouble::Absent("libnccl.so.2 (NCCL 2.28)");

/// Declares what is used of it, with the signatures of nccl.h, and how to find it.
macro_rules! functions {
    ($($name:ident($($argument:ty),*) -> $result:ty;)*) => {
        /// What is used of it.
        #[derive(Debug)]
        pub(super) struct Nccl {
            $(pub(super) $name: unsafe extern "C" fn($($argument),*) -> $result,)*
            _library: Library,
        }

        impl Nccl {
            /// # Safety
            /// `library` must be NCCL.
            unsafe fn of(library: Library) -> Result<Self, libloading::Error> {
                unsafe {
                    Ok(Self {
                        $($name: *library.get(concat!(stringify!($name), "\0").as_bytes())?,)*
                        _library: library,
                    })
                }
            }
        }
    };
}

functions! {
    ncclGetVersion(*mut c_int) -> ncclResult_t;
    ncclGetUniqueId(*mut ncclUniqueId) -> ncclResult_t;
    ncclGetErrorString(ncclResult_t) -> *const c_char;
    ncclGetLastError(ncclComm_t) -> *const c_char;
    ncclCommInitRankConfig(*mut ncclComm_t, c_int, ncclUniqueId, c_int, *mut ncclConfig_t) -> ncclResult_t;
    ncclCommGetAsyncError(ncclComm_t, *mut ncclResult_t) -> ncclResult_t;
    ncclCommAbort(ncclComm_t) -> ncclResult_t;
    ncclGroupStart() -> ncclResult_t;
    ncclGroupEnd() -> ncclResult_t;
    ncclAllReduce(*const c_void, *mut c_void, usize, ncclDataType_t, ncclRedOp_t, ncclComm_t, CUstream) -> ncclResult_t;
    ncclBroadcast(*const c_void, *mut c_void, usize, ncclDataType_t, c_int, ncclComm_t, CUstream) -> ncclResult_t;
    ncclSend(*const c_void, usize, ncclDataType_t, c_int, ncclComm_t, CUstream) -> ncclResult_t;
    ncclRecv(*mut c_void, usize, ncclDataType_t, c_int, ncclComm_t, CUstream) -> ncclResult_t;
}

/// NCCL, if this machine has it.
pub(super) fn nccl() -> Result<&'static Nccl, Trouble> {
    static FOUND: OnceLock<Option<Nccl>> = OnceLock::new();
    let find = || {
        // SAFETY: loading NCCL runs NVIDIA's initialisers.
        let library = NAMES.iter().find_map(|name| unsafe { Library::new(*name) }.ok())?;
        // SAFETY: it is NCCL by its name; one that is older lacks a function, and is not used.
        match unsafe { Nccl::of(library) } {
            Ok(nccl) => Some(nccl),
            Err(error) => {
                tracing::warn!(%error, "NCCL is too old");
                None
            }
        }
    };
    FOUND.get_or_init(find).as_ref().ok_or(ABSENT)
}
