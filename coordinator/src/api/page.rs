//! Pages of long answers: sizes, and tokens that say where the next one begins.

use tonic::Status;

use super::status::invalid;

const SIZE_DEFAULT: u32 = 100;
const SIZE_MAX: u32 = 1_000;

/// How many items a page has: what was asked for, within bounds.
pub(super) fn size(asked: u32) -> usize {
    let size = if asked == 0 { SIZE_DEFAULT } else { asked.min(SIZE_MAX) };
    size as usize
}

/// A token of `N` numbers, or `None` for the first page.
pub(super) fn read<const N: usize>(token: &str) -> Result<Option<[u64; N]>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let numbers: Option<Vec<u64>> = token.split('.').map(|n| u64::from_str_radix(n, 36).ok()).collect();
    let numbers = numbers.and_then(|numbers| <[u64; N]>::try_from(numbers).ok());
    numbers
        .map(Some)
        .ok_or_else(|| invalid("page_token", "is none that this server gave; begin with an empty one"))
}

pub(super) fn write<const N: usize>(numbers: [u64; N]) -> String {
    numbers.map(base36).join(".")
}

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = u32::try_from(number % 36).expect("less than 36");
        digits.push(char::from_digit(digit, 36).expect("less than 36"));
        number /= 36;
        if number == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_went() {
        let numbers = [0, 35, u64::MAX];
        assert_eq!(read(&write(numbers)).unwrap(), Some(numbers));
        assert_eq!(read::<1>("").unwrap(), None);
    }

    #[test]
    fn an_invented_token_is_refused() {
        for token in ["x.y.z!", "1", "1.2.3.4", "zzzzzzzzzzzzzzzzzzzzzzz.1.1"] {
            assert_eq!(read::<3>(token).unwrap_err().code(), tonic::Code::InvalidArgument, "{token}");
        }
    }
}
