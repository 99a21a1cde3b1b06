//! One communicator of NCCL: begun, used and aborted, never waited for. Only symbols that NCCL 2.28 has.
#![allow(unsafe_code)]

use std::{ffi::CStr, mem::MaybeUninit, ops::Range, ptr};

use cudarc::{
    driver::sys::{CUdeviceptr, CUstream},
    nccl::sys::{ncclComm_t, ncclConfig_t, ncclDataType_t, ncclRedOp_t, ncclResult_t, ncclUniqueId},
};

use super::{
    super::number::Kind,
    Trouble,
    library::{Nccl, nccl},
};

pub(super) const ID_BYTES: usize = size_of::<ncclUniqueId>();
/// What marks a configuration as one: NCCL compares it.
const MAGIC: u32 = 0xcafe_beef;
/// "As NCCL likes", for a number.
const UNDEFINED: i32 = i32::MIN;

pub(super) fn version() -> Result<u32, Trouble> {
    let (nccl, mut version) = (nccl()?, 0);
    // SAFETY: the place outlives the call.
    begun(nccl, unsafe { (nccl.ncclGetVersion)(&raw mut version) })?;
    Ok(version.unsigned_abs())
}

/// The id of a new communicator, for all its ranks.
pub(super) fn new_id() -> Result<Vec<u8>, Trouble> {
    let (nccl, mut id) = (nccl()?, ncclUniqueId { internal: [0; ID_BYTES] });
    // SAFETY: the place outlives the call.
    begun(nccl, unsafe { (nccl.ncclGetUniqueId)(&raw mut id) })?;
    Ok(id.internal.iter().map(|byte| byte.cast_unsigned()).collect())
}

fn said(nccl: &Nccl, code: ncclResult_t) -> Trouble {
    // SAFETY: NCCL gives a text of its own for any code, which lives as long as the library.
    let text = unsafe { CStr::from_ptr((nccl.ncclGetErrorString)(code)) };
    // SAFETY: as above; the last text may be null or empty, and needs no communicator.
    let last = unsafe { (nccl.ncclGetLastError)(ptr::null_mut()) };
    let last = if last.is_null() { c"" } else { unsafe { CStr::from_ptr(last) } };
    let (text, last) = (text.to_string_lossy(), last.to_string_lossy());
    Trouble::Nccl(if last.is_empty() { text.into_owned() } else { format!("{text} ({})", last.trim()) })
}

/// What NCCL answers at once; in progress is as good as done, for `trouble` says later when it was not.
fn begun(nccl: &Nccl, code: ncclResult_t) -> Result<(), Trouble> {
    match code {
        ncclResult_t::ncclSuccess | ncclResult_t::ncclInProgress => Ok(()),
        code => Err(said(nccl, code)),
    }
}

/// A configuration in which only `blocking` is set.
fn not_blocking() -> ncclConfig_t {
    // SAFETY: it is made of numbers and of pointers that may be null.
    let mut config: ncclConfig_t = unsafe { MaybeUninit::zeroed().assume_init() };
    config.size = size_of::<ncclConfig_t>();
    config.magic = MAGIC;
    config.version = 22_800;
    for number in [
        &mut config.cgaClusterSize,
        &mut config.minCTAs,
        &mut config.maxCTAs,
        &mut config.splitShare,
        &mut config.trafficClass,
        &mut config.collnetEnable,
        &mut config.CTAPolicy,
        &mut config.shrinkShare,
        &mut config.nvlsCTAs,
        &mut config.nChannelsPerNetPeer,
        &mut config.nvlinkCentricSched,
    ] {
        *number = UNDEFINED;
    }
    config.blocking = 0;
    config
}

/// A communicator that one thread uses; aborted when it goes.
#[derive(Debug)]
pub(super) struct Comm {
    nccl: &'static Nccl,
    raw: ncclComm_t,
    rank: usize,
    ranks: usize,
}

// SAFETY: NCCL wants one thread at a time, not always the same one, and `&mut` gives it that.
unsafe impl Send for Comm {}

impl Comm {
    /// Begins to join the others, on the device that is current for this thread.
    pub(super) fn begin(id: &[u8], rank: usize, ranks: usize) -> Result<Self, Trouble> {
        let mut told = ncclUniqueId { internal: [0; ID_BYTES] };
        told.internal.iter_mut().zip(id).for_each(|(to, from)| *to = from.cast_signed());
        let (nccl, mut raw, mut config) = (nccl()?, ptr::null_mut(), not_blocking());
        // SAFETY: both places outlive the call, which copies the configuration.
        begun(nccl, unsafe {
            (nccl.ncclCommInitRankConfig)(&raw mut raw, ranks as i32, told, rank as i32, &raw mut config)
        })?;
        Ok(Self { nccl, raw, rank, ranks })
    }

