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
    Mapped(Arc<Mmap>),
    Static(&'static [u8]),
}

impl Bytes {
    pub(crate) fn map(file: &File) -> std::io::Result<Self> {
        // SAFETY: model files are not written to while they serve; whoever cuts one short under a running program
        // ends that program with SIGBUS, as with every mapped file, and harms no memory.
        Ok(Self::Mapped(Arc::new(unsafe { Mmap::map(file)? })))
    }

    pub(crate) fn get(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Static(bytes) => bytes,
        }
    }

    /// Lets go of the memory that holds `range` of a mapped file: what is needed of it has been copied elsewhere.
    pub(crate) fn release(&self, range: Range<usize>) {
        let Self::Mapped(map) = self else { return };
        let (start, end) = (range.start.next_multiple_of(PAGE), range.end / PAGE * PAGE);
        if start < end {
            // SAFETY: the map is of a file and read-only, so a page that is dropped comes back from the file with
            // the same bytes.
            let advised =
                unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start) };
            if let Err(error) = advised {
                tracing::debug!(%error, "the kernel kept the pages of a tensor that was read");
            }
        }
    }
}
