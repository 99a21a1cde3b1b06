//! Memory for what is large. Where there is none that is an error, and not the end of the process.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed};

use crate::error::Error;

/// `len` zeros for `what`. Pages come zeroed from the system and are touched when they are used.
///
/// # Errors
/// `OutOfMemory` with what was asked for.
pub(crate) fn zeros(len: usize, what: &str) -> Result<Vec<f32>, Error> {
    if len == 0 {
        return Ok(Vec::new());
    }
    let Ok(layout) = Layout::array::<f32>(len) else { return Err(none(len, what)) };
    // SAFETY: the layout is not empty.
    let start = unsafe { alloc_zeroed(layout) };
    if start.is_null() {
        return Err(none(len, what));
    }
    // SAFETY: it was allocated by the global allocator for `len` f32, and all zero bits are the number 0.
    Ok(unsafe { Vec::from_raw_parts(start.cast(), len, len) })
}

/// Room for `len` numbers, of which there are none yet.
///
/// # Errors
/// As `zeros`.
pub(crate) fn room(len: usize, what: &str) -> Result<Vec<f32>, Error> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| none(len, what))?;
    Ok(values)
}

/// Makes `values` as long as `len`; new ones are zero.
///
/// # Errors
/// As `zeros`; then nothing is changed.
pub(crate) fn resize(values: &mut Vec<f32>, len: usize, what: &str) -> Result<(), Error> {
    values.try_reserve_exact(len.saturating_sub(values.len())).map_err(|_| none(len, what))?;
    values.resize(len, 0.0);
    Ok(())
}

pub(super) fn none(numbers: usize, what: &str) -> Error {
    Error::OutOfMemory { what: what.to_owned(), bytes: (numbers as u64).saturating_mul(4) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_not_there_is_an_error_that_says_how_much() {
        // More than a process can address, then more than a layout can say.
        for len in [1 << 46, usize::MAX] {
            let Err(Error::OutOfMemory { what, bytes }) = zeros(len, "frames") else {
                panic!("{len} numbers")
            };
            assert_eq!((what.as_str(), bytes), ("frames", (len as u64).saturating_mul(4)));
            assert!(room(len, "frames").is_err());
            let mut some = vec![1.0];
            assert!(resize(&mut some, len, "frames").is_err() && some == [1.0]);
        }
        assert_eq!(zeros(3, "frames").expect("three numbers"), [0.0; 3]);
        assert!(zeros(0, "frames").expect("nothing").is_empty());
    }
}
