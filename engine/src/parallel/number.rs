//! What ranks hand each other: numbers, as bytes in the order that every machine reads.

use half::bf16;

/// How a number is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    F32,
    Bf16,
}

impl Kind {
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

/// What can be summed; always in f32.
pub trait Number: Copy + Default {
    const KIND: Kind;
    fn write(self, to: &mut Vec<u8>);
    fn read(from: &[u8]) -> Self;
    fn widen(self) -> f32;
    fn narrow(sum: f32) -> Self;
}

impl Number for f32 {
    const KIND: Kind = Kind::F32;

    fn write(self, to: &mut Vec<u8>) {
        to.extend(self.to_le_bytes());
    }

    fn read(from: &[u8]) -> Self {
        Self::from_le_bytes(from.try_into().expect("four bytes"))
    }

    fn widen(self) -> f32 {
        self
    }

    fn narrow(sum: f32) -> Self {
        sum
    }
}

impl Number for bf16 {
    const KIND: Kind = Kind::Bf16;

    fn write(self, to: &mut Vec<u8>) {
        to.extend(self.to_le_bytes());
    }

    fn read(from: &[u8]) -> Self {
        Self::from_le_bytes(from.try_into().expect("two bytes"))
    }

    fn widen(self) -> f32 {
        self.to_f32()
    }

    fn narrow(sum: f32) -> Self {
        Self::from_f32(sum)
    }
}

pub(super) fn bytes_of<T: Number>(values: &[T]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() * T::KIND.bytes());
    values.iter().for_each(|value| value.write(&mut bytes));
    bytes
}
