//! NCCL's library: looked for once, by the name that its packages give it. Only `libnccl.so.2` is in those that a machine without
//! a compiler has; `libnccl.so` comes with the headers.
#![allow(unsafe_code)]

use std::{
    ffi::{c_char, c_int, c_void},
    sync::OnceLock,
};

use cudarc::{
    driver::sys::CUstream,
    nccl::sys::{ncclComm_t, ncclConfig_t, ncclDataType_t, ncclRedOp_t, ncclResult_t, ncclUniqueId},
};

use super::Trouble;

const NAMES: [&str; 2] = ["libnccl.so.2", "libnccl.so"];

/// What we call, with the signatures of nccl.h.
macro_rules! functions {
    ($($name:ident: fn($($argument:ty),*) -> $answer:ty;)*) => {
        #[allow(non_snake_case)]
        #[derive(Debug)]
        pub(super) struct Nccl {
            $(pub(super) $name: unsafe extern "C" fn($($argument),*) -> $answer,)*
        }

        impl Nccl {
            /// None if one of them is not there.
            fn of(library: &libloading::Library) -> Option<Self> {
                // SAFETY: each has the signature that is given here, and the library is never unloaded.
                Some(unsafe { Self { $($name: *library.get(concat!(stringify!($name), "\0").as_bytes()).ok()?,)* } })
            }
        }
    };
}

functions! {
    ncclGetVersion: fn(*mut c_int) -> ncclResult_t;
    ncclGetUniqueId: fn(*mut ncclUniqueId) -> ncclResult_t;
    ncclGetErrorString: fn(ncclResult_t) -> *const c_char;
    ncclGetLastError: fn(ncclComm_t) -> *const c_char;
    ncclCommInitRankConfig: fn(*mut ncclComm_t, c_int, ncclUniqueId, c_int, *mut ncclConfig_t) -> ncclResult_t;
    ncclCommGetAsyncError: fn(ncclComm_t, *mut ncclResult_t) -> ncclResult_t;
    ncclCommAbort: fn(ncclComm_t) -> ncclResult_t;
    ncclAllReduce: fn(*const c_void, *mut c_void, usize, ncclDataType_t, ncclRedOp_t, ncclComm_t, CUstream) -> ncclResult_t;
    ncclBroadcast: fn(*const c_void, *mut c_void, usize, ncclDataType_t, c_int, ncclComm_t, CUstream) -> ncclResult_t;
    ncclGroupStart: fn() -> ncclResult_t;
    ncclGroupEnd: fn() -> ncclResult_t;
    ncclSend: fn(*const c_void, usize, ncclDataType_t, c_int, ncclComm_t, CUstream) -> ncclResult_t;
    ncclRecv: fn(*mut c_void, usize, ncclDataType_t, c_int, ncclComm_t, CUstream) -> ncclResult_t;
}

/// It, loaded when it is first asked for and kept for good.
pub(super) fn nccl() -> Result<&'static Nccl, Trouble> {
    static FOUND: OnceLock<Option<Nccl>> = OnceLock::new();
    FOUND.get_or_init(load).as_ref().ok_or(Trouble::Absent("libnccl.so.2 (NCCL 2.28)"))
}

fn load() -> Option<Nccl> {
    NAMES.iter().find_map(|name| {
        // SAFETY: loading a library runs its initialisers; these are NVIDIA's.
        let library = unsafe { libloading::Library::new(*name) }.ok()?;
        let nccl = Nccl::of(&library);
        // Its functions are used as long as the process lives.
        std::mem::forget(library);
        nccl
    })
}
