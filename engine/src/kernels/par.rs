//! Splitting work over the threads of the rayon pool without letting their number show in the result.
//!
//! A kernel cuts its output into pieces by shape alone, and each value of the output is computed inside one piece in
//! one order; threads only decide who computes which piece. It never splits a sum.

use rayon::prelude::*;

/// Runs `work(i)` for `0..items`, on the calling thread when the pool has only one or there is one piece.
pub(crate) fn for_each(items: usize, work: impl Fn(usize) + Sync) {
    if items <= 1 || rayon::current_num_threads() == 1 {
        (0..items).for_each(work);
    } else {
        (0..items).into_par_iter().with_max_len(1).for_each(&work);
    }
}

/// A pointer to an output of which each piece writes its own part.
#[derive(Clone, Copy)]
pub(crate) struct Shared(*mut f32);

// SAFETY: the kernels hand each piece a range of the output that no other piece touches.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    pub(crate) fn new(out: &mut [f32]) -> Self {
        Self(out.as_mut_ptr())
    }

    /// The address of value `at`.
    ///
    /// # Safety
    /// `at` must be inside the slice that this was made from.
    pub(crate) unsafe fn at(self, at: usize) -> *mut f32 {
        unsafe { self.0.add(at) }
    }

    /// The values `at..at + len`.
    ///
    /// # Safety
    /// The range must be inside the slice, and no other piece may hold a part of it.
    pub(crate) unsafe fn slice<'a>(self, at: usize, len: usize) -> &'a mut [f32] {
        unsafe { std::slice::from_raw_parts_mut(self.0.add(at), len) }
    }
}