    pub(super) fn rank(&self) -> usize {
        self.rank
    }

    pub(super) fn ranks(&self) -> usize {
        self.ranks
    }

    /// Whether all that was begun on this side is under way.
    pub(super) fn is_settled(&self) -> Result<bool, Trouble> {
        Ok(self.state()? != ncclResult_t::ncclInProgress)
    }

    /// What went wrong since it was begun, if anything did.
    pub(super) fn trouble(&self) -> Result<(), Trouble> {
        begun(self.nccl, self.state()?)
    }

    fn state(&self) -> Result<ncclResult_t, Trouble> {
        if self.raw.is_null() {
            return Err(Trouble::Nccl("the communicator was aborted".to_owned()));
        }
        let mut state = ncclResult_t::ncclSuccess;
        // SAFETY: the communicator is not aborted, and `state` outlives the call.
        begun(self.nccl, unsafe { (self.nccl.ncclCommGetAsyncError)(self.raw, &raw mut state) })?;
        Ok(state)
    }

    /// Frees whatever waits in it, on this rank; the others notice by their own means.
    pub(super) fn abort(&mut self) {
        let raw = std::mem::replace(&mut self.raw, ptr::null_mut());
        // SAFETY: it was there until now and is not used any more.
        if !raw.is_null()
            && let Err(trouble) = begun(self.nccl, unsafe { (self.nccl.ncclCommAbort)(raw) })
        {
            tracing::debug!(%trouble, "a communicator was not aborted in good order");
        }
    }

    /// Sums `count` numbers at `at` over all ranks, in place.
    pub(super) fn all_reduce(
        &mut self,
        at: CUdeviceptr,
        count: usize,
        kind: Kind,
        stream: CUstream,
    ) -> Result<(), Trouble> {
        let sum = ncclRedOp_t::ncclSum;
        // SAFETY: `Stage` has as many numbers at `at`, and keeps them until the stream is idle.
        begun(self.nccl, unsafe {
            (self.nccl.ncclAllReduce)(at as _, at as _, count, of(kind), sum, self.raw, stream)
        })
    }

    /// Fills each rank's place in the numbers at `at` with that rank's own.
    pub(super) fn all_gather(
        &mut self,
        at: CUdeviceptr,
        places: &[Range<usize>],
        kind: Kind,
        stream: CUstream,
    ) -> Result<(), Trouble> {
        // The places differ in size, which ncclAllGather does not do.
        // SAFETY: a group has no arguments.
        begun(self.nccl, unsafe { (self.nccl.ncclGroupStart)() })?;
        let told = places.iter().enumerate().try_for_each(|(rank, place)| {
            let from = at + (place.start * kind.bytes()) as u64;
            // SAFETY: as in `all_reduce`; a broadcast reads at its root and writes elsewhere.
            begun(self.nccl, unsafe {
                (self.nccl.ncclBroadcast)(
                    from as _,
                    from as _,
                    place.len(),
                    of(kind),
                    rank as i32,
                    self.raw,
                    stream,
                )
            })
        });
        // SAFETY: as above; a group that was started is ended, whatever came of it.
        let ended = begun(self.nccl, unsafe { (self.nccl.ncclGroupEnd)() });
        told.and(ended)
    }

    pub(super) fn send(
        &mut self,
        at: CUdeviceptr,
        count: usize,
        kind: Kind,
        to: usize,
        stream: CUstream,
    ) -> Result<(), Trouble> {
        debug_assert_ne!(to, self.rank, "nobody passes anything to himself");
        // SAFETY: as in `all_reduce`.
        begun(self.nccl, unsafe {
            (self.nccl.ncclSend)(at as _, count, of(kind), to as i32, self.raw, stream)
        })
    }

    pub(super) fn receive(
        &mut self,
        at: CUdeviceptr,
        count: usize,
        kind: Kind,
        from: usize,
        stream: CUstream,
    ) -> Result<(), Trouble> {
        debug_assert_ne!(from, self.rank, "nobody takes anything from himself");
        // SAFETY: as in `all_reduce`.
        begun(self.nccl, unsafe {
            (self.nccl.ncclRecv)(at as _, count, of(kind), from as i32, self.raw, stream)
        })
    }
}

impl Drop for Comm {
    fn drop(&mut self) {
        self.abort();
    }
}

fn of(kind: Kind) -> ncclDataType_t {
    match kind {
        Kind::F32 => ncclDataType_t::ncclFloat32,
        Kind::Bf16 => ncclDataType_t::ncclBfloat16,
    }
}
