//! How much of a model is in memory at once. The picture is the same bytes in all three.

/// What a pipeline keeps of its parts: text encoder, transformer, decoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Residency {
    /// All of them, from clip to clip.
    #[default]
    Resident,
    /// Never two of them: each is read when its stage begins, and goes before the next one is read.
    Sequential,
    /// As sequential, and of the text encoder's and the transformer's blocks two at most: the next is read while one
    /// computes.
    Streamed,
}

impl Residency {
    /// Whether parts stay beside each other.
    pub(crate) fn keeps_all(self) -> bool {
        self == Self::Resident
    }
}
