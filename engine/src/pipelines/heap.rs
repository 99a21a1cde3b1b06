//! Memory of a part that went, back to the system: an allocator keeps some of it, and two parts would count after all.
#![allow(unsafe_code)]

/// Hands over whatever is free. It takes milliseconds, and what is used next is paged in again: nothing for the middle of a
/// stage.
pub(super) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes no pointer and moves nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
