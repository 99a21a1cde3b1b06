//! The bytes of a file: mapped, or part of the program.
#![allow(unsafe_code)]

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use memmap2::{Mmap, UncheckedAdvice};

/// A page of memory, or a divisor of it where pages are larger.
const PAGE: usize = 4096;

#[derive(Clone, Debug)]
pub(crate) enum Bytes {
    Mapped(Arc<Mapped>),
    Static(&'static [u8]),
}

#[derive(Debug)]
pub(crate) struct Mapped {
    map: Mmap,
    #[cfg(feature = "cuda")]
    file: File,
}

impl Bytes {
    pub(crate) fn map(file: &File) -> std::io::Result<Self> {
        // SAFETY: model files are not written to while they serve; whoever cuts one short under a running program
        // ends that program with SIGBUS, as with every mapped file, and harms no memory.
        let map = unsafe { Mmap::map(file)? };
        Ok(Self::Mapped(Arc::new(Mapped {
            map,
            #[cfg(feature = "cuda")]
            file: file.try_clone()?,
        })))
    }

    /// Copies the bytes from `at` on, without bringing them into the map: for what is copied once and forgotten.
    #[cfg(feature = "cuda")]
    pub(crate) fn read(&self, at: usize, into: &mut [u8]) -> std::io::Result<()> {
        match self {
            Self::Mapped(mapped) => std::os::unix::fs::FileExt::read_exact_at(&mapped.file, into, at as u64),
            Self::Static(bytes) => {
                into.copy_from_slice(&bytes[at..at + into.len()]);
                Ok(())
            }
        }
    }

    pub(crate) fn get(&self) -> &[u8] {
        match self {
            Self::Mapped(mapped) => &mapped.map,
            Self::Static(bytes) => bytes,
        }
    }

    /// Lets go of the memory that holds `range` of a mapped file: what is needed of it has been copied elsewhere.
    pub(crate) fn release(&self, range: Range<usize>) {
        let Self::Mapped(mapped) = self else { return };
        let (start, end) = (range.start.next_multiple_of(PAGE), range.end / PAGE * PAGE);
        if start < end {
            // SAFETY: the map is of a file and read-only, so a page that is dropped comes back from the file with
            // the same bytes.
            let advised =
                unsafe { mapped.map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start) };
            if let Err(error) = advised {
                tracing::debug!(%error, "the kernel kept the pages of a tensor that was read");
            }
        }
    }
}
